/** Why a request brought no whole answer, in words for an operator. Never the text of an error: that may quote addresses or bodies. */
import { errors } from 'undici'

export interface Broken {
  /** false: no byte of it left us. */
  readonly wasSent: boolean
  readonly reason: string
}

export interface Progress {
  readonly wasSent: boolean
  /** The head of the answer has come. */
  readonly hasBegun: boolean
  readonly isTls: boolean
}

/** `error` null: the deadline passed. */
export function causeOf(error: Error | null, progress: Progress): Broken {
  const { wasSent } = progress
  return { wasSent, reason: wasSent ? afterSending(error, progress) : beforeSending(error, progress) }
}

function beforeSending(error: Error | null, { isTls }: Progress): string {
  // No connection in time: a connect that hangs, a handshake that hangs, or all connections in use.
  if (error === null) return 'connect timeout'
  const code = codeOf(error)
  if (code === 'UND_ERR_CONNECT_TIMEOUT') return 'connect timeout'
  if (code.startsWith('UND_ERR')) return `not sent ${code}`
  const syscall = 'syscall' in error ? error.syscall : undefined
  if (syscall === 'getaddrinfo') return `dns ${code}`
  // Several addresses were tried, and none accepted the connection.
  if (syscall === 'connect' || error instanceof AggregateError) return `connect ${code}`
  return `${isTls ? 'tls' : 'connect'} ${code}`
}

function afterSending(error: Error | null, { hasBegun }: Progress): string {
  if (error === null) return hasBegun ? 'timeout within the answer' : 'timeout'
  const code = codeOf(error)
  if (code === 'UND_ERR_RES_EXCEEDED_MAX_SIZE' || code === 'UND_ERR_HEADERS_OVERFLOW') return 'answer too long'
  if (hasBegun) return 'answer broken off'
  return error instanceof errors.HTTPParserError ? 'answer not HTTP' : 'closed before the answer'
}

/** The names of errors of Node, OpenSSL and undici: a fixed set, in capitals. */
function codeOf(error: Error): string {
  const code = 'code' in error ? error.code : undefined
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,60}$/.test(code) ? code : 'failed'
}
