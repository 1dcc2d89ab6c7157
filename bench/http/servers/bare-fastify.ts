/** Fastify with the gateway's response schema, and the same object to everybody. */
import Fastify from 'fastify'
import { AccessToken } from '../../../src/schemas/index.ts'
import { RESPONSE, ROUTE, readSetup, tell } from './setup.ts'

const token = JSON.parse(readSetup().sample)
const app = Fastify()
app.addSchema(AccessToken)
app.get(ROUTE, { schema: { response: RESPONSE } }, async () => token)
tell(await app.listen({ host: '127.0.0.1', port: 0 }))
