/**
 * What goes on in the background: what is due is taken from the schedule and renewed, or revoked at last; and what was written of
 * late is looked after.
 */
import type { Grant } from '../ports/records.ts'
import { type Stored, StoreUnavailable } from '../ports/store.ts'
import type { Breaker } from './breaker.ts'
import { type BrokerContext, change, keep } from './context.ts'
import { rested } from './grant.ts'
import { isIdle } from './policy.ts'
import type { Recent } from './recent.ts'
import type { Renewals } from './renewal.ts'
import type { Revocations } from './revocation.ts'

export interface Refresher {
  /** Begins. Stops by itself when it is told to retire. */
  start(): void
  /** Resolves when it has stopped, and what it began has ended. */
  stopped(): Promise<void>
}

/** How soon a grant that has become due is found. */
const LOOK_EVERY_MS = 500
/** How many are taken for each that may be worked on at once: a look at the schedule asks every shard. */
const TAKEN_FOR_EACH = 2
/** How long the loop rests when the store is away. */
const STORE_AWAY_MS = 2_000

export function createRefresher(
  context: BrokerContext,
  retiring: AbortSignal,
  breaker: Breaker,
  recent: Recent,
  renewals: Renewals,
  revocations: Revocations,
): Refresher {
  const { clock, events, policy, tracing } = context
  const { grants } = context.stores
  const working = new Set<Promise<void>>()
  /** Taken from the schedule, and not begun. After the lease they are due again, for anybody. */
  let taken: Stored<Grant>[] = []
  /** When they were taken, as many were due as were asked for: perhaps more are. */
  let isMoreDue = false
  let loops: Promise<unknown> = Promise.resolve()

  async function again(turn: () => Promise<void>): Promise<void> {
    while (!retiring.aborted) {
      try {
        await turn()
      } catch (error) {
        failed(error)
        await clock.sleep(STORE_AWAY_MS, retiring)
      }
    }
  }

  function failed(error: unknown): void {
    if (error instanceof StoreUnavailable) recent.storeWasAway()
    events.emit({ type: 'refresher.failed', reason: reasonOf(error) })
  }

  async function tendSchedule(): Promise<void> {
    const most = await breaker.tend()
    const isMore = working.size < most ? await beginWork(most) : working.size > 0
    if (!isMore) await clock.sleep(LOOK_EVERY_MS, retiring)
    else if (working.size >= most) await Promise.race(working)
  }

  async function lookAfterWritten(): Promise<void> {
    await recent.verifyNowAndThen()
    await clock.sleep(LOOK_EVERY_MS, retiring)
  }

  /** `most`: that may be worked on at once. true: there may be more to begin. */
  async function beginWork(most: number): Promise<boolean> {
    if (taken.length === 0) await take(TAKEN_FOR_EACH * most)
    for (const stored of taken.splice(0, most - working.size)) {
      const work = tend(stored).finally(() => working.delete(work))
      working.add(work)
    }
    return isMoreDue || taken.length > 0
  }

  async function take(limit: number): Promise<void> {
    const nowMs = clock.now()
    taken = [...(await grants.claimDue({ nowMs, untilMs: nowMs + policy.leaseMs, limit }))]
    isMoreDue = taken.length === limit
  }

  async function tend(stored: Stored<Grant>): Promise<void> {
    const { guid, status } = stored.record
    try {
      // What was claimed may be older than what we have written: then it is mended, and not due.
      if ((await recent.mended(guid, stored.record)) !== stored.record) return
      if (status === 'revoking') await revoke(guid)
      else if (mayRest(stored.record)) await rest(stored)
      else await renewals.renew(stored.record, 'background', stored)
    } catch (error) {
      failed(error)
    }
  }

  async function revoke(guid: string): Promise<void> {
    await tracing.begin('revocation', { 'htgw.guid': guid }).run(() => revocations.pursue(guid))
  }

  function mayRest(grant: Grant): boolean {
    const nowMs = clock.now()
    const isQuiet = grant.status === 'active' && grant.attempt === null && grant.lastError === null
    const { dueAtMs } = rested(policy, grant)
    return isQuiet && isIdle(policy, grant.lastReadAtMs ?? grant.createdAtMs, nowMs) && (dueAtMs ?? Infinity) > nowMs
  }

  async function rest(stored: Stored<Grant>): Promise<void> {
    const { guid, version } = stored.record
    let rests = false
    const decide = (grant: Grant | null) => {
      rests = grant !== null && mayRest(grant)
      return grant !== null && rests ? rested(policy, grant) : keep
    }
    await change(grants, guid, decide, stored)
    if (rests) events.emit({ type: 'grant.rested', guid, version })
  }

  return {
    start() {
      loops = Promise.all([again(tendSchedule), again(lookAfterWritten)])
    },
    async stopped() {
      await loops
      await Promise.allSettled(working)
    },
  }
}

/** What kind of failure, without its text: that may quote what failed. */
function reasonOf(error: unknown): string {
  if (error instanceof StoreUnavailable) return 'store_unavailable'
  return error instanceof Error ? error.name : 'unknown'
}
