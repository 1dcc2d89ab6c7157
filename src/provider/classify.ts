/**
 * What a provider's answer means. Pure. The body's OAuth `error` decides, not the status: old servers answer 401 to every
 * token error. Only where there is no such error does the status say whether anything can have been done.
 */
import type { Upstream } from '../errors.ts'
import type { Outcome, TokenAnswer } from '../ports/provider.ts'
import { Secret } from '../ports/secret.ts'
import { httpDateMs } from './http-date.ts'

export interface Answer {
  readonly status: number
  /** As received. */
  readonly body: string
  /** The `Retry-After` header; null: none. */
  readonly retryAfter: string | null
  /** The `Date` header; null: none. */
  readonly date: string | null
}

export type Operation = 'exchange' | 'refresh' | 'password' | 'users' | 'revoke' | 'identity' | 'resource'

type Kind = 'rejected' | 'client_refused' | 'unavailable' | 'refused'

/** RFC 6749, sections 4.1.2.1 and 5.2. An `error` that is not listed here is no OAuth error. */
const OAUTH_ERRORS: Readonly<Record<string, Kind>> = {
  invalid_grant: 'rejected',
  invalid_client: 'client_refused',
  unauthorized_client: 'client_refused',
  temporarily_unavailable: 'unavailable',
  slow_down: 'unavailable',
  invalid_request: 'refused',
  invalid_scope: 'refused',
  unsupported_grant_type: 'refused',
  access_denied: 'refused',
  invalid_token: 'refused',
  insufficient_scope: 'refused',
}

/** A guid is part of addresses and keys: what does not look like one is none, and neither is a step in a path. */
const GUID = /^(?!\.{1,2}$)[A-Za-z0-9._~-]{1,128}$/
/** RFC 6749, section 3.3; loosely, since what a provider has granted is granted. */
const SCOPE = /^[\x20-\x7e]{0,2000}$/
const LONGEST_LIFETIME_SECONDS = 10 * 365 * 86_400
/** RFC 6749, appendix A.12 and A.17. Many servers take 16 KiB for all headers of a request: no longer token can be used. */
const TOKEN = /^[\x20-\x7e]{1,16384}$/
const DECIMAL = /^\d{1,10}(\.\d{1,10})?$/
const LONGEST_DELAY_SECONDS = 999_999

/**
 * Answers of the token endpoint, and of provisioning, which brings a token too. `sent`: the refresh token that the request spent.
 * An answer without a refresh token leaves that one in force (RFC 6749, section 6); null: the answer has to bring one.
 */
export function classifyTokenAnswer(
  operation: Operation,
  answer: Answer,
  sent: Secret | null = null,
): Outcome<TokenAnswer> {
  const body = parseObject(answer.body)
  const pair = body === null || !isSuccess(answer) ? null : tokenAnswerOf(body, null)
  // A pair that came is kept, whatever else is said beside it: the one before may be dead by now.
  if (pair !== null) return { kind: 'ok', value: pair }
  const failure = failureOf(operation, answer, body)
  if (failure !== null) return failure
  // A success without a known error: here a lone access token is kept too.
  const half = body === null || sent === null ? null : tokenAnswerOf(body, sent)
  return half === null ? unreadable(answer) : { kind: 'ok', value: half }
}

/**
 * Whether a pair has come in an answer that did not end as HTTP says: a wrong length, no last chunk, a connection that broke.
 *
 * It is safe to take it. The body is parsed as a whole, and an object that was cut off anywhere does not parse, so no token is
 * shortened. HTTP's framing vouches for nothing: to break it off, an attacker or a proxy has to be on the connection. In TLS that
 * lets them cut bytes off and not change any. Without TLS they could send a whole answer of their own as well.
 */
export function bringsPair(answer: Answer): boolean {
  const body = isSuccess(answer) ? parseObject(answer.body) : null
  return body !== null && tokenAnswerOf(body, null) !== null
}

