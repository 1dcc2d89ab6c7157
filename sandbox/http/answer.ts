import { STATUS_CODES } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { OAuthError } from '../provider/oauth-error.ts'
import type { TokenPair } from '../provider/token-pairs.ts'

/** An HTTP answer as a value, so that a fault can still spoil it before it goes out. */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly payload: string
}

const JSON_TYPE = 'application/json; charset=utf-8'
const HTML_TYPE = 'text/html; charset=utf-8'
const NO_STORE = { 'cache-control': 'no-store', pragma: 'no-cache' }

export function json(status: number, body: object, headers: Readonly<Record<string, string>> = {}): Answer {
  return { status, headers: { ...headers, 'content-type': JSON_TYPE }, payload: JSON.stringify(body) }
}

/** Rails' `head`: a status and no body, typed as HTML all the same. */
export function empty(status: number, headers: Readonly<Record<string, string>> = {}): Answer {
  return { status, headers: { ...headers, 'content-type': HTML_TYPE }, payload: '' }
}

/** `body` as it is, typed by what it looks like. */
export function verbatim(status: number, body: string, headers: Readonly<Record<string, string>> = {}): Answer {
  const type = /^\s*[[{]/.test(body) ? JSON_TYPE : HTML_TYPE
  return { status, headers: { ...headers, 'content-type': type }, payload: body }
}

/** @see RFC 6749, section 5.1. `expiresInSeconds`: what is left of the access token. `guid`: undefined to leave it out. */
export function tokens(status: number, pair: TokenPair, expiresInSeconds: number, guid: string | undefined): Answer {
  const body = {
    access_token: pair.accessToken,
    token_type: 'bearer',
    expires_in: expiresInSeconds,
    refresh_token: pair.refreshToken,
    scope: pair.scopes.join(' '),
    created_at: Math.floor(pair.createdAtMs / 1000),
    ...(guid !== undefined && { guid }),
  }
  return json(status, body, NO_STORE)
}

/** RFC 6749, section 5.1, leaves a refresh token to the provider. An answer that has none stays as it is. */
export function withoutRefreshToken(answer: Answer): Answer {
  if (answer.payload === '') return answer
  const { refresh_token: _, ...others } = JSON.parse(answer.payload)
  return { ...answer, payload: JSON.stringify(others) }
}

/** @see RFC 6749, section 5.2 */
export function oauthError(status: number, { code, message }: OAuthError): Answer {
  const headers = { ...NO_STORE, 'www-authenticate': challenge(code, message) }
  return json(status, { error: code, error_description: message }, headers)
}

/** @see RFC 6750, section 3 */
export const challenge = (error: string, description: string): string =>
  `Bearer realm="Doorkeeper", error="${error}", error_description="${description}"`

/** What Rails answers where no controller does: a page, or JSON whose `error` is no OAuth code. */
export function railsFailure(status: number, request: FastifyRequest): Answer {
  const reason = STATUS_CODES[status] ?? 'Error'
  if (request.headers.accept?.includes('application/json')) return json(status, { status, error: reason })
  const page = `<!DOCTYPE html>\n<html><head><title>${reason} (${status})</title></head><body><h1>${reason}</h1></body></html>\n`
  return verbatim(status, page)
}

export function send(reply: FastifyReply, { status, headers, payload }: Answer): FastifyReply {
  return reply.code(status).headers(headers).send(payload)
}
