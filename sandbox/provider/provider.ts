import type { Settings } from '../settings.ts'
import { type AuthorizationCode, AuthorizationCodes } from './authorization-codes.ts'
import type { Ledger } from './ledger.ts'
import { demand, demandParameter, OAuthError } from './oauth-error.ts'
import { People, type Person } from './people.ts'
import { s256, sameSecret } from './secrets.ts'
import { isExpired, secondsLeft, type TokenPair, TokenPairs } from './token-pairs.ts'

export interface ClientCredentials {
  readonly clientId: string
  readonly clientSecret: string
}

/** What arrived, unchecked. An empty parameter counts as absent. */
type Unchecked<Name extends string> = { readonly [name in Name]: string | undefined }

export interface ExchangeRequest extends Unchecked<'code' | 'redirectUri' | 'codeVerifier'> {
  readonly credentials: ClientCredentials | null
}

export interface RefreshRequest extends Unchecked<'refreshToken' | 'scope'> {
  readonly credentials: ClientCredentials | null
}

export interface PasswordRequest extends Unchecked<'username' | 'password' | 'scope'> {
  readonly credentials: ClientCredentials | null
}

/** A password that was found right, and the scopes that it may have. */
interface ApprovedPassword {
  readonly person: Person
  readonly scopes: readonly string[]
}

/** A refresh that may go ahead, unless another one of the same token is faster. */
export interface ApprovedRefresh {
  readonly pair: TokenPair
  readonly scopes: readonly string[]
}

/** The scopes of a user that the app has made. */
const PROVISIONED_SCOPES = ['member_public']

/** What a protected resource makes of a bearer token (RFC 6750, section 3.1). */
export type BearerCheck =
  | { readonly ok: true; readonly person: Person }
  | {
      readonly ok: false
      readonly guid: string | undefined
      readonly reason: 'unknown' | 'revoked' | 'expired' | 'scope'
    }

/**
 * The authorization server's model: people, codes and token pairs, and what Doorkeeper 5.5 does with them. It knows
 * no HTTP. Where Doorkeeper validates first and takes the row's lock later, the two halves are separate methods
 * (`approveExchange` and `exchange`, `approveRefresh` and `refresh`): what happens between them is a race.
 */
export class Provider {
  readonly settings: Settings
  readonly people: People
  readonly #codes = new AuthorizationCodes()
  readonly #pairs: TokenPairs
  readonly #now: () => number

  constructor(settings: Settings, now: () => number, ledger: Ledger) {
    this.settings = settings
    this.people = new People(ledger)
    this.#pairs = new TokenPairs(ledger)
    this.#now = now
  }

  isClient(credentials: ClientCredentials | null): boolean {
    if (!credentials) return false
    const knownId = sameSecret(credentials.clientId, this.settings.appId)
    return sameSecret(credentials.clientSecret, this.settings.appSecret) && knownId
  }

  /** Whether this person has a live pair with exactly these scopes: then no consent is asked for again. */
  hasAuthorized(person: Person, scopes: readonly string[]): boolean {
    const wanted = scopeKey(scopes)
    return this.#pairs.liveOf(person.guid).some(pair => scopeKey(pair.scopes) === wanted)
  }

  /** Returns the code. @see RFC 6749, section 4.1.2 */
  authorize(
    person: Person,
    request: { redirectUri: string; scopes: readonly string[]; codeChallenge: string | undefined },
  ): string {
    const { redirectUri, scopes } = request
    const codeChallenge = this.settings.pkce ? (request.codeChallenge ?? null) : null
    return this.#codes.issue({ guid: person.guid, redirectUri, scopes, codeChallenge }, this.#now())
  }

