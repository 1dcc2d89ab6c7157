import type { ProblemCode } from '../errors.ts'
import type { Secret } from './secret.ts'

/** One row at the provider: it holds an access token and the refresh token that replaces both. */
export interface TokenPair {
  readonly accessToken: Secret
  readonly refreshToken: Secret
}

export type GrantStatus = 'active' | 'in_doubt' | 'reauthorization_required' | 'revoking'
export type GrantOrigin = 'authorization_code' | 'provisioning' | 'import'

/**
 * A renewal that was begun: written before the request goes out, so that a crash cannot hide it. Until `leaseUntilMs`
 * nobody else may begin another.
 */
export interface Attempt {
  readonly owner: string
  readonly startedAtMs: number
  readonly leaseUntilMs: number
  /** SHA-256 of the refresh token that was spent, shortened; says which pair the attempt was about. */
  readonly refreshTokenFingerprint: string
}

/** A pair that stands no more and may be alive at the provider. The grant keeps it until it is ended there. */
export interface Leftover {
  readonly pair: TokenPair
  readonly accessTokenExpiresAtMs: number
  /**
   * The access token of the pair that a refresh brought in its place: a provider that rotates on use keeps this pair alive until
   * that one is used. null: no refresh replaced it.
   */
  readonly successor: Secret | null
  /** A later authorization replaced this one, so its refresh token may be spent to end it. */
  readonly isOver: boolean
  /** When another pair took its place. */
  readonly sinceMs: number
}

export interface LastError {
  readonly code: ProblemCode
  readonly atMs: number
  /** Failures in a row. */
  readonly attempts: number
}

/** One person's authorization as the gateway keeps it. Its states and moves are in `broker/grant.ts`. */
export interface Grant {
  readonly guid: string
  readonly username: string | null
  /** The provisioned user's password; null for people who signed in themselves. */
  readonly password: Secret | null
  readonly origin: GrantOrigin
  readonly scope: string
  readonly status: GrantStatus
  /** Grows by one with each pair, and with nothing else. */
  readonly version: number
  readonly pair: TokenPair
  /** When the request was sent by which the person's authorization came here; later ones outrank it. Absent: long ago. */
  readonly authorizedAtMs?: number
  /** The refresh token that it brought, by its fingerprint: who sends it again sends an old one. Absent: as above. */
  readonly authorizedFingerprint?: string
  /** When the request that brought the pair was sent: lifetimes count from here, on our clock. */
  readonly issuedAtMs: number
  readonly accessTokenExpiresAtMs: number
  /** null: the provider did not say. */
  readonly refreshTokenExpiresAtMs: number | null
  readonly refreshDueAtMs: number
  /** When somebody should next look: renewal, retry, end of a lease; null: never by itself. */
  readonly dueAtMs: number | null
  readonly attempt: Attempt | null
  /** Until then an attempt whose owner never came back may still bring a pair; null: there is none. */
  readonly doubtUntilMs: number | null
  readonly lastRefreshedAtMs: number | null
  /** When somebody last asked for its token, coarsely; absent: not known, as in records of earlier versions. */
  readonly lastReadAtMs?: number
  readonly lastError: LastError | null
  readonly createdAtMs: number
  readonly updatedAtMs: number
  /** Oldest first. Absent: there are none. */
  readonly leftovers?: readonly Leftover[]
}

/** A Tap-in that was begun here, under its `state`. */
export interface Authorization {
  readonly state: string
  readonly redirectUri: string
  readonly scope: string
  /** Where the browser goes on to. What the caller has put into its query is nobody's business. */
  readonly returnTo: Secret | null
  /** Who must come back; null: anybody. */
  readonly expectedGuid: string | null
  /** PKCE (RFC 7636); null where it is switched off. */
  readonly codeVerifier: Secret | null
  readonly status: 'pending' | 'connected' | 'denied' | 'failed'
  /** The exchange that this state was spent on, by its key; null: not yet spent. */
  readonly exchangeKey: string | null
  readonly guid: string | null
  readonly error: string | null
  readonly expiresAtMs: number
}

/** A code that was sent to the provider, so that it is sent once. `state`: with which; null: with none. */
export type Exchange = { readonly state: string | null; readonly expiresAtMs: number } & (
  | { readonly status: 'under_way'; readonly owner: string; readonly leaseUntilMs: number }
  | { readonly status: 'done'; readonly guid: string }
  /** The code may be spent: it is not sent again, and whoever repeats it is told the same. */
  | {
      readonly status: 'failed'
      readonly code: ProblemCode
      readonly detail: string
      /** The claim that was taken for abandoned, whose owner may still know better; absent: the owner of the claim wrote this. */
      readonly abandoned?: ExchangeClaim
    }
)

export interface ExchangeClaim {
  readonly owner: string
  readonly leaseUntilMs: number
}

/** A HealthTap user made, or being made, for a username of ours. */
export type Provisioning =
  | {
      readonly status: 'under_way'
      readonly owner: string
      readonly leaseUntilMs: number
      readonly password: Secret
      /** An earlier attempt with this username had no usable answer. */
      readonly inDoubt: boolean
    }
  /** It is not known whether the user was made; if so, with this password. */
  | { readonly status: 'in_doubt'; readonly password: Secret }
  /** The user was made, and the grant is about to be stored: whoever finds it so, stores it. */
  | { readonly status: 'answered'; readonly grant: Grant }
  | { readonly status: 'done'; readonly guid: string }

/** How many grants there are, as they were counted last. */
export interface GrantCounts {
  /** When the count began. */
  readonly atMs: number
  readonly byStatus: Readonly<Record<GrantStatus, number>>
  /** Those that are to be kept alive, and whose access token has lapsed, or lapses within so many seconds. */
  readonly lapsing: Readonly<Record<LapsingWithin, number>>
  /** The rest of what was counted, as JSON: records hold no lists. Absent: counted by a replica of an earlier version. */
  readonly survey?: string
}

/** Seconds. */
export type LapsingWithin = '0' | '60' | '300'

/** Grants are counted by one replica at a time, for all. */
export interface Census {
  /** Who counts; until `leaseUntilMs` nobody else begins. null: nobody. */
  readonly owner: string | null
  readonly leaseUntilMs: number
  /** null: nobody has finished yet. */
  readonly counts: GrantCounts | null
}

/** The provider has asked for patience (`Retry-After`): no replica asks it anything before. */
export interface Pause {
  readonly untilMs: number
}
