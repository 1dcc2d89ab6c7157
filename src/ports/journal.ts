import type { TokenPair } from './records.ts'

/** What a renewal brought, and which version it replaces. */
export interface Rotation {
  readonly guid: string
  /** The version whose refresh token was spent: it may be committed while this one stands … */
  readonly replacesVersion: number
  /** … with this refresh token, by its fingerprint: a grant that was deleted and made anew counts from 1 again. */
  readonly spentFingerprint: string
  readonly pair: TokenPair
  /** null: the provider did not repeat it, so it stays. */
  readonly scope: string | null
  readonly issuedAtMs: number
  readonly accessTokenExpiresAtMs: number
  readonly refreshTokenExpiresAtMs: number | null
}

/** Where rotations wait that the store would not take, so that they outlive the process. */
export interface Journal {
  /** Durable when it resolves. Putting the same rotation again is harmless. */
  put(rotation: Rotation): Promise<void>
  remove(rotation: Rotation): Promise<void>
  /** What an earlier process left, oldest first. Entries that cannot be opened are left alone and reported. */
  entries(): Promise<readonly Rotation[]>
}
