import TinyQueue from 'tinyqueue'
import type { Clock } from '../ports/clock.ts'
import type { GrantSketch, Inventory } from '../ports/inventory.ts'
import type { Grant } from '../ports/records.ts'
import { noSightings } from '../ports/sightings.ts'
import {
  ABSENT,
  type GrantPage,
  type GrantStore,
  type PairMarks,
  REMOVAL_REMEMBERED_MS,
  RETIRED_FOR_MS,
  type RecordStore,
  type Stored,
  type Stores,
  type Written,
} from '../ports/store.ts'
import { authorizationExpiry, censusExpiry, exchangeExpiry, pauseExpiry } from './expiry.ts'
import { nextRevision } from './revision.ts'
import { createWaiters } from './waiters.ts'

type Time = Pick<Clock, 'now'>

/** Everything in this process: for development and tests, and the model in simulation. Gone when the process ends. */
export function createMemoryStores(clock: Time): Stores {
  const { inventory, ...grants } = createMemoryGrantStore(clock)
  return {
    grants,
    inventory,
    sightings: noSightings,
    authorizations: createMemoryRecordStore(clock, authorizationExpiry),
    exchanges: createMemoryRecordStore(clock, exchangeExpiry),
    provisionings: createMemoryRecordStore(clock, () => null),
    pauses: createMemoryRecordStore(clock, pauseExpiry),
    censuses: createMemoryRecordStore(clock, censusExpiry),
    async ping() {},
    async close() {},
  }
}

/** How many writes may pass before expired records are swept out. */
const SWEEP_EVERY_WRITES = 1_000

function createMemoryRecordStore<T>(clock: Time, expiresAtMs: (record: T) => number | null): RecordStore<T> {
  const records = new Map<string, Stored<T>>()
  const { compareAndSet } = createWriting(records, clock)
  const waiters = createWaiters()
  let writes = 0

  function read(key: string): Stored<T> | null {
    const stored = records.get(key)
    if (stored === undefined || hasExpired(stored)) return null
    return stored
  }

  function hasExpired(stored: Stored<T>): boolean {
    return (expiresAtMs(stored.record) ?? Number.POSITIVE_INFINITY) <= clock.now()
  }

  function sweep(): void {
    writes += 1
    if (writes % SWEEP_EVERY_WRITES !== 0) return
    for (const [key, stored] of records) if (hasExpired(stored)) records.delete(key)
  }

  return {
    async read(key) {
      return read(key)
    },
    async write(key, ifRevision, next) {
      sweep()
      const written = compareAndSet(key, read(key), ifRevision, next)
      if (written.ok) waiters.wake(key)
      return written
    },
    settled: waiters.wait,
  }
}

/** Compare-and-set, with a memory of what was removed. */
function createWriting<T>(records: Map<string, Stored<T>>, clock: Time) {
  /** Oldest first. */
  const removed = new Map<string, { revision: number; untilMs: number }>()

  function forgetOld(): void {
    for (const [key, { untilMs }] of removed) {
      if (untilMs > clock.now()) return
      removed.delete(key)
    }
  }

  function standing(key: string, current: Stored<T> | null): Stored<T | null> | null {
    forgetOld()
    const gone = removed.get(key)
    return current ?? (gone === undefined ? null : { revision: gone.revision, record: null })
  }

  function compareAndSet(key: string, found: Stored<T> | null, ifRevision: number, next: T | null): Written<T> {
    const current = standing(key, found)
    if ((current?.revision ?? ABSENT) !== ifRevision) return { ok: false, current }
    const revision = nextRevision(ifRevision, clock)
    removed.delete(key)
    if (next !== null) {
      records.set(key, { revision, record: next })
    } else {
      records.delete(key)
      removed.set(key, { revision, untilMs: clock.now() + REMOVAL_REMEMBERED_MS })
    }
    return { ok: true, revision }
  }

  return { compareAndSet, standing }
}

/** Which pairs are retired. */
function createRetired(clock: Time) {
  const untilMs = new Map<string, number>()

  function forgetOld(): void {
    for (const [name, until] of untilMs) if (until <= clock.now()) untilMs.delete(name)
  }

  return {
    isRefused(guid: string, { unlessRetired }: PairMarks): boolean {
      forgetOld()
      return unlessRetired !== undefined && untilMs.has(`${guid} ${unlessRetired}`)
    },
    add(guid: string, { retires = [], retiresForMs = RETIRED_FOR_MS }: PairMarks): void {
      for (const fingerprint of retires) {
        const name = `${guid} ${fingerprint}`
        untilMs.delete(name)
        untilMs.set(name, clock.now() + retiresForMs)
      }
    },
  }
}

