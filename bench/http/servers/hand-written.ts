/**
 * The broker that a team writes in an afternoon: an API key by its hash, a GET, the answer by a schema. No encryption, no audit
 * stream, no log, no metrics, and nothing renews. With its own cache where it is told to keep one.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { LRUCache } from 'lru-cache'
import { AccessToken } from '../../../src/schemas/index.ts'
import { RESPONSE, ROUTE, readSetup, tell } from './setup.ts'

interface Kept {
  readonly guid: string
  readonly access_token: string
  readonly scope: string
  readonly expires_at: string
  readonly rotates_at: string
  readonly version: number
}

const { cacheMs, keySha256, redisUrl } = readSetup()
const expected = Buffer.from(keySha256, 'hex')
// Commands of the same moment go out together: it is faster so with many connections.
const redis = new Redis(redisUrl, { enableAutoPipelining: true })
const cache = cacheMs === 0 ? null : new LRUCache<string, Kept>({ max: 50_000, ttl: cacheMs })
const app = Fastify()
app.addSchema(AccessToken)

app.addHook('onRequest', async (request, reply) => {
  const key = request.headers.authorization?.replace(/^Bearer /, '') ?? ''
  if (!timingSafeEqual(createHash('sha256').update(key).digest(), expected)) {
    return reply.code(401).send({ error: 'unauthorized' })
  }
})

app.get<{ Params: { guid: string } }>(ROUTE, { schema: { response: RESPONSE } }, async (request, reply) => {
  const { guid } = request.params
  const kept = cache?.get(guid) ?? (await find(guid))
  if (kept === null) return reply.code(404).send({ error: 'not_found' })
  const expiresInSeconds = Math.floor((Date.parse(kept.expires_at) - Date.now()) / 1000)
  return { ...kept, token_type: 'bearer', expires_in: expiresInSeconds }
})

async function find(guid: string): Promise<Kept | null> {
  const text = await redis.get(`token:${guid}`)
  if (text === null) return null
  const kept: Kept = JSON.parse(text)
  cache?.set(guid, kept)
  return kept
}

tell(await app.listen({ host: '127.0.0.1', port: 0 }))
