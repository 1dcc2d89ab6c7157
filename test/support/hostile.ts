/** A provider that answers in bytes, whatever they are. */
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import type { Test } from 'tap'

/** What is written when a whole request has come; the connection is left as it is. */
export type Reply = string | Buffer | ((socket: Socket) => void)

export interface HostileServer {
  readonly url: string
  /** The heads of the requests that came. */
  readonly heads: string[]
  /** Connections that were answered on and are still open. */
  readonly answered: Set<Socket>
  answer(reply: Reply): void
}

export async function startHostile(t: Test): Promise<HostileServer> {
  const heads: string[] = []
  const open = new Set<Socket>()
  const answered = new Set<Socket>()
  let reply: Reply = ''
  const server = createServer(socket => {
    let text = ''
    open.add(socket)
    socket
      .on('close', () => {
        open.delete(socket)
        answered.delete(socket)
      })
      .on('error', () => {})
    socket.on('data', chunk => {
      text += chunk.toString('latin1')
      const end = text.indexOf('\r\n\r\n')
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0)
      if (end < 0 || text.length < end + 4 + length) return
      heads.push(text.slice(0, end))
      answered.add(socket)
      text = ''
      if (typeof reply === 'function') reply(socket)
      else socket.write(reply)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  const { port } = server.address() as { port: number }
  return {
    url: `http://127.0.0.1:${port}`,
    heads,
    answered,
    answer(next) {
      reply = next
    },
  }
}

/** An answer as it goes over the wire. */
export function wire(status: number, body: string | Buffer, headers: readonly string[] = []): Buffer {
  const bytes = Buffer.from(body)
  const head = [`HTTP/1.1 ${status} x`, ...headers, 'connection: close', `content-length: ${bytes.length}`]
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'), bytes])
}