function createMemoryGrantStore(clock: Time): GrantStore & { readonly inventory: Inventory } {
  const records = new Map<string, Stored<Grant>>()
  const { compareAndSet, standing } = createWriting(records, clock)
  const waiters = createWaiters()
  const retired = createRetired(clock)
  /** guid -> when to look next; a claim moves it, and leaves the record. */
  const due = new Map<string, number>()
  /** The same, soonest first; an entry that is not the guid's newest any more is passed over. */
  const queue = new TinyQueue<{ guid: string; atMs: number }>([], (first, second) => first.atMs - second.atMs)

  function schedule(guid: string, atMs: number): void {
    due.set(guid, atMs)
    if (atMs !== Number.POSITIVE_INFINITY) queue.push({ guid, atMs })
  }

  return {
    async standing(guid) {
      return standing(guid, records.get(guid) ?? null)
    },
    async read(guid) {
      return records.get(guid) ?? null
    },
    readMany: guids => guids.map(async guid => records.get(guid) ?? null),

    async write(guid, ifRevision, next, marks = {}) {
      const current = standing(guid, records.get(guid) ?? null)
      const isUnmoved = (current?.revision ?? ABSENT) === ifRevision
      if (isUnmoved && retired.isRefused(guid, marks)) return { ok: false, current, isRetired: true }
      const written = compareAndSet(guid, records.get(guid) ?? null, ifRevision, next)
      if (!written.ok) return written
      retired.add(guid, marks)
      if (next === null) due.delete(guid)
      else schedule(guid, next.dueAtMs ?? Number.POSITIVE_INFINITY)
      waiters.wake(guid)
      return written
    },

    settled: waiters.wait,

    async claimDue({ nowMs, untilMs, limit }) {
      const claimed = new Map<string, Stored<Grant>>()
      while (claimed.size < limit && (queue.peek()?.atMs ?? Number.POSITIVE_INFINITY) <= nowMs) {
        const { guid, atMs } = queue.pop() as { guid: string; atMs: number }
        const stored = records.get(guid)
        if (stored !== undefined && due.get(guid) === atMs) claimed.set(guid, stored)
      }
      for (const guid of claimed.keys()) schedule(guid, untilMs)
      return [...claimed.values()]
    },

    async list({ status, limit, cursor }): Promise<GrantPage | null> {
      const after = cursor === undefined ? '' : guidOf(cursor)
      if (after === null) return null
      const rest = [...records.values()]
        .map(stored => stored.record)
        .filter(grant => grant.guid > after && (status === undefined || grant.status === status))
        .sort((first, second) => (first.guid < second.guid ? -1 : 1))
      const grants = rest.slice(0, limit)
      const last = grants.at(-1)
      const isMore = rest.length > limit && last !== undefined
      return { grants, nextCursor: isMore ? cursorAfter(last.guid) : null }
    },

    inventory: {
      async backlog(nowMs) {
        const dueAt = [...due.values()].filter(atMs => atMs <= nowMs)
        return {
          due: dueAt.length,
          oldestAtMs: dueAt.length === 0 ? null : dueAt.reduce((first, second) => Math.min(first, second)),
        }
      },

      async *walk() {
        const all = [...records.values()]
        for (let start = 0; start < all.length; start += WALK_BATCH) {
          yield all.slice(start, start + WALK_BATCH).map(({ record }) => sketchOf(record))
        }
      },
    },
  }
}

const WALK_BATCH = 1_000

function sketchOf(grant: Grant): GrantSketch {
  const { guid, status, accessTokenExpiresAtMs, dueAtMs, attempt, lastRefreshedAtMs, lastError } = grant
  return {
    guid,
    status,
    accessTokenExpiresAtMs,
    dueAtMs,
    isTroubled: attempt !== null || lastError !== null,
    lastRefreshedAtMs,
    lastError: lastError === null ? null : { code: lastError.code, attempts: lastError.attempts },
  }
}

function cursorAfter(guid: string): string {
  return Buffer.from(`after:${guid}`).toString('base64url')
}

function guidOf(cursor: string): string | null {
  const text = Buffer.from(cursor, 'base64url').toString()
  return text.startsWith('after:') ? text.slice('after:'.length) : null
}
