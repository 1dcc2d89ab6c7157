/** HTTP as bytes: what no client library would send. */
import { connect, type Socket } from 'node:net'
import { connect as connectSecurely } from 'node:tls'

export interface RawAnswer {
  readonly status: number
  readonly headers: ReadonlyMap<string, string>
  readonly body: string
  /** All that came, as it came. */
  readonly text: string
}

/** Sends the bytes (latin1), and resolves when the server has closed the connection. */
export async function sendRaw(url: string, bytes: string): Promise<RawAnswer> {
  const socket = open(url)
  socket.write(bytes, 'latin1')
  return parse(await everythingFrom(socket))
}

/** One request that asks for the connection to be closed. `target` goes out as it is. */
export async function requestRaw(
  url: string,
  method: string,
  target: string,
  headers: readonly string[] = [],
): Promise<RawAnswer> {
  const lines = [`${method} ${target} HTTP/1.1`, 'host: gateway', 'connection: close', ...headers]
  return await sendRaw(url, `${lines.join('\r\n')}\r\n\r\n`)
}

/** Over TLS, whoever answers is believed: what is sent here is nonsense. */
export function open(url: string): Socket {
  const { protocol, hostname, port } = new URL(url)
  const socket =
    protocol === 'https:'
      ? connectSecurely({ host: hostname, port: Number(port), rejectUnauthorized: false })
      : connect(Number(port), hostname)
  // It may be reset while it still sends: what came before that counts.
  return socket.on('error', () => {})
}

export async function everythingFrom(socket: Socket): Promise<string> {
  let text = ''
  socket.on('data', chunk => {
    text += chunk.toString('latin1')
  })
  await new Promise(resolve => socket.once('close', resolve))
  return text
}

export function parse(text: string): RawAnswer {
  const end = text.indexOf('\r\n\r\n')
  const [first = '', ...lines] = (end < 0 ? text : text.slice(0, end)).split('\r\n')
  const body = end < 0 ? '' : text.slice(end + 4)
  const headers = new Map(
    lines.map(line => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const
    }),
  )
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0), headers, body, text }
}
