import type { Grant, TokenPair } from './records.ts'

/** What a renewal brought, and which version it replaces. */
export interface Rotation {
  readonly guid: string
  /** The version whose refresh token was spent. */
  readonly replacesVersion: number
  /** That refresh token, by its fingerprint: while it stands, the new pair may take its place. */
  readonly spentFingerprint: string
  /** The grant as it stood then: a store may have lost it since. */
  readonly base: Grant
  readonly pair: TokenPair
  /** null: the provider did not repeat it, so it stays. */
  readonly scope: string | null
  readonly issuedAtMs: number
  readonly accessTokenExpiresAtMs: number
  readonly refreshTokenExpiresAtMs: number | null
  /** The password grant brought the pair, since the refresh token was refused: its predecessor is dead. Absent: a refresh did. */
  readonly isRestored?: boolean
}

/** Where rotations wait that the store would not take, so that they outlive the process. */
export interface Journal {
  /** Durable when it resolves. Putting the same rotation again is harmless. */
  put(rotation: Rotation): Promise<void>
  remove(rotation: Rotation): Promise<void>
  /** Makes sure that it can be written to, before it is needed. Throws where it cannot. To be called again and again. */
  prepare(): Promise<void>
  /** How many entries it holds, those that cannot be opened too; null: there is no journal. */
  count(): Promise<number | null>
  /** What an earlier process left, oldest first. Entries that cannot be opened are left alone and reported. */
  entries(): Promise<readonly Rotation[]>
}
