/**
 * How a token came to be handed out:
 *
 * - `stored`: as it stood, since it lives long enough.
 * - `renewed`: who asked for it began its renewal.
 * - `joined`: who asked for it waited for a renewal that somebody else had begun, in this process or another.
 * - `kept`: it should have been renewed, and cannot be just now; it still lives.
 */
export const TOKEN_SOURCES = ['memory', 'stored', 'renewed', 'joined', 'kept'] as const

export type TokenSource = (typeof TOKEN_SOURCES)[number]

/**
 * What came of a renewal that was begun (lease and intent are written):
 *
 * - `renewed`: its pair stands. `renewed_late`: the same, after its lease had ended.
 * - `replayed`: an earlier process had left it in the journal, and it was dealt with at a start.
 * - `discarded`: it brought a pair that nobody needs any more.
 * - `failed`: nothing was spent, it is tried again. `in_doubt`: perhaps the refresh token was spent, it is tried again.
 * - `client_refused`: our credentials are wrong. `ended`: the provider has ended the grant.
 * - `overtaken`: it failed, and it does not matter: the grant has moved on, or is gone.
 * - `not_sent`: too much time had passed since the lease was taken.
 */
export const REFRESH_OUTCOMES = [
  'renewed',
  'renewed_late',
  'replayed',
  'discarded',
  'failed',
  'in_doubt',
  'client_refused',
  'ended',
  'overtaken',
  'not_sent',
] as const

export type RefreshOutcome = (typeof REFRESH_OUTCOMES)[number]

/** What is counted and happens too often, or says too little, to be an event. Costs next to nothing, and never throws. */
export interface Meter {
  /** `lifeMs`: how long the token still lives. */
  served(source: TokenSource, lifeMs: number): void
  /** `lagMs`: how long it had been due when its pair was stored; null: no pair was, or it was not due. */
  refreshed(outcome: RefreshOutcome, lagMs: number | null): void
}
