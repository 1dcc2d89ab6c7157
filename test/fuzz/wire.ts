/** Requests and answers as they go over the wire: by a proper client, and as bytes. */
import { Agent, request } from 'node:http'
import { connect } from 'node:net'

export interface Answer {
  readonly status: number
  /** In small letters; what comes more than once is joined by commas. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: string
}

/** So long may anything take: many times the provider's deadline. */
const DEADLINE_MS = 30_000

export interface Outgoing {
  readonly method: string
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer | null
}

/** A client that keeps its connections. Rejects where no answer comes in time, or none at all. */
export function createClient() {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  return {
    ask: (url: string, { method, target, headers, body }: Outgoing): Promise<Answer> =>
      new Promise((resolve, reject) => {
        const { hostname, port } = new URL(url)
        const length = body === null ? {} : { 'content-length': body.length }
        const asked = request({ agent, hostname, port, method, path: target, headers: { ...headers, ...length } })
        asked.setTimeout(DEADLINE_MS, () => asked.destroy(new Error(`no answer within ${DEADLINE_MS} ms`)))
        asked.on('error', reject)
        asked.on('response', response => {
          const chunks: Buffer[] = []
          response.on('data', chunk => chunks.push(chunk))
          response.on('error', reject)
          response.on('end', () => {
            const all = Object.entries(response.headers).map(([name, value]) => [name, String(value)] as const)
            const text = Buffer.concat(chunks).toString()
            resolve({ status: response.statusCode ?? 0, headers: new Map(all), body: text })
          })
        })
        asked.end(body ?? undefined)
      }),
    close: () => agent.destroy(),
  }
}

export type Client = ReturnType<typeof createClient>

/** After that much silence a server that may wait for more is told that there is no more. */
const SILENCE_MS = 100

export interface Exchange {
  readonly answers: readonly Answer[]
  /** The server waited for more, and was told that there is no more: then it owes no answer. */
  readonly wasCutOff: boolean
}

/**
 * Sends the bytes. Resolves with all answers when the server has closed the connection. Rejects where it does not.
 * `mayWait`: for a body that these bytes do not have; else nothing ends the connection before there is an answer.
 */
export async function sendBytes(url: string, bytes: Buffer, mayWait: boolean): Promise<Exchange> {
  const { hostname, port } = new URL(url)
  const chunks: Buffer[] = []
  let wasCutOff = false
  await new Promise<void>((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port) })
    let cutOff: NodeJS.Timeout | undefined
    const cutOffLater = () => {
      clearTimeout(cutOff)
      cutOff = setTimeout(() => {
        wasCutOff = true
        socket.end()
      }, SILENCE_MS)
    }
    const deadline = setTimeout(() => {
      reject(new Error(`the connection is still open after ${DEADLINE_MS} ms`))
      socket.destroy()
    }, DEADLINE_MS)
    socket.on('data', chunk => {
      chunks.push(chunk)
      // It may wait for another request.
      cutOffLater()
    })
    // It may be reset while it still sends: what came before that counts.
    socket.on('error', () => {})
    socket.on('close', () => {
      clearTimeout(cutOff)
      clearTimeout(deadline)
      resolve()
    })
    socket.write(bytes)
    if (mayWait) cutOffLater()
  })
  const isHead = bytes.toString('latin1').startsWith('HEAD')
  return { answers: answersIn(Buffer.concat(chunks), { isHead, mayBeCutOff: wasCutOff }), wasCutOff }
}

const HTTP = Buffer.from('HTTP/')

interface Reading {
  readonly isHead: boolean
  /** The last one may not be there as a whole. */
  readonly mayBeCutOff: boolean
}

/** All answers on a connection, one after the other. Throws where something else is there. */
function answersIn(bytes: Buffer, { isHead, mayBeCutOff }: Reading): Answer[] {
  const answers: Answer[] = []
  try {
    for (let rest = bytes; rest.length > 0; ) {
      const { answer, length } = firstIn(rest, isHead && answers.length === 0)
      // 100 Continue is no answer yet.
      if (answer.status !== 100) answers.push(answer)
      rest = rest.subarray(length)
    }
  } catch (error) {
    if (!mayBeCutOff) throw error
  }
  return answers
}

function firstIn(bytes: Buffer, isHead: boolean): { answer: Answer; length: number } {
  const end = bytes.indexOf('\r\n\r\n')
  const [first = '', ...lines] = bytes.subarray(0, Math.max(0, end)).toString('latin1').split('\r\n')
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0)
  if (end < 0 || status === 0) throw new Error(`no HTTP: ${bytes.subarray(0, 80).toString('latin1')}`)
  const headers = new Map(
    lines.map(line => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const
    }),
  )
  const from = bytes.subarray(end + 4)
  // What cannot be read is no HEAD, whatever it looked like, and is refused with a body.
  const hasNone = isHead && (from.length === 0 || from.subarray(0, 5).equals(HTTP))
  const isEmpty = status < 200 || status === 204 || status === 304 || hasNone
  const { body, length } = isEmpty ? { body: Buffer.alloc(0), length: 0 } : bodyIn(from, headers)
  return { answer: { status, headers, body: body.toString() }, length: end + 4 + length }
}

function bodyIn(from: Buffer, headers: ReadonlyMap<string, string>): { body: Buffer; length: number } {
  if (headers.get('transfer-encoding') !== 'chunked') {
    const length = Number(headers.get('content-length') ?? from.length)
    if (from.length < length) throw new Error(`${length} bytes were promised, and ${from.length} came`)
    return { body: from.subarray(0, length), length }
  }
  const chunks: Buffer[] = []
  for (let at = 0; ; ) {
    const end = from.indexOf('\r\n', at)
    const size = Number.parseInt(from.subarray(at, end).toString('latin1'), 16)
    if (end < 0 || Number.isNaN(size)) throw new Error('a chunk is cut off')
    chunks.push(from.subarray(end + 2, end + 2 + size))
    at = end + 2 + size + 2
    if (size === 0) return { body: Buffer.concat(chunks), length: at }
  }
}
