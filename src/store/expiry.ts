import type { Authorization, Exchange, Pause } from '../ports/records.ts'

/** The outcome of an authorization can be read for ten minutes after its state has expired. */
const OUTCOME_LIFE_MS = 10 * 60_000

export function authorizationExpiry(authorization: Authorization): number {
  return authorization.expiresAtMs + OUTCOME_LIFE_MS
}

export function exchangeExpiry(exchange: Exchange): number {
  return exchange.expiresAtMs
}

export function pauseExpiry(pause: Pause): number {
  return pause.untilMs
}
