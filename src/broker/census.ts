/**
 * How many grants there are, by status, how many of them are about to lapse, and the like (`counts.ts`). Counted again and again by whichever replica
 * gets to it first, for all of them, by a slow walk over the store: no write and no read of a grant pays for it, and it is right
 * whatever has happened to the store.
 */
import type { Clock } from '../ports/clock.ts'
import type { Random } from '../ports/random.ts'
import type { Census } from '../ports/records.ts'
import { GRANTS, type Stores } from '../ports/store.ts'
import { change, keep } from './context.ts'
import { countingFrom } from './counts.ts'
import { type Counted, countedIn, keptCounts } from './survey.ts'

export interface Counting {
  /** The last count of any replica; null: there is none that says something about now. Throws `StoreUnavailable`. */
  latest(): Promise<Counted | null>
  /** Begins to count, now and then. */
  start(): void
  stop(): Promise<void>
}

export const COUNT_EVERY_MS = 60_000
const LOOK_EVERY_MS = 15_000
/** Longer than it takes between two batches, by far. */
const LEASE_MS = 30_000
/** Between two batches: a hundred grants every ten milliseconds disturb nobody. */
const PAUSE_MS = 10

export function createCensus(ports: { clock: Clock; random: Random; stores: Stores }): Counting {
  const { clock, stores } = ports
  const { censuses, inventory } = stores
  const owner = ports.random.token(12)
  const stopping = new AbortController()
  let loop: Promise<void> = Promise.resolve()

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      // A store that is away is told by others, and a count that was given up is made good by the next.
      await countIfDue().catch(() => {})
      await clock.sleep(LOOK_EVERY_MS, stopping.signal)
    }
  }

  async function countIfDue(): Promise<void> {
    if (!(await claim(isDue))) return
    const counted = await count()
    if (counted === null) return
    const counts = keptCounts(counted)
    await change(censuses, GRANTS, census => (isOurs(census) ? { owner: null, leaseUntilMs: 0, counts } : keep))
  }

  function isDue(census: Census | null): boolean {
    const nowMs = clock.now()
    const isFresh = nowMs - (census?.counts?.atMs ?? 0) < COUNT_EVERY_MS
    return !isFresh && (census === null || census.leaseUntilMs <= nowMs)
  }

  function isOurs(census: Census | null): boolean {
    return census?.owner === owner
  }

  /** Takes the lease, or takes it for longer. false: another replica counts, or it is not time. */
  async function claim(may: (census: Census | null) => boolean): Promise<boolean> {
    let isClaimed = false
    await change(censuses, GRANTS, census => {
      isClaimed = may(census)
      return isClaimed ? { owner, leaseUntilMs: clock.now() + LEASE_MS, counts: census?.counts ?? null } : keep
    })
    return isClaimed
  }

  /** null: given up, since this process ends, or another replica has taken over. */
  async function count(): Promise<Counted | null> {
    const beganAtMs = clock.now()
    const counting = countingFrom(beganAtMs)
    let claimedAtMs = beganAtMs
    let batches = 0
    for await (const sketches of inventory.walk()) {
      if (batches > 0) await clock.sleep(PAUSE_MS, stopping.signal)
      if (stopping.signal.aborted) return null
      batches += 1
      const nowMs = clock.now()
      for (const sketch of sketches) counting.add(sketch, nowMs)
      if (nowMs - claimedAtMs > LEASE_MS / 3) {
        if (!(await claim(isOurs))) return null
        claimedAtMs = nowMs
      }
    }
    return counting.counted()
  }

  return {
    async latest() {
      const counts = (await censuses.read(GRANTS))?.record.counts ?? null
      return counts && countedIn(counts)
    },
    start() {
      loop = run()
    },
    async stop() {
      stopping.abort()
      await loop
    },
  }
}
