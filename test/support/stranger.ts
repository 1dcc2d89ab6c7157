/** A server that speaks TLS with a certificate that nobody has vouched for. */
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { selfSigned } from './certificates.ts'

export interface Stranger {
  readonly url: string
  /** How many requests came all the same, and how many connections they might have come on. */
  readonly counts: () => { requests: number; connections: number }
}

/** It answers every request with this JSON. */
export async function startStranger(t: Test, body: object): Promise<Stranger> {
  let [requests, connections] = [0, 0]
  const server = createServer(await selfSigned(t, 'stranger', { subject: '/CN=localhost', san: 'IP:127.0.0.1' }))
  server.on('connection', () => {
    connections += 1
  })
  server.on('request', (_request, response) => {
    requests += 1
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close())
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    counts: () => ({ requests, connections }),
  }
}
