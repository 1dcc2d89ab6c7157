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
  /** How long after the lease was taken the request may still be sent, so that its answer is there before the lease ends. */
  readonly sendWithinMs: number
  /** Grants unread for this long are not renewed ahead of time; 0: all are. */
  readonly idleAfterMs: number
}

/** The part of the margin that is spread over the guids, so that grants made together are not renewed together. */
const JITTER_PART = 0.25
/** However short its life: a pair that comes expired is not renewed in a circle. */
const SHORTEST_STAY_MS = 1_000
/** A wish for remaining life is granted up to this part of the lifetime: beyond it every read would renew. */
const LARGEST_TTL_PART = 0.9
const BACKOFF_FIRST_MS = 1_000
/** An outage takes few grants past the first waits: the breaker stops refreshes. Longer waits are for a fault of one grant. */
const BACKOFF_LONGEST_MS = 600_000
/** As long as a reader who gets no living token waits at most: no person shall wait longer once the provider works again. */
const READERS_BACKOFF_LONGEST_MS = 30_000
/** So long before a token lapses, its renewal is tried once more; and from then on every second. */
const LAST_CHANCE_MS = 2_000
/** So long before it expires, at most, a refresh token is renewed: an outage of hours costs nobody an authorization. */
const REFRESH_TOKEN_MARGIN_MS = 86_400_000
/**
 * A grant whose refresh has failed so many times in a row needs an operator's attention: `grant.needs_attention` is emitted,
 * and the metric, the console and doctor count it.
 */
export const ATTENTION_AFTER_ATTEMPTS = 5
/** A provider that asks for more patience than this is asked again anyway. */
export const RETRY_AFTER_LONGEST_MS = 300_000

interface Lifetime {
  readonly guid: string
  readonly issuedAtMs: number
  readonly accessTokenExpiresAtMs: number
  /** null: the provider did not say. */
  readonly refreshTokenExpiresAtMs: number | null
}

/** How long an access token lives, as far as we know. */
export function lifetimeMs(policy: RefreshPolicy, answer: { readonly expiresInSeconds: number | null }): number {
  return answer.expiresInSeconds === null ? policy.defaultLifetimeMs : answer.expiresInSeconds * 1000
}

/** The moment of renewal ahead of time: in the margin before whichever half of the pair expires first. */
export function refreshDueAtMs(policy: RefreshPolicy, lifetime: Lifetime): number {
  const { accessTokenExpiresAtMs, issuedAtMs } = lifetime
  const dueAtMs = Math.min(
    aheadOf(policy, lifetime, accessTokenExpiresAtMs, policy.marginMs),
    restingDueAtMs(policy, lifetime) ?? Infinity,
  )
  return Math.max(dueAtMs, issuedAtMs + SHORTEST_STAY_MS)
}

/** When a grant that nobody reads has to be renewed all the same: its refresh token would expire. null: never. */
export function restingDueAtMs(policy: RefreshPolicy, lifetime: Lifetime): number | null {
  const { refreshTokenExpiresAtMs } = lifetime
  if (refreshTokenExpiresAtMs === null) return null
  return aheadOf(policy, lifetime, refreshTokenExpiresAtMs, Math.max(policy.marginMs, REFRESH_TOKEN_MARGIN_MS))
}

/** Inside the margin before `expiresAtMs`, at a place that is fixed for each guid. */
function aheadOf(policy: RefreshPolicy, { guid, issuedAtMs }: Lifetime, expiresAtMs: number, mostMs: number): number {
  const marginMs = Math.max(0, Math.min(mostMs, policy.marginRatio * (expiresAtMs - issuedAtMs)))
  return Math.round(expiresAtMs - marginMs * (1 - JITTER_PART * fractionOf(guid)))
}

/**
 * Since when its renewal has been due, for who looks at `nowMs`; null: it is not, or not known. A grant at rest is due when its
 * refresh token needs it; one that was read after it had become due may have been at rest until then.
 */
export function dueSinceMs(
  policy: RefreshPolicy,
  grant: Lifetime & { readonly refreshDueAtMs: number; readonly lastReadAtMs?: number; readonly createdAtMs: number },
  nowMs: number,
): number | null {
  const { refreshDueAtMs, lastReadAtMs = grant.createdAtMs } = grant
  if (policy.idleAfterMs > 0 && lastReadAtMs > refreshDueAtMs) return null
  const rests = isIdle(policy, lastReadAtMs, refreshDueAtMs)
  const sinceMs = rests ? restingDueAtMs(policy, grant) : refreshDueAtMs
  return sinceMs === null || sinceMs > nowMs ? null : sinceMs
}

