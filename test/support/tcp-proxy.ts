/** A wire with something on it: what a client sends to a server goes through here, late, or not at all. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'

export interface ProxyOptions {
  /** How long each answer is held back; absent: not at all. */
  readonly answersLateMs?: number
  /** Told what the client sends, before it goes on; false: it does not, and neither does anything after it. */
  readonly passes?: (chunk: Buffer) => boolean | Promise<boolean>
}

/** Returns the port that stands for `port` of 127.0.0.1. */
export async function startProxy(t: Test, port: number, options: ProxyOptions): Promise<number> {
  const { answersLateMs = 0, passes = () => true } = options
  const sockets = new Set<Socket>()
  let isCut = false
  const server = createServer(client => {
    const upstream = connect(port, '127.0.0.1')
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => sockets.delete(socket))
    }
    client.on('data', async chunk => {
      if (isCut) return
      client.pause()
      isCut = !(await passes(chunk))
      if (!isCut) upstream.write(chunk)
      client.resume()
    })
    upstream.on('data', chunk => setTimeout(() => client.write(chunk), answersLateMs))
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}
