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
 * - `unavailable`: nothing was spent, a later try may succeed.
 * - `refused`: a definite no that fits none of the above, or that we cannot read. Nothing was spent.
 * - `unknown`: it may have been done. `settled` says that the provider will not work on it any more (it answered).
 *   `unreadable`: it said 2xx, and the body made no sense.
 *
 * `retryAfterSeconds`: how long the provider asks us to wait (RFC 9110, section 10.2.3); null: it does not say.
 */
export type Outcome<T> =
  | { readonly kind: 'ok'; readonly value: T }
  | { readonly kind: 'rejected' | 'conflict' | 'client_refused' | 'refused'; readonly upstream: Upstream }
  | { readonly kind: 'unavailable'; readonly upstream: Upstream; readonly retryAfterSeconds: number | null }
  | {
      readonly kind: 'unknown'
      readonly upstream: Upstream
      readonly settled: boolean
      readonly unreadable: boolean
      readonly retryAfterSeconds: number | null
    }

export type Failure = Exclude<Outcome<never>, { kind: 'ok' }>

/** null: the provider does not ask for patience. */
export function askedToWaitSeconds(outcome: Outcome<unknown>): number | null {
  return 'retryAfterSeconds' in outcome ? outcome.retryAfterSeconds : null
}

/** HealthTap, as the broker sees it. Nothing here throws for what the provider did: every end is an `Outcome`. */
export interface Provider {
  /** Where to send a person (RFC 6749, section 4.1.1). `codeVerifier` null: no PKCE challenge. */
  authorizationUrl(request: { redirectUri: string; scope: string; state: string; codeVerifier: Secret | null }): string
  /** RFC 6749, section 4.1.3. Never to be repeated when the outcome is `unknown`. */
  exchange(request: { code: Secret; redirectUri: string; codeVerifier: Secret | null }): Promise<Outcome<TokenAnswer>>
  /** RFC 6749, section 6. */
  refresh(refreshToken: Secret): Promise<Outcome<TokenAnswer>>
  /** Makes a user. `attributes`: more fields of the request body. */
  createUser(user: {
    username: string
    password: Secret
    attributes: Readonly<Record<string, unknown>>
  }): Promise<Outcome<TokenAnswer>>
  /**
   * The password grant (RFC 6749, section 4.3): a new pair for a user that `createUser` made, by the same password. Older pairs
   * stay alive, so it may be repeated. `rejected`: unknown user or wrong password. `refused` with `unsupported_grant_type`:
   * the provider does not offer this grant.
   */
  authenticate(user: { username: string; password: Secret }): Promise<Outcome<TokenAnswer>>
  /**
   * Presents an access token to a protected resource. `ok` with true: the provider accepts it; with false: it answered 401.
   * A provider that rotates on use ends the pair's predecessor by this. `refused`: the resource is not there, so this tells nothing.
   */
  present(accessToken: Secret): Promise<Outcome<boolean>>
  /** RFC 7009. A refresh token whose access token has expired is not revoked by it, although the answer is `ok`. */
  revoke(token: Secret): Promise<Outcome<null>>
  /**
   * Asks for something that nobody holds and nothing is spent by: `ok` when the provider works and takes our credentials,
   * else what keeps it from working.
   */
  probe(): Promise<Outcome<null>>
  /** Whose access token this is; `ok` with null where no identity URL is configured or it does not say. */
  identify(accessToken: Secret): Promise<Outcome<string | null>>
}