/** RFC 7009, section 2.2: 200 for every token that is not valid any more; the body does not matter. */
export function classifyRevocation(answer: Answer): Outcome<null> {
  return failureOf('revoke', answer, parseObject(answer.body)) ?? { kind: 'ok', value: null }
}

/** `pointer`: where the guid stands (RFC 6901). */
export function classifyIdentity(answer: Answer, pointer: string): Outcome<string | null> {
  const body = parseObject(answer.body)
  const failure = failureOf('identity', answer, body)
  if (failure !== null) return failure
  return body === null ? unreadable(answer) : { kind: 'ok', value: guidOf(resolvePointer(body, pointer)) }
}

/**
 * A protected resource's answer to a bearer token (RFC 6750, section 3.1). Only the status counts: 401 says that the token is
 * not accepted, a success or 403 (a missing scope) that it is.
 */
export function classifyPresentation(answer: Answer): Outcome<boolean> {
  const { status } = answer
  if (status === 401) return { kind: 'ok', value: false }
  if (status === 403 || isSuccess(answer)) return { kind: 'ok', value: true }
  return failureOf('resource', answer, null) ?? { kind: 'refused', upstream: { status } }
}

function isSuccess({ status }: Answer): boolean {
  return status >= 200 && status < 300
}

function failureOf(
  operation: Operation,
  answer: Answer,
  body: Readonly<Record<string, unknown>> | null,
): Exclude<Outcome<never>, { kind: 'ok' }> | null {
  const { status } = answer
  const upstream = upstreamOf(status, body)
  const retryAfterSeconds = retryAfterSecondsOf(answer)
  const reason = `answered ${status}`
  const kind = upstream.error === undefined ? undefined : kindOf(operation, upstream.error)
  if (kind === 'unavailable') return { kind, upstream, retryAfterSeconds, reason: `${reason} ${upstream.error}` }
  if (kind !== undefined) return { kind, upstream }
  if (isSuccess(answer)) return null
  if (status === 429) return { kind: 'unavailable', upstream, retryAfterSeconds, reason }
  if (status >= 500) return { kind: 'unknown', upstream, settled: true, unreadable: false, retryAfterSeconds, reason }
  if (operation === 'users' && isNameTaken(answer, body)) return { kind: 'conflict', upstream }
  // Provisioning lies behind HTTP Basic alone: there, 401 is about our credentials. The token endpoint always says more.
  if (operation === 'users' && status === 401) return { kind: 'client_refused', upstream }
  return { kind: 'refused', upstream }
}

/**
 * `unauthorized_client` says that our credentials are good and this client may not do this. At revocation it is about the token,
 * which is another client's or forgotten; at the password grant it is about the grant type (RFC 6749, section 5.2). Elsewhere the
 * client may do nothing that we need, and an operator has to act.
 */
function kindOf(operation: Operation, error: string): Kind | undefined {
  const isAboutMore = operation === 'revoke' || operation === 'password'
  return error === 'unauthorized_client' && isAboutMore ? 'refused' : OAUTH_ERRORS[error]
}

/** A taken name is documented nowhere: a conflict says it, and so does an unprocessable username. */
function isNameTaken(answer: Answer, body: Readonly<Record<string, unknown>> | null): boolean {
  if (answer.status === 409) return true
  if ((answer.status !== 422 && answer.status !== 400) || body === null) return false
  const text = answer.body.toLowerCase()
  return text.includes('taken') || text.includes('exist')
}

/** What may be repeated to a caller: a listed OAuth error, and its description if it is plain and short. */
function upstreamOf(status: number, body: Readonly<Record<string, unknown>> | null): Upstream {
  const error = body?.error
  if (typeof error !== 'string' || !Object.hasOwn(OAUTH_ERRORS, error)) return { status }
  const description = body?.error_description
  const isPlain = typeof description === 'string' && /^[\x20-\x7e]{1,300}$/.test(description)
  return isPlain ? { status, error, error_description: withoutSecrets(description) } : { status, error }
}

/** A description that quotes a token or a code does not get on: whatever is long and without a space is cut out. */
function withoutSecrets(text: string): string {
  return text.replaceAll(/\S{20,}/g, '…')
}