  /**
   * The checks of a code exchange, in Doorkeeper's order. Nothing is spent by them.
   * @see RFC 6749, section 4.1.3; RFC 7636, section 4.6
   */
  approveExchange(request: ExchangeRequest): AuthorizationCode {
    const { redirectUri, codeVerifier, credentials } = request
    demandParameter(request.code, 'code')
    const code = this.#codes.find(request.code, this.#now())
    if (code?.codeChallenge) demandParameter(codeVerifier, 'code_verifier')
    demandParameter(redirectUri, 'redirect_uri')
    demand(this.isClient(credentials), 'invalid_client')
    demand(code && code.redirectUri === redirectUri, 'invalid_grant')
    demand(this.#verifierFits(codeVerifier, code.codeChallenge), 'invalid_grant')
    return code
  }

  /** Throws `invalid_grant` where the code was spent since it was approved. */
  exchange(code: AuthorizationCode): TokenPair {
    demand(this.#codes.spend(code), 'invalid_grant')
    return this.#signIn(code.guid, code.scopes)
  }

  /**
   * The checks of the password grant, in Doorkeeper's order: whether the flow is enabled, then the client, then the person.
   * An unknown user and a wrong password are told apart by nothing.
   * @see RFC 6749, section 4.3.2
   */
  approvePassword({ username, password, scope, credentials }: PasswordRequest): ApprovedPassword {
    const { passwordGrant, scopes: registered } = this.settings
    demand(passwordGrant, 'unsupported_grant_type')
    demand(this.isClient(credentials), 'invalid_client')
    const person = this.people.byPassword(username ?? '', password ?? '')
    demand(person, 'invalid_grant')
    const scopes = scope === undefined ? PROVISIONED_SCOPES : parseScope(scope)
    demand(
      scopes.every(wanted => PROVISIONED_SCOPES.includes(wanted) || registered.includes(wanted)),
      'invalid_scope',
    )
    return { person, scopes }
  }

  /** A new pair; those that the person has stay alive. */
  signInByPassword({ person, scopes }: ApprovedPassword): TokenPair {
    return this.#signIn(person.guid, scopes)
  }

  /**
   * The checks of a refresh, in Doorkeeper's order: the refresh token comes before the client, so `invalid_client`
   * says that the token is still good. Without any credentials, the token counts as another client's.
   * @see RFC 6749, section 6
   */
  approveRefresh({ refreshToken, scope, credentials }: RefreshRequest): ApprovedRefresh {
    demandParameter(refreshToken, 'refresh_token')
    const pair = this.#pairs.byRefreshToken(refreshToken)
    demand(pair && !pair.revoked, 'invalid_grant')
    demand(credentials, 'invalid_grant')
    demand(this.isClient(credentials), 'invalid_client')
    const scopes = scope === undefined ? pair.scopes : parseScope(scope)
    demand(
      scopes.every(wanted => pair.scopes.includes(wanted)),
      'invalid_scope',
    )
    return { pair, scopes }
  }

  /**
   * Throws where the pair was revoked since: `invalid_grant`, from old versions `invalid_request`.
   * `keepsRefreshToken`: the new pair has the same one, which RFC 6749, section 6, leaves to the provider.
   */
  refresh({ pair, scopes }: ApprovedRefresh, { keepsRefreshToken = false } = {}): TokenPair {
    if (pair.revoked) throw new OAuthError(this.settings.legacy ? 'invalid_request' : 'invalid_grant')
    const kept = keepsRefreshToken ? { refreshToken: pair.refreshToken } : {}
    if (this.settings.rotation === 'on_use') return this.#issue({ guid: pair.guid, scopes, ...kept }, pair)
    // In this order, whatever a process that dies in between leaves in its ledger is a pair that works.
    const next = this.#issue({ guid: pair.guid, scopes, ...kept })
    this.#pairs.revoke(pair)
    return next
  }

  /** The first pair of a new user, or null where the username is taken. */
  createUser(username: string, password: string): TokenPair | null {
    const person = this.people.create(username, password)
    return person && this.#issue({ guid: person.guid, scopes: PROVISIONED_SCOPES })
  }

  /**
   * Bearing an access token *is* using it, whatever the answer will be: Doorkeeper ends the predecessor as soon as it has
   * found the token's row, before it looks at scope, expiry or revocation (`OAuth::Token.authenticate`).
   */
  checkBearer(accessToken: string | undefined, requiredScope: string | undefined): BearerCheck {
    const pair = accessToken === undefined ? undefined : this.#pairs.byAccessToken(accessToken)
    if (!pair) return { ok: false, guid: undefined, reason: 'unknown' }
    const { guid } = pair
    if (this.settings.rotation === 'on_use') this.#pairs.use(pair)
    if (pair.revoked) return { ok: false, guid, reason: 'revoked' }
    if (isExpired(pair, this.#now())) return { ok: false, guid, reason: 'expired' }
    if (requiredScope && !pair.scopes.includes(requiredScope)) return { ok: false, guid, reason: 'scope' }
    const person = this.people.byGuid(guid)
    return person ? { ok: true, person } : { ok: false, guid, reason: 'unknown' }
  }

  /**
   * Revokes the pair that holds this token, in either half. Returns whether it did: an unknown token has nothing to
   * revoke, and a pair whose access token has expired is left alone, which Doorkeeper 5.8.1 was the first to mend.
   * @see RFC 7009, section 2.1
   */
  revoke(token: string | undefined): boolean {
    const pair = token === undefined ? undefined : this.#pairOf(token)
    if (!pair || pair.revoked || isExpired(pair, this.#now())) return false
    this.#pairs.revoke(pair)
    return true
  }

  /** As when the person disconnects the app: every pair dies, and codes under way with them. Returns how many pairs. */
  disconnect(guid: string): number {
    const live = this.#pairs.liveOf(guid)
    for (const pair of live) this.#pairs.revoke(pair)
    this.#codes.spendAllOf(guid)
    return live.length
  }

  secondsLeft(pair: TokenPair): number {
    return secondsLeft(pair, this.#now())
  }

  livePairs(guid: string): number {
    return this.#pairs.liveOf(guid).length
  }

  guidOfCode(code: string | undefined): string | undefined {
    return code === undefined ? undefined : this.#codes.find(code, this.#now())?.guid
  }

  guidOfToken(token: string | undefined): string | undefined {
    return token === undefined ? undefined : this.#pairOf(token)?.guid
  }

  #pairOf(token: string): TokenPair | undefined {
    return this.#pairs.byAccessToken(token) ?? this.#pairs.byRefreshToken(token)
  }

  /** A new pair, or where pairs are reused the newest one that fits. */
  #signIn(guid: string, scopes: readonly string[]): TokenPair {
    const reusable = this.settings.reuseTokens
      ? this.#pairs
          .liveOf(guid)
          .findLast(pair => scopeKey(pair.scopes) === scopeKey(scopes) && !isExpired(pair, this.#now()))
      : undefined
    return reusable ?? this.#issue({ guid, scopes })
  }

  #issue(
    row: { guid: string; scopes: readonly string[]; refreshToken?: string },
    predecessor: TokenPair | null = null,
  ): TokenPair {
    const expiresInSeconds = this.settings.tokenLifetimeSeconds
    return this.#pairs.issue({ ...row, expiresInSeconds, nowMs: this.#now() }, predecessor)
  }

  /** A verifier without a challenge is refused too, as it is by Doorkeeper. */
  #verifierFits(codeVerifier: string | undefined, codeChallenge: string | null): boolean {
    if (!this.settings.pkce) return true
    if (codeVerifier === undefined || codeChallenge === null)
      return codeVerifier === undefined && codeChallenge === null
    return sameSecret(s256(codeVerifier), codeChallenge)
  }
}

/** @see RFC 6749, section 3.3 */
export const parseScope = (scope: string): string[] => [...new Set(scope.split(' ').filter(Boolean))]

const scopeKey = (scopes: readonly string[]): string => scopes.toSorted().join(' ')