/** Whether nobody has asked for its token for so long that it need not be renewed ahead of time. */
export function isIdle(policy: RefreshPolicy, lastReadAtMs: number, nowMs: number): boolean {
  return policy.idleAfterMs > 0 && nowMs - lastReadAtMs >= policy.idleAfterMs
}

/** Whether a read is worth writing down: once in a quarter of the time after which a grant counts as idle. */
export function isWorthNoting(policy: RefreshPolicy, lastReadAtMs: number, nowMs: number): boolean {
  return policy.idleAfterMs > 0 && nowMs - lastReadAtMs >= policy.idleAfterMs / 4
}

/**
 * How much life a token needs to be handed out. `wishedMs` null: the configured least.
 *
 * A pair that came by a refresh shows how long this provider's tokens live. A wish that none of them could meet then asks for no
 * more than the refresh ahead of time does: else every read would refresh. A pair that came in another way (an import, a code
 * exchange) may live shorter than that, so the wish counts in full.
 */
export function neededTtlMs(policy: RefreshPolicy, lifetime: Aged, wishedMs: number | null): number {
  const lifetimeMs = lifetime.accessTokenExpiresAtMs - lifetime.issuedAtMs
  const wanted = wishedMs ?? policy.minTtlMs
  if (!cameByRefresh(lifetime)) return wanted
  if (wanted >= lifetimeMs) return Math.max(0, lifetime.accessTokenExpiresAtMs - refreshDueAtMs(policy, lifetime))
  return Math.min(wanted, LARGEST_TTL_PART * lifetimeMs)
}

interface Aged extends Lifetime {
  /** null: never. */
  readonly lastRefreshedAtMs: number | null
}

function cameByRefresh({ issuedAtMs, lastRefreshedAtMs }: Aged): boolean {
  return lastRefreshedAtMs !== null && lastRefreshedAtMs >= issuedAtMs
}

/** Replicas' clocks differ by less than this, if they are kept as they should be. */
export const CLOCKS_DIFFER_BY_MS = 5_000

/**
 * How long the access token lives, at least as far as our clock can tell. A clock that was set back since the token came shows
 * more life than it was given: then nothing is known, and it counts as expired. Never more than its lifetime.
 */
export function lifeLeftMs(lifetime: Lifetime, nowMs: number): number {
  const { accessTokenExpiresAtMs, issuedAtMs } = lifetime
  if (nowMs < issuedAtMs - CLOCKS_DIFFER_BY_MS) return 0
  return accessTokenExpiresAtMs - Math.max(nowMs, issuedAtMs)
}

/** Until when a holder may keep a token: nobody renews it before, unless a caller asks for more life or reports it. */
export function rotatesAtMs(policy: RefreshPolicy, lifetime: Aged): number {
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
  /** 0: the provider did not ask for any. */
  retryAfterMs: number
  accessTokenExpiresAtMs: number
  fraction: number
}): number {
  const exponential = Math.min(BACKOFF_LONGEST_MS, BACKOFF_FIRST_MS * 2 ** Math.min(failure.attempts - 1, 10))
  const waitMs = exponential * (0.5 + failure.fraction / 2)
  const lifeLeftMs = failure.accessTokenExpiresAtMs - failure.nowMs
  const lastChanceInMs = Math.max(BACKOFF_FIRST_MS, lifeLeftMs - LAST_CHANCE_MS)
  const patientMs = lifeLeftMs > 0 ? Math.min(waitMs, lastChanceInMs) : waitMs
  const askedMs = Math.min(failure.retryAfterMs, RETRY_AFTER_LONGEST_MS)
  return Math.round(failure.nowMs + Math.max(patientMs, askedMs))
}

/** The longest wait between two tries for readers. An attempt without an outcome may be worked on for a lease. */
export function readersBackoffMs({ leaseMs }: RefreshPolicy): number {
  return Math.max(READERS_BACKOFF_LONGEST_MS, leaseMs)
}

/**
 * Whether a wait until `untilMs` still goes on, of a kind that never takes longer than `longestMs`. The clock may have been set
 * back since the wait began: then its end lies further ahead than it ever could, and the wait is over.
 */
export function mustWait(untilMs: number, longestMs: number, nowMs: number): boolean {
  return untilMs > nowMs && untilMs <= nowMs + longestMs + CLOCKS_DIFFER_BY_MS
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
