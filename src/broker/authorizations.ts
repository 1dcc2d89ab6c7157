import { Problem } from '../errors.ts'
import type { Authorization } from '../ports/records.ts'
import { Secret } from '../ports/secret.ts'
import { type BrokerContext, change, keep } from './context.ts'

export interface AuthorizationRequest {
  readonly redirectUri?: string | undefined
  readonly scope?: string | undefined
  readonly returnTo?: string | undefined
  readonly guid?: string | undefined
}

export interface Authorizations {
  /** A person is about to be sent to HealthTap. Throws `redirect_uri_`, `scope_` and `return_to_not_allowed`. */
  begin(request: AuthorizationRequest): Promise<{ authorization: Authorization; authorizationUrl: string }>
  /** How it went. Throws `authorization_not_found`. */
  read(state: string): Promise<Authorization>
  /**
   * Spends a state on one exchange. Asked again for the same exchange it answers the same. Throws `state_invalid`, and
   * `access_denied` where the person chose Deny.
   */
  claim(state: string, redirectUri: string, exchangeKey: string): Promise<Authorization>
  /** The authorization that waits for an answer under this state. Throws `state_invalid`. */
  waiting(state: string): Promise<Authorization>
  /** What came of it: the guid, or the error. */
  conclude(state: string, result: { guid: string } | { error: string }): Promise<void>
  /** The person, or the provider, said no. Throws `state_invalid` where the state is not waiting for an answer. */
  refuse(state: string, error: string): Promise<Authorization>
}

/** A state is good for so long … */
const STATE_LIFE_MS = 10 * 60_000
/** … and its outcome can be read for so long after that. */
export const OUTCOME_LIFE_MS = 10 * 60_000

export function createAuthorizations(context: BrokerContext): Authorizations {
  const { client, clock, provider, random } = context
  const { authorizations } = context.stores

  async function begin(request: AuthorizationRequest) {
    const redirectUri = request.redirectUri ?? client.redirectUris[0] ?? ''
    const scope = request.scope ?? client.scopes.join(' ')
    checkRedirectUri(client.redirectUris, redirectUri)
    checkScope(client.scopes, scope)
    checkReturnTo(client.returnToOrigins, request.returnTo)
    const authorization: Authorization = {
      state: random.token(32),
      redirectUri,
      scope,
      returnTo: request.returnTo === undefined ? null : new Secret(request.returnTo),
      expectedGuid: request.guid ?? null,
      codeVerifier: client.pkce ? new Secret(random.token(32)) : null,
      status: 'pending',
      exchangeKey: null,
      guid: null,
      error: null,
      expiresAtMs: clock.now() + STATE_LIFE_MS,
    }
    await change(authorizations, authorization.state, () => authorization, null)
    return { authorization, authorizationUrl: provider.authorizationUrl(authorization) }
  }

  async function read(state: string): Promise<Authorization> {
    const stored = await authorizations.read(state)
    if (stored === null) {
      throw new Problem('authorization_not_found', 'No authorization was begun with this state, or it is long over.')
    }
    const authorization = stored.record
    const isOver = authorization.status === 'pending' && authorization.expiresAtMs <= clock.now()
    return isOver ? { ...authorization, status: 'failed', error: 'expired' } : authorization
  }

  async function claim(state: string, redirectUri: string, exchangeKey: string): Promise<Authorization> {
    const stored = await change(authorizations, state, authorization => {
      const isAgain = authorization?.exchangeKey === exchangeKey
      if (authorization === null || isAgain || whyNotUsable(authorization) !== null) return keep
      return authorization.redirectUri === redirectUri ? { ...authorization, exchangeKey } : keep
    })
    const authorization = stored?.record
    if (authorization === undefined) throw stateInvalid('It was not begun here, or is long over.')
    if (authorization.status === 'denied') throw new Problem('access_denied', 'The person chose Deny at HealthTap.')
    if (authorization.redirectUri !== redirectUri) throw stateInvalid('It was begun with another redirect_uri.')
    if (authorization.exchangeKey !== exchangeKey) {
      throw stateInvalid(whyNotUsable(authorization) ?? 'It was used already.')
    }
    return authorization
  }

  /** null: it waits for its answer. */
  function whyNotUsable(authorization: Authorization): string | null {
    if (authorization.exchangeKey !== null || authorization.status !== 'pending') return 'It was used already.'
    return authorization.expiresAtMs <= clock.now() ? 'It has expired.' : null
  }

  async function waiting(state: string): Promise<Authorization> {
    const authorization = (await authorizations.read(state))?.record
    if (authorization === undefined) throw stateInvalid('It was not begun here, or is long over.')
    if (authorization.status !== 'pending') throw stateInvalid('It was used already.')
    if (authorization.expiresAtMs <= clock.now()) throw stateInvalid('It has expired.')
    return authorization
  }

  async function conclude(state: string, result: { guid: string } | { error: string }): Promise<void> {
    await change(authorizations, state, (authorization): Authorization | undefined => {
      if (authorization === null) return keep
      return 'guid' in result
        ? { ...authorization, status: 'connected', guid: result.guid, error: null, codeVerifier: null }
        : { ...authorization, status: 'failed', error: result.error, codeVerifier: null }
    })
  }

  async function refuse(state: string, error: string): Promise<Authorization> {
    const status = error === 'access_denied' ? 'denied' : 'failed'
    let reason: string | null = 'It was not begun here, or is long over.'
    const stored = await change(authorizations, state, (authorization): Authorization | undefined => {
      if (authorization === null) return keep
      reason = whyNotUsable(authorization)
      return reason === null ? { ...authorization, status, error, codeVerifier: null } : keep
    })
    if (reason !== null || stored === null) throw stateInvalid(reason ?? 'It is over.')
    return stored.record
  }

  return { begin, read, claim, waiting, conclude, refuse }
}

