import type { Upstream } from '../errors.ts'
import type { TokenPair } from './records.ts'
import type { Secret } from './secret.ts'

/** A token endpoint's success (RFC 6749, section 5.1), durations as the provider said them. */
export interface TokenAnswer {
  readonly pair: TokenPair
  /** null: the answer had no `expires_in`. */
  readonly expiresInSeconds: number | null
  /** null: the answer had neither `refresh_token_expires_in` nor `refresh_expires_in`. */
  readonly refreshTokenExpiresInSeconds: number | null
  /** null: the answer had no `scope`; it is then what was asked for (RFC 6749, section 5.1). */
  readonly scope: string | null
  /** null: the answer did not say whose tokens these are. */
  readonly guid: string | null
}

/**
 * How a request to the provider ended, by what it means for us:
 *
 * - `ok`: done, and this is what it brought.
 * - `rejected`: the provider refused what we presented (`invalid_grant`). Definite.
 * - `conflict`: the username is taken. Definite.
 * - `client_refused`: our credentials are wrong. Nothing was spent.
 * - `unavailable`: nothing was spent, a later try may succeed. The request did not leave us (look-up, TCP, TLS, no free connection
 *   in time), or the provider said that it did not work on it.
 * - `refused`: a definite no that fits none of the above, or that we cannot read. Nothing was spent.
 * - `unknown`: it may have been done: its first byte may have been written. `settled` says that the provider will not work on it
 *   any more (a whole answer came). `unreadable`: it said 2xx, and the body made no sense.
 *
 * `reason`: why there is no usable answer, for operators: `connect ECONNREFUSED`, `tls CERT_HAS_EXPIRED`, `timeout`,
 * `answered 503`. Made of fixed words, names of error codes and HTTP statuses; absent: not said.
 * `retryAfterSeconds`: how long the provider asks us to wait (RFC 9110, section 10.2.3); null: it does not say.
 */
export type Outcome<T> =
  | { readonly kind: 'ok'; readonly value: T }
  | { readonly kind: 'rejected' | 'conflict' | 'client_refused' | 'refused'; readonly upstream: Upstream }
  | {
      readonly kind: 'unavailable'
      readonly upstream: Upstream
      readonly retryAfterSeconds: number | null
      readonly reason?: string
    }
  | {
      readonly kind: 'unknown'
      readonly upstream: Upstream
      readonly settled: boolean
      readonly unreadable: boolean
      readonly retryAfterSeconds: number | null
      readonly reason?: string
    }

export type Failure = Exclude<Outcome<never>, { kind: 'ok' }>

/** null: the provider does not ask for patience. */
export function askedToWaitSeconds(outcome: Outcome<unknown>): number | null {
  return 'retryAfterSeconds' in outcome ? outcome.retryAfterSeconds : null
}

/** Why there is no usable answer; null: the outcome does not say. */
export function reasonOf(outcome: Outcome<unknown>): string | null {
  if ('reason' in outcome) return outcome.reason ?? null
  return 'upstream' in outcome && outcome.upstream.status !== undefined ? `answered ${outcome.upstream.status}` : null
}

/** HealthTap, as the broker sees it. Nothing here throws for what the provider did: every end is an `Outcome`. */
export interface Provider {
  /** Where to send a person (RFC 6749, section 4.1.1). `codeVerifier` null: no PKCE challenge. */
  authorizationUrl(request: { redirectUri: string; scope: string; state: string; codeVerifier: Secret | null }): string
  /** RFC 6749, section 4.1.3. Never to be repeated when the outcome is `unknown`; so it has a connection of its own. */
  exchange(request: { code: Secret; redirectUri: string; codeVerifier: Secret | null }): Promise<Outcome<TokenAnswer>>
  /**
   * RFC 6749, section 6. An answer without a usable refresh token is `ok` with the one that was sent, which then stays in force. A
   * refresh may go out on a kept connection that the provider has just closed. Then its outcome is `unknown`, and it is safe to
   * try the same refresh token again.
   */
  refresh(refreshToken: Secret): Promise<Outcome<TokenAnswer>>
  /** Makes a user, on a connection of its own: it cannot be repeated. `attributes`: more fields of the request body. */
  createUser(user: {
    username: string
    password: Secret
    attributes: Readonly<Record<string, unknown>>
  }): Promise<Outcome<TokenAnswer>>
  /**
   * The password grant (RFC 6749, section 4.3): a new pair for a user that `createUser` made, by the same password. Older pairs
   * stay alive, so it may be repeated. `rejected`: unknown user or wrong password. `refused` with `unsupported_grant_type`:
   * the provider does not offer this grant; with `unauthorized_client`: not to us.
   */
  authenticate(user: { username: string; password: Secret }): Promise<Outcome<TokenAnswer>>
  /**
   * Presents an access token to a protected resource. `ok` with true: the provider accepts it; with false: it answered 401.
   * A provider that rotates on use ends the pair's predecessor by this. `refused`: the resource is not there, so this tells nothing.
   */
  present(accessToken: Secret): Promise<Outcome<boolean>>
  /**
   * RFC 7009. A refresh token whose access token has expired is not revoked by it, although the answer is `ok`. `refused` with
   * `unauthorized_client`: the provider does not know the token as ours.
   */
  revoke(token: Secret): Promise<Outcome<null>>
  /**
   * Asks for something that nobody holds and nothing is spent by: `ok` when the provider works and takes our credentials,
   * else what keeps it from working.
   */
  probe(): Promise<Outcome<null>>
  /** Whose access token this is; `ok` with null where no identity URL is configured or it does not say. */
  identify(accessToken: Secret): Promise<Outcome<string | null>>
}
