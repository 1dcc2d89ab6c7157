import type { Authorization, Census, Exchange, Pause } from '../ports/records.ts'

/** The outcome of an authorization can be read for ten minutes after its state has expired. */
const OUTCOME_LIFE_MS = 10 * 60_000

export function authorizationExpiry(authorization: Authorization): number {
  return authorization.expiresAtMs + OUTCOME_LIFE_MS
}

export function exchangeExpiry(exchange: Exchange): number {
  return exchange.expiresAtMs
}

/** Figures that nobody has renewed for so long say nothing about now. */
const COUNTS_LIFE_MS = 10 * 60_000

export function censusExpiry({ counts, leaseUntilMs }: Census): number {
  return Math.max(leaseUntilMs, (counts?.atMs ?? 0) + COUNTS_LIFE_MS)
}

export function pauseExpiry(pause: Pause): number {
  return pause.untilMs
}