function stateInvalid(reason: string): Problem {
  const message = `The state cannot be used. ${reason}`
  return new Problem('state_invalid', `${message} Begin anew with POST /v1/authorizations.`)
}

/** The provider shows an error page of its own for an unknown one, so that nobody would ever come back. */
export function checkRedirectUri(allowed: readonly string[], redirectUri: string): void {
  if (allowed.includes(redirectUri)) return
  const detail = 'This redirect_uri is not one of HEALTHTAP_REDIRECT_URIS; it has to match one of them exactly.'
  throw new Problem('redirect_uri_not_allowed', detail, {
    errors: [{ path: '/redirect_uri', message: 'is not configured' }],
  })
}

function checkScope(allowed: readonly string[], scope: string): void {
  const unknown = scope.split(' ').filter(part => !allowed.includes(part))
  if (unknown.length === 0) return
  throw new Problem('scope_not_allowed', `HEALTHTAP_SCOPES allows ${allowed.join(' ')}.`, {
    errors: [{ path: '/scope', message: `contains what is not configured: ${unknown.join(' ')}` }],
  })
}

function checkReturnTo(origins: readonly string[], returnTo: string | undefined): void {
  if (returnTo === undefined || isReturnAllowed(origins, returnTo)) return
  throw new Problem('return_to_not_allowed', 'The origin of return_to is not one of RETURN_TO_ORIGINS.', {
    errors: [{ path: '/return_to', message: 'has an origin that is not configured' }],
  })
}

/**
 * Whether a browser may be sent there. What browsers and other parsers read differently (white space, control characters,
 * backslashes, a name before the host) is refused whatever it would come to; so is all that is no web address: the `origin`
 * of a `blob:` address is that of whoever made it.
 */
export function isReturnAllowed(origins: readonly string[], returnTo: string): boolean {
  if (/[\s\p{Cc}\\]/u.test(returnTo) || !URL.canParse(returnTo)) return false
  const { protocol, origin, username, password } = new URL(returnTo)
  const isWeb = protocol === 'https:' || protocol === 'http:'
  return isWeb && username === '' && password === '' && origins.includes(origin)
}
