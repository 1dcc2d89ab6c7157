import { type Entry, type Ledger, noLedger } from './ledger.ts'
import { newToken } from './secrets.ts'

/** One row at the provider: an access token and its refresh token, which live and die together. */
export interface TokenPair {
  readonly accessToken: string
  readonly refreshToken: string
  readonly guid: string
  readonly scopes: readonly string[]
  readonly createdAtMs: number
  readonly expiresInSeconds: number
  /** The pair that dies when this one is first used. Always null in `instant` rotation, where it is dead already. */
  predecessor: TokenPair | null
  revoked: boolean
}

export interface Issue {
  readonly guid: string
  readonly scopes: readonly string[]
  readonly expiresInSeconds: number
  readonly nowMs: number
  /** From here on it names this pair, and no longer the one before. Absent: a new one. */
  readonly refreshToken?: string
}

/** Dead pairs that are remembered, so that a 401 can say "revoked"; an older one's tokens are "invalid" instead. */
const MAX_REVOKED = 10_000

/**
 * All pairs that were handed out. A pair is *live* until it is revoked, and live pairs are never forgotten. Its access
 * token expires; its refresh token does not, so an expired pair is still live.
 *
 *     issue ──▶ live ──▶ replace, instant ────────────────────────────────▶ revoked
 *                    ──▶ replace, on_use ──▶ live, until its successor's use ──▶ revoked
 *                    ──▶ revoke ──────────────────────────────────────────▶ revoked
 */
export class TokenPairs {
  readonly #byAccessToken = new Map<string, TokenPair>()
  readonly #byRefreshToken = new Map<string, TokenPair>()
  readonly #liveByGuid = new Map<string, Set<TokenPair>>()
  readonly #revoked = new Set<TokenPair>()
  #note: Ledger['note'] = noLedger.note

  /** Knows what the ledger knows, and notes in it what happens from now on. */
  constructor({ entries, note }: Ledger) {
    for (const entry of entries) this.#recall(entry)
    this.#note = note
  }

  issue({ nowMs, refreshToken = newToken(), ...issue }: Issue, predecessor: TokenPair | null = null): TokenPair {
    const pair = { ...issue, accessToken: newToken(), refreshToken, createdAtMs: nowMs }
    this.#note({ pair, predecessor: predecessor?.accessToken ?? null })
    return this.#add({ ...pair, predecessor, revoked: false })
  }

  byAccessToken(accessToken: string): TokenPair | undefined {
    return this.#byAccessToken.get(accessToken)
  }

  byRefreshToken(refreshToken: string): TokenPair | undefined {
    return this.#byRefreshToken.get(refreshToken)
  }

  liveOf(guid: string): TokenPair[] {
    return [...(this.#liveByGuid.get(guid) ?? [])]
  }

  /**
   * The access token was presented somewhere: in `on_use` rotation, this is what kills the pair before it. The one before
   * that lives on, as long as nothing presents the token that was killed.
   */
  use(pair: TokenPair): void {
    if (!pair.predecessor) return
    this.#note({ used: pair.accessToken })
    this.#retire(pair.predecessor)
    pair.predecessor = null
  }

  revoke(pair: TokenPair): void {
    if (pair.revoked) return
    this.#note({ revoked: pair.accessToken })
    this.#retire(pair)
  }

  #add(pair: TokenPair): TokenPair {
    this.#byAccessToken.set(pair.accessToken, pair)
    this.#byRefreshToken.set(pair.refreshToken, pair)
    const live = this.#liveByGuid.get(pair.guid)
    if (live) live.add(pair)
    else this.#liveByGuid.set(pair.guid, new Set([pair]))
    return pair
  }

  #recall(entry: Entry): void {
    if ('pair' in entry) {
      const predecessor = entry.predecessor === null ? null : (this.byAccessToken(entry.predecessor) ?? null)
      this.#add({ ...entry.pair, predecessor, revoked: false })
    } else if ('used' in entry) this.#withPair(entry.used, pair => this.use(pair))
    else if ('revoked' in entry) this.#withPair(entry.revoked, pair => this.revoke(pair))
  }

  /** One that was forgotten needs nothing any more. */
  #withPair(accessToken: string, act: (pair: TokenPair) => void): void {
    const pair = this.byAccessToken(accessToken)
    if (pair) act(pair)
  }

  #retire(pair: TokenPair): void {
    if (pair.revoked) return
    pair.revoked = true
    const live = this.#liveByGuid.get(pair.guid)
    live?.delete(pair)
    if (live?.size === 0) this.#liveByGuid.delete(pair.guid)
    this.#revoked.add(pair)
    const [oldest] = this.#revoked
    if (this.#revoked.size > MAX_REVOKED && oldest) this.#forget(oldest)
  }

  #forget(pair: TokenPair): void {
    this.#revoked.delete(pair)
    this.#byAccessToken.delete(pair.accessToken)
    // The pair that took over its refresh token keeps it.
    if (this.byRefreshToken(pair.refreshToken) === pair) this.#byRefreshToken.delete(pair.refreshToken)
    // A successor that is never used must not keep a chain of forgotten pairs in memory.
    pair.predecessor = null
  }
}

export function isExpired(pair: TokenPair, nowMs: number): boolean {
  return nowMs >= expiresAtMs(pair)
}

/** Rounded, as Doorkeeper's `expires_in_seconds` is. */
export function secondsLeft(pair: TokenPair, nowMs: number): number {
  return Math.max(0, Math.round((expiresAtMs(pair) - nowMs) / 1000))
}

const expiresAtMs = ({ createdAtMs, expiresInSeconds }: TokenPair): number => createdAtMs + expiresInSeconds * 1000
