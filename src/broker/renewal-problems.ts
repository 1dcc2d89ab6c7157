/** What a reader is told where a renewal could not be done just now. */
import { Problem } from '../errors.ts'
import type { Failure } from '../ports/provider.ts'
import { problemOf, secondsUntil } from './context.ts'

export function passing(failure: Failure, retryMs: number, nowMs: number): Problem {
  if (failure.kind === 'client_refused') return problemOf(failure, 'a renewal')
  const detail = 'HealthTap could not renew the token just now. The grant is kept, and is tried again.'
  const retryAfterSeconds = secondsUntil(retryMs, nowMs)
  return new Problem('provider_unavailable', detail, { retryAfterSeconds, upstream: failure.upstream })
}

export function notYet(): Problem {
  const detail = 'HealthTap has only just come back, and renewals begin one by one. The grant is kept: ask again.'
  return new Problem('provider_unavailable', detail, { retryAfterSeconds: 1 })
}

export function goingDown(): Problem {
  const detail = 'This gateway is going down and begins no renewal any more. The grant is kept.'
  return new Problem('provider_unavailable', detail, { retryAfterSeconds: 1 })
}

export function notStoredYet(): Problem {
  const detail =
    'HealthTap has sent a new token, and Redis does not accept writes. The gateway keeps the token and stores it as soon as it can. Ask again.'
  return new Problem('store_unavailable', detail, { retryAfterSeconds: 2 })
}
