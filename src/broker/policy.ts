/** When to renew, how long to wait after a failure, how much life is enough. Pure: times and chances are handed in. */

export interface RefreshPolicy {
  /** How long before expiry a token is renewed … */
  readonly marginMs: number
  /** … but never more than this part of its lifetime. */
  readonly marginRatio: number
  /** Least remaining life of a token handed out, where the caller does not ask for more. */
  readonly minTtlMs: number
  /** Lifetime of an access token that comes without `expires_in`. */
  readonly defaultLifetimeMs: number
  /** How long an attempt belongs to who began it: longer than the provider's deadline. */
  readonly leaseMs: number
}

/** The part of the margin that is spread over the guids, so that grants made together are not renewed together. */
const JITTER_PART = 0.25
/** A wish for remaining life is granted up to this part of the lifetime: beyond it every read would renew. */
const LARGEST_TTL_PART = 0.9
const BACKOFF_FIRST_MS = 1_000
const BACKOFF_LONGEST_MS = 30_000
/** A provider that asks for more patience than this is asked again anyway. */
const RETRY_AFTER_LONGEST_MS = 300_000

interface Lifetime {
  readonly guid: string
  readonly issuedAtMs: number
  readonly accessTokenExpiresAtMs: number
}

function marginOf(policy: RefreshPolicy, lifetime: Lifetime): number {
  const lifetimeMs = lifetime.accessTokenExpiresAtMs - lifetime.issuedAtMs
  return Math.max(0, Math.min(policy.marginMs, policy.marginRatio * lifetimeMs))
}

/** The moment of renewal ahead of time: inside the margin, at a place that is fixed for each guid. */
export function refreshDueAtMs(policy: RefreshPolicy, lifetime: Lifetime): number {
  const marginMs = marginOf(policy, lifetime) * (1 - JITTER_PART * fractionOf(lifetime.guid))
  return Math.round(lifetime.accessTokenExpiresAtMs - marginMs)
}

/**
 * How much life a token needs to be handed out. `wishedMs` null: the configured least. A wish that no token of this
 * provider could meet asks for no more than the renewal ahead of time does.
 */
export function neededTtlMs(policy: RefreshPolicy, lifetime: Lifetime, wishedMs: number | null): number {
  const lifetimeMs = lifetime.accessTokenExpiresAtMs - lifetime.issuedAtMs
  const wanted = wishedMs ?? policy.minTtlMs
  if (wanted >= lifetimeMs) return refreshMarginOrNothing(policy, lifetime)
  return Math.min(wanted, LARGEST_TTL_PART * lifetimeMs)
}

function refreshMarginOrNothing(policy: RefreshPolicy, lifetime: Lifetime): number {
  return lifetime.accessTokenExpiresAtMs - refreshDueAtMs(policy, lifetime)
}

/** Until when a holder may keep a token: nobody renews it before, unless a caller asks for more life or reports it. */
export function rotatesAtMs(policy: RefreshPolicy, lifetime: Lifetime): number {
  const forReaders = lifetime.accessTokenExpiresAtMs - neededTtlMs(policy, lifetime, null)
  return Math.min(refreshDueAtMs(policy, lifetime), forReaders)
}

/**
 * When to try again after the `attempts`-th failure in a row (1: the first): exponential, with jitter, not before the
 * provider's `Retry-After`, and not so late that a token that still lives would lapse without one more try.
 */
export function retryAtMs(failure: {
  nowMs: number
  attempts: number
  retryAfterMs: number | null
  accessTokenExpiresAtMs: number
  fraction: number
}): number {
  const exponential = Math.min(BACKOFF_LONGEST_MS, BACKOFF_FIRST_MS * 2 ** Math.min(failure.attempts - 1, 10))
  const waitMs = exponential * (0.5 + failure.fraction / 2)
  const lastChanceInMs = failure.accessTokenExpiresAtMs - failure.nowMs - 2 * BACKOFF_FIRST_MS
  const patientMs = lastChanceInMs > BACKOFF_FIRST_MS ? Math.min(waitMs, lastChanceInMs) : waitMs
  const askedMs = Math.min(failure.retryAfterMs ?? 0, RETRY_AFTER_LONGEST_MS)
  return Math.round(failure.nowMs + Math.max(patientMs, askedMs))
}

/** A number in [0, 1) that is the same for a guid on every replica (FNV-1a, 32 bit). */
function fractionOf(guid: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < guid.length; index += 1) {
    hash = Math.imul(hash ^ guid.charCodeAt(index), 0x01000193)
  }
  // Guids that differ in their last characters alone lie close together until the bits are mixed (MurmurHash3's last step).
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32
}
