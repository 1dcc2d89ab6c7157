/**
 * Rate limits that replicas share without waiting for each other: each counts by itself and lets requests through by what it
 * knows; in the background it tells the others what it has counted, and learns the sum. See docs/decisions/0004.
 */
import type { Clock } from '../ports/clock.ts'
import type { SharedCounts } from '../ports/counts.ts'
import { createCounters } from './counters.ts'
import { WINDOW_MS } from './window.ts'

export interface RateLimitOptions {
  readonly clock: Clock
  /** null: there is nobody to share with. */
  readonly shared: SharedCounts | null
  /** Requests a second, averaged over ten; 0: no limit. A caller's own limit goes before it. */
  readonly perCaller: number
  /** The same, for each guid, whoever asks. */
  readonly perGuid: number
}

export interface Refusal {
  readonly of: 'caller' | 'guid'
  /** Where there were too many at once for ever: until as many as can be are let through. */
  readonly retryAfterSeconds: number
  /** As many at once as ever can be. */
  readonly most: number
}

/** As far as it matters here. */
type Asking = { readonly name: string; readonly rateLimit: number | null }

export interface RateLimits {
  /** Counts a request about a guid (null: about none); null: it is within the limits. */
  refuse(caller: Asking, guid: string | null): Refusal | null
  /** Counts so many requests of a caller, all of them or none; null: they are within its limit. */
  refuseCaller(caller: Asking, count: number): Refusal | null
  /** Counts a request about a guid alone. */
  refuseGuid(guid: string): Refusal | null
  /** Tells nobody anything any more. */
  close(): void
}

/** How long others do not know what was counted here: so long more may get through than the limit says. */
const TELL_EVERY_MS = 150
/** After a failure. Meanwhile each replica limits by what it knows, in the end by itself alone. */
const TELL_AGAIN_MS = 1_000
/** Some 20 MB of names; and the work of one exchange. */
const MAX_NAMES = 100_000
const MOST_AT_ONCE = 10_000

export function createRateLimits({ clock, shared, perCaller, perGuid }: RateLimitOptions): RateLimits {
  const counters = createCounters(MAX_NAMES)
  const closing = new AbortController()
  let isTelling = shared === null

  function take(of: Refusal['of'], name: string, perSecond: number, count: number): Refusal | null {
    if (perSecond === 0) return null
    const most = (perSecond * WINDOW_MS) / 1000
    const wait = counters.take(`${of}:${name}`, most, clock.now(), count)
    if (wait > 0) return { of, retryAfterSeconds: Math.max(1, Math.ceil(wait / 1000)), most }
    if (!isTelling) void tell()
    return null
  }

  function refuseCaller({ name, rateLimit }: Asking, count: number): Refusal | null {
    return take('caller', name, rateLimit ?? perCaller, count)
  }

  function refuseGuid(guid: string): Refusal | null {
    return take('guid', guid, perGuid, 1)
  }

  /** Goes on until there is nothing new. */
  async function tell(): Promise<void> {
    if (shared === null) return
    isTelling = true
    let isHeard = true
    do {
      await clock.sleep(isHeard ? TELL_EVERY_MS : TELL_AGAIN_MS, closing.signal)
      if (closing.signal.aborted) return
      const changes = counters.changes(MOST_AT_ONCE)
      const answers = await shared.exchange(changes)
      changes.forEach((change, index) => {
        counters.learn(change, answers[index] ?? null)
      })
      isHeard = answers.every(answer => answer !== null)
    } while (counters.hasChanges())
    isTelling = false
  }

  return {
    refuse: (caller, guid) => refuseCaller(caller, 1) ?? (guid === null ? null : refuseGuid(guid)),
    refuseCaller,
    refuseGuid,
    close: () => closing.abort(),
  }
}
