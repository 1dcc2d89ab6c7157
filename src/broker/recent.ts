/**
 * What this process has written of late. A store that fails over may lose its last writes; then a grant stands at an older
 * version, with a refresh token that is spent. Whoever wrote the newer one still has it, and writes it again.
 */
import type { Grant } from '../ports/records.ts'
import { RecordUnreadable, StoreUnavailable } from '../ports/store.ts'
import { type BrokerContext, change, keep, marking, PairRetired } from './context.ts'
import { hasGoneBack, hasLost, restored, unlessDeleted } from './grant.ts'

export interface Recent {
  remember(grant: Grant): void
  /** It was deleted: no version of it is written again. One that was made anew since is remembered all the same. */
  forget(grant: Grant): void
  /** Whether the store has lost what this process wrote after `current`. */
  isLost(current: Grant): boolean
  /** What stands in the store (null: nothing), or what should: where it has gone back, it is mended first. */
  mended(guid: string, current: Grant | null): Promise<Grant | null>
  /** The store did not answer: perhaps another server takes its place, which lacks what was written last. */
  storeWasAway(): void
  /** Looks whether what was written lately still stands: now and then, and soon after the store was away. */
  verifyNowAndThen(): Promise<void>
  /** The same at once: before this process goes, and what it knows with it. */
  verify(): Promise<void>
}

/** Longer than any fail-over takes. */
const REMEMBERED_FOR_MS = 180_000
const MOST_REMEMBERED = 10_000
const VERIFY_EVERY_MS = 15_000
/** While a store takes some and refuses others it is always in doubt, and must not be asked for everything all the time. */
const VERIFY_IN_DOUBT_EVERY_MS = 5_000
const READS_AT_ONCE = 50

export function createRecent(context: BrokerContext): Recent {
  const { clock, events } = context
  const { grants } = context.stores
  /** Oldest first. `atMs`: by `running`. */
  const remembered = new Map<string, { grant: Grant; atMs: number }>()
  let runMs = 0
  let lookedAtMs = clock.now()
  let verifiedAtMs = 0
  let isDoubtful = false

  /** How long this process has run: a time that goes on where the clock is set back, and makes no leap where it is set on. */
  function running(): number {
    const nowMs = clock.now()
    runMs += Math.min(Math.max(0, nowMs - lookedAtMs), VERIFY_EVERY_MS)
    lookedAtMs = nowMs
    return runMs
  }

  function forgetOld(): void {
    const nowMs = running()
    for (const [guid, { atMs }] of remembered) {
      if (atMs + REMEMBERED_FOR_MS > nowMs && remembered.size <= MOST_REMEMBERED) return
      remembered.delete(guid)
    }
  }

  function isLost(current: Grant): boolean {
    const newer = remembered.get(current.guid)?.grant
    return newer !== undefined && hasGoneBack(current, newer, clock.now())
  }

  function forget({ guid, createdAtMs }: Grant): void {
    if (remembered.get(guid)?.grant.createdAtMs === createdAtMs) remembered.delete(guid)
  }

  async function mend(guid: string): Promise<Grant | null> {
    let wentBackTo: number | null = null
    let newer: Grant | undefined
    const restore = (current: Grant | null, revision: number) => {
      wentBackTo = null
      newer = remembered.get(guid)?.grant
      if (newer === undefined || !hasLost(current, revision, newer, clock.now())) return keep
      wentBackTo = current?.version ?? 0
      return restored(current, newer, clock.now())
    }
    const marks = () => (newer !== undefined && wentBackTo === 0 ? unlessDeleted(newer) : {})
    const stored = await change(marking(grants, marks), guid, restore, await grants.standing(guid)).catch(error => {
      if (!(error instanceof PairRetired)) throw error
      if (newer !== undefined) forget(newer)
      return null
    })
    const grant = stored?.record ?? null
    if (grant !== null && wentBackTo !== null) {
      events.emit({ type: 'grant.restored', guid, version: grant.version, wentBackTo })
    }
    return grant
  }

  /** false: the store does not say. A record that does not open is left as it is. */
  async function lookAfter(guid: string): Promise<boolean> {
    try {
      await mend(guid)
    } catch (error) {
      if (error instanceof StoreUnavailable) return false
      if (!(error instanceof RecordUnreadable)) throw error
    }
    return true
  }

  async function verify(): Promise<void> {
    verifiedAtMs = running()
    isDoubtful = false
    forgetOld()
    const guids = [...remembered.keys()].values()
    let good = 0
    let bad = 0
    // Part of the store may be away, and keeps the rest from nothing; all of it is asked later.
    const isHopeless = () => bad > (context.closing.aborted ? 0 : Math.max(READS_AT_ONCE, good))
    async function lookAfterSome(): Promise<void> {
      for (const guid of guids) {
        if (isHopeless()) return
        if (await lookAfter(guid)) good += 1
        else bad += 1
      }
    }
    await Promise.all(Array.from({ length: READS_AT_ONCE }, lookAfterSome))
    if (bad > 0) isDoubtful = true
  }

  return {
    remember(grant) {
      remembered.delete(grant.guid)
      remembered.set(grant.guid, { grant, atMs: running() })
      forgetOld()
    },

    forget,

    isLost,

    async mended(guid, current) {
      const mayBeLost = current === null ? remembered.has(guid) : isLost(current)
      return mayBeLost ? ((await mend(guid)) ?? current) : current
    },

    storeWasAway() {
      isDoubtful = true
    },

    async verifyNowAndThen() {
      const everyMs = isDoubtful ? VERIFY_IN_DOUBT_EVERY_MS : VERIFY_EVERY_MS
      if (running() - verifiedAtMs >= everyMs) await verify()
    },

    verify,
  }
}
