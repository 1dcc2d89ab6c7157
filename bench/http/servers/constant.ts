/** The least that Node can do: `node:http`, and the same bytes to everybody. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { readSetup, tell } from './setup.ts'

const body = Buffer.from(readSetup().sample)
const headers = { 'content-type': 'application/json; charset=utf-8', 'content-length': body.length }

const server = createServer((_request, response) => {
  response.writeHead(200, headers)
  response.end(body)
})
server.listen(0, '127.0.0.1', () => tell(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