/**
 * RFC 6749, section 5.1; null: not a usable one. `sent`: stands in where there is no usable refresh token.
 *
 * `token_type` is not looked at. Every token is used as a bearer token here, and servers leave the type out, send null or a type
 * of their own. A pair that is thrown away for it is lost for good, while one that the provider means otherwise fails at its use.
 */
function tokenAnswerOf(body: Readonly<Record<string, unknown>>, sent: Secret | null): TokenAnswer | null {
  const accessToken = tokenOf(body.access_token)
  const refreshToken = tokenOf(body.refresh_token) ?? sent
  if (accessToken === null || refreshToken === null) return null
  const { scope } = body
  return {
    pair: { accessToken, refreshToken },
    expiresInSeconds: lifetimeOf(body.expires_in),
    // 0 is said of refresh tokens that do not expire.
    refreshTokenExpiresInSeconds:
      lifetimeOf(body.refresh_token_expires_in) || lifetimeOf(body.refresh_expires_in) || null,
    scope: typeof scope === 'string' && SCOPE.test(scope) ? scope : null,
    guid: guidOf(body.guid),
  }
}

/** White space around a token is no part of it: a header would lose it too. */
function tokenOf(value: unknown): Secret | null {
  const text = typeof value === 'string' ? value.trim() : ''
  return TOKEN.test(text) ? new Secret(text) : null
}

/** Some servers send numbers as text. Anything else is as good as absent. */
function lifetimeOf(value: unknown): number | null {
  const seconds = typeof value === 'string' && DECIMAL.test(value.trim()) ? Number(value) : value
  if (typeof seconds !== 'number' || !Number.isFinite(seconds) || seconds < 0) return null
  return Math.min(Math.floor(seconds), LONGEST_LIFETIME_SECONDS)
}

function guidOf(value: unknown): string | null {
  // A number that is not exact in JavaScript would be somebody else's.
  const text = Number.isSafeInteger(value) ? String(value) : value
  return typeof text === 'string' && GUID.test(text) ? text : null
}

function unreadable(answer: Answer): Outcome<never> {
  return {
    kind: 'unknown',
    upstream: { status: answer.status },
    settled: true,
    unreadable: true,
    retryAfterSeconds: null,
    reason: `answered ${answer.status}, unreadable`,
  }
}

/**
 * `Retry-After` (RFC 9110, section 10.2.3). Seconds should be whole; a fraction is rounded up, since to ask early is refused again.
 * The date form is by the provider's clock, which `Date` shows. A number above `LONGEST_DELAY_SECONDS` is no delay (a point in
 * time, milliseconds) and is ignored; a date may lie further ahead, and is cut off there.
 */
function retryAfterSecondsOf({ retryAfter, date }: Answer): number | null {
  if (retryAfter === null) return null
  if (DECIMAL.test(retryAfter)) {
    const seconds = Math.ceil(Number(retryAfter))
    return seconds <= LONGEST_DELAY_SECONDS ? seconds : null
  }
  const [untilMs, nowMs] = [httpDateMs(retryAfter), httpDateMs(date)]
  if (untilMs === null || nowMs === null) return null
  return Math.min(Math.max(0, (untilMs - nowMs) / 1000), LONGEST_DELAY_SECONDS)
}

/** A byte order mark before it is no part of JSON, and does no harm (RFC 8259, section 8.1). */
function parseObject(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const parsed: unknown = JSON.parse(text.replace(/^\ufeff/, ''))
    return typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)
      ? (parsed as Record<string, unknown>)
      : null
  } catch {
    return null
  }
}

function resolvePointer(document: unknown, pointer: string): unknown {
  const names = pointer.split('/').slice(1)
  return names.reduce<unknown>((value, name) => {
    const field = name.replaceAll('~1', '/').replaceAll('~0', '~')
    const isThere = typeof value === 'object' && value !== null && Object.hasOwn(value, field)
    return isThere ? (value as Record<string, unknown>)[field] : undefined
  }, document)
}
