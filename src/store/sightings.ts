/**
 * Grants as this process has seen them in the store, kept for two purposes: to answer tokens without asking the store, and to go
 * on answering them while it is away.
 *
 * What makes an entry go: the word that the record was written, by whichever replica, also where it only says that a renewal
 * begins. Words may get lost with the connection that they come on; so nothing counts as current while it is down, everything
 * seen before is forgotten when it is up again, and an entry counts as current for `SIGHTING_LASTS_MS` at most, whatever happens:
 * that is how long a token that was replaced elsewhere can still be answered if that connection is up and silent.
 */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../ports/clock.ts'
import type { Grant } from '../ports/records.ts'
import type { Sightings } from '../ports/sightings.ts'
import type { GrantStore } from '../ports/store.ts'

export const SIGHTING_LASTS_MS = 2_000

export interface SightingsKeeper extends Sightings {
  /** Somebody has written this grant. */
  changed(guid: string): void
  /** From now on every word of a change comes here. */
  listening(): void
  /** Words may get lost. */
  deaf(): void
  /** Everything that was seen until now counts no more. */
  forget(): void
  /** Reads are noted here, and writes too. */
  watching(grants: GrantStore): GrantStore
}

interface Sighting {
  readonly grant: Grant
  /** When the store was asked. */
  readonly atMs: number
}

/** `most`: how many grants are kept; 0: none. */
export function createSightings(clock: Pick<Clock, 'now'>, most: number): SightingsKeeper {
  const seen = most === 0 ? null : new LRUCache<string, Sighting>({ max: most })
  /** Those that are being read: whether they were changed meanwhile. What was read then may be what stood before. */
  const reading = new Map<string, { readers: number; isChanged: boolean }>()
  let listeningSinceMs: number | null = null

  function changed(guid: string): void {
    seen?.delete(guid)
    const readers = reading.get(guid)
    if (readers !== undefined) readers.isChanged = true
  }

  function forget(): void {
    seen?.clear()
    for (const readers of reading.values()) readers.isChanged = true
  }

  /** null: it is not there any more, or of no use. */
  function living(guid: string): Sighting | null {
    const sighting = seen?.get(guid)
    if (sighting === undefined) return null
    if (sighting.grant.accessTokenExpiresAtMs > clock.now()) return sighting
    seen?.delete(guid)
    return null
  }

  async function noted(guid: string, read: GrantStore['read']): ReturnType<GrantStore['read']> {
    if (seen === null) return await read(guid)
    const atMs = clock.now()
    const readers = reading.get(guid) ?? { readers: 0, isChanged: false }
    reading.set(guid, readers)
    readers.readers += 1
    try {
      const stored = await read(guid)
      // What no word keeps up to date is not kept; and where this is of no use, nor is what was seen before.
      const isKept = listeningSinceMs !== null && !readers.isChanged && stored !== null && isOfUse(stored.record)
      if (isKept) seen.set(guid, { grant: stored.record, atMs })
      else seen.delete(guid)
      return stored
    } finally {
      readers.readers -= 1
      if (readers.readers === 0) reading.delete(guid)
    }
  }

  return {
    changed,

    forget,

    listening() {
      forget()
      listeningSinceMs = clock.now()
    },

    deaf() {
      listeningSinceMs = null
    },

    current(guid) {
      const sighting = living(guid)
      if (sighting === null || listeningSinceMs === null || sighting.atMs < listeningSinceMs) return undefined
      const ageMs = clock.now() - sighting.atMs
      // A clock that was set back says nothing about ages.
      return ageMs >= 0 && ageMs < SIGHTING_LASTS_MS ? sighting.grant : undefined
    },

    last: guid => living(guid)?.grant,

    count() {
      const nowMs = clock.now()
      let count = 0
      for (const { grant } of seen?.values() ?? []) if (grant.accessTokenExpiresAtMs > nowMs) count += 1
      return count
    },

    watching: grants => ({
      ...grants,
      read: guid => noted(guid, grants.read),
      readMany(guids) {
        const answers = grants.readMany(guids)
        // In the same turn: no word can have come since they were asked for.
        return answers.map((answer, index) => noted(guids[index] ?? '', () => answer))
      },
      async write(...write) {
        const [guid] = write
        changed(guid)
        try {
          return await grants.write(...write)
        } finally {
          changed(guid)
        }
      },
    }),
  }
}

/** Whether its token may be answered, and nobody is at work on it. */
function isOfUse({ attempt, status }: Grant): boolean {
  return attempt === null && (status === 'active' || status === 'in_doubt')
}
