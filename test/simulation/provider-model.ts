import type { Outcome, TokenAnswer } from '../../src/ports/provider.ts'
import { Secret } from '../../src/ports/secret.ts'

export type Rotation = 'instant' | 'on_use'

export interface Row {
  readonly id: number
  readonly guid: string
  readonly expiresAtMs: number
  /** The pair that this one was refreshed from; null: a sign-in brought it. */
  readonly from: Row | null
  isAlive: boolean
  /** How often its refresh token was taken. */
  refreshes: number
}

const rejected = { kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } } as const

/** What PROVIDER.md says of the provider's pairs, in either mode, and nothing of networks. */
export class ProviderModel {
  readonly rows: Row[] = []
  readonly counts = { refreshes: 0, rejected: 0, revoked: 0 }
  /** Refresh tokens that were asked with after they had been taken before. */
  spentTwice = 0
  readonly #rotation: Rotation
  readonly #lifetimeMs: number

  constructor(rotation: Rotation, lifetimeMs: number) {
    this.#rotation = rotation
    this.#lifetimeMs = lifetimeMs
  }

  signIn(guid: string, nowMs: number): Outcome<TokenAnswer> {
    return this.#answer(this.#add(guid, null, nowMs))
  }

  refresh(refreshToken: Secret, nowMs: number): Outcome<TokenAnswer> {
    const row = this.rowOf(refreshToken)
    if (row === undefined) return rejected
    if (row.refreshes > 0) this.spentTwice += 1
    if (!row.isAlive) {
      this.counts.rejected += 1
      return rejected
    }
    this.counts.refreshes += 1
    row.refreshes += 1
    if (this.#rotation === 'instant') row.isAlive = false
    return this.#answer(this.#add(row.guid, row, nowMs))
  }

  /** RFC 7009, with the flaw that PROVIDER.md tells of: nothing happens once the access token has expired. */
  revoke(token: Secret, nowMs: number): Outcome<null> {
    const row = this.rowOf(token)
    if (row !== undefined && row.expiresAtMs > nowMs) {
      row.isAlive = false
      this.counts.revoked += 1
    }
    return { kind: 'ok', value: null }
  }

  /** Somebody uses an access token: in `on_use` mode, the pair it was refreshed from dies by that. */
  use(accessToken: Secret, nowMs: number): boolean {
    const row = this.rowOf(accessToken)
    if (row === undefined || !row.isAlive || row.expiresAtMs <= nowMs) return false
    for (let older = row.from; older !== null; older = older.from) older.isAlive = false
    return true
  }

  rowOf(token: Secret): Row | undefined {
    return this.rows[Number(token.reveal().split('-')[1])]
  }

  livingRows(guid: string): Row[] {
    return this.rows.filter(row => row.guid === guid && row.isAlive)
  }

  #add(guid: string, from: Row | null, nowMs: number): Row {
    const id = this.rows.length
    const row = { id, guid, from, expiresAtMs: nowMs + this.#lifetimeMs, isAlive: true, refreshes: 0 }
    this.rows.push(row)
    return row
  }

  #answer(row: Row): Outcome<TokenAnswer> {
    const pair = { accessToken: new Secret(`access-${row.id}`), refreshToken: new Secret(`refresh-${row.id}`) }
    const expiresInSeconds = this.#lifetimeMs / 1000
    const value = { pair, expiresInSeconds, refreshTokenExpiresInSeconds: null, scope: 'profile_read', guid: row.guid }
    return { kind: 'ok', value }
  }
}
