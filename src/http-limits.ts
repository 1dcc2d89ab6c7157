/** What one client may take of the HTTP server: bytes, time and connections. The same for every listener. */
import { randomUUID } from 'node:crypto'
import { createServer, type RequestListener, type Server, type ServerOptions, STATUS_CODES } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import { PROBLEMS } from './errors.ts'
import type { Clock } from './ports/clock.ts'

export interface HttpLimits {
  /** For each listener; what comes beyond is closed at once. */
  readonly maxConnections: number
  /** Until all headers have come; before that, as long for the TLS handshake. */
  readonly headersTimeoutMs: number
  /** Until the whole request has come, its body included. */
  readonly requestTimeoutMs: number
  /** How long a connection may wait for its next request. */
  readonly keepAliveTimeoutMs: number
  /** How long nothing at all may move on a connection: longer than any answer takes. Clients that do not read end by it. */
  readonly silenceMs: number
  /** How often the first two are looked after: they may come late by this much. */
  readonly checkEveryMs: number
}

/** `longestAnswerMs`: how long a request of ours may take, by design. */
export function httpLimits(maxConnections: number, longestAnswerMs: number): HttpLimits {
  return {
    maxConnections,
    headersTimeoutMs: 10_000,
    requestTimeoutMs: 30_000,
    // Longer than load balancers keep theirs: the side that closes first should not be ours.
    keepAliveTimeoutMs: 72_000,
    silenceMs: Math.max(90_000, longestAnswerMs + 30_000),
    checkEveryMs: 2_000,
  }
}

/** The request line and all headers. A code and a state, percent-encoded, take less than half of it. */
const MAX_HEADER_BYTES = 16 * 1024
/** Of the request's target, path and query. */
export const MAX_URL_LENGTH = 8 * 1024
/** How long a client whose request could not be read may take to hear so. */
const LINGER_MS = 1_000

function serverOptions(limits: HttpLimits): ServerOptions {
  return {
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    connectionsCheckingInterval: limits.checkEveryMs,
    // Refused by a hook of ours, as a problem.
    requireHostHeader: false,
  }
}

/** A listener, not yet listening. `tls` null: plain HTTP. What it cannot read is for `refuseUnreadable`. */
export function createLimitedServer(limits: HttpLimits, tls: TlsOptions | null, listener: RequestListener): Server {
  const options = serverOptions(limits)
  const secureOptions = { ...options, ...tls, handshakeTimeout: limits.headersTimeoutMs }
  const server = tls === null ? createServer(options, listener) : createSecureServer(secureOptions, listener)
  server.maxConnections = limits.maxConnections
  server.setTimeout(limits.silenceMs)
  // Whoever expects what we do not know is answered like anybody else (RFC 9110, section 10.1.1), not by Node's bare 417.
  server.on('checkExpectation', (request, response) => server.emit('request', request, response))
  return server
}

/** Node's reasons, and what we answer. */
const REFUSALS: Readonly<Record<string, { status: number; detail: string }>> = {
  ERR_HTTP_REQUEST_TIMEOUT: { status: 408, detail: 'The request did not come in time.' },
  HPE_HEADER_OVERFLOW: { status: 431, detail: 'The address and the headers are larger than this service takes.' },
}
const UNREADABLE = { status: 400, detail: 'This is not HTTP as this service reads it.' }

/** What cannot be read as a request is answered all the same, with nothing of it in the answer; then the connection ends. */
export function refuseUnreadable(clock: Clock) {
  return (
    error: NodeJS.ErrnoException,
    socket: Pick<Socket, 'writable' | 'writableEnded' | 'end' | 'destroy'>,
  ): void => {
    // A refused client may go on sending, which fails again.
    if (socket.writableEnded) return
    if (error.code === 'ECONNRESET' || error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT' || !socket.writable) {
      socket.destroy()
      return
    }
    const { status, detail } = REFUSALS[error.code ?? ''] ?? UNREADABLE
    const code = 'validation_failed'
    const requestId = randomUUID()
    const body = JSON.stringify({
      type: `urn:healthtap-gateway:problem:${code}`,
      title: PROBLEMS[code].title,
      status,
      detail,
      code,
      request_id: requestId,
    })
    const head = [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      'content-type: application/problem+json',
      `content-length: ${body.length}`,
      'cache-control: no-store',
      `x-request-id: ${requestId}`,
      'connection: close',
    ]
    // Destroyed at once, a client that is still sending would be reset before it has read the answer.
    socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
    void clock.sleep(LINGER_MS).then(() => socket.destroy())
  }
}
