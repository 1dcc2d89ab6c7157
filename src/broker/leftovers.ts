/**
 * Ends the pairs that a grant has left behind (`Leftover`): predecessors that a provider rotating on use keeps alive, and pairs
 * that a later authorization replaced. The grant's record remembers them until they are dead, so a crash loses none.
 *
 * A provider that rotates at once (`instant`) kills each predecessor itself. A replica learns the mode from a few refreshes, and
 * then leaves no predecessors behind and asks for nothing.
 */
import type { Grant, Leftover } from '../ports/records.ts'
import type { Secret } from '../ports/secret.ts'
import { RecordUnreadable, StoreUnavailable } from '../ports/store.ts'
import { type BrokerContext, change, keep, persist, within } from './context.ts'
import type { Discards } from './discards.ts'
import { type LeftoverEnd, settled } from './grant.ts'
import { type PairEnding, REVOCABLE_LIFE_MS } from './pair-ending.ts'
import { mustWait } from './policy.ts'

export interface Leftovers {
  /** Whether a predecessor may outlive its refresh, so that the grant has to remember it. */
  keepsPredecessor(): boolean
  /**
   * To be called before a refresh begins. True: the mode is to be learned from it, since the provider accepts the access token now.
   * Resolves soon, whatever the provider does. `observe` or `forget` has to follow.
   */
  prepare(grant: Grant): Promise<boolean>
  /** To be called when that refresh has brought a pair: presents the old access token again. The pair is stored meanwhile. */
  observe(before: Grant): Observation
  /** The refresh that was prepared has brought no pair. */
  forget(guid: string): void
  /** To be called when the new pair is stored; `after` null: it is not needed. Resolves soon, whatever the provider does. */
  learn(observation: Observation | null, after: Grant | null): Promise<void>
  /** To be called when this replica answers a token. */
  noteServed(guid: string): void
  /** Ends the grant's leftovers in the background, a few seconds later. Returns at once. */
  endSoon(grant: Grant): void
  /** Ends the leftovers of a grant that is being revoked, now. True: none is left. */
  endAll(grant: Grant): Promise<boolean>
  /** Ends those of authorizations that are over, now. True: none of them is left. */
  endReplaced(grant: Grant): Promise<boolean>
  /** Resolves when no request for this grant is under way. */
  doneWith(guid: string): Promise<void>
  /** Resolves when no request is under way. Those not ended stay in their records. */
  idle(): Promise<void>
}

export interface Observation {
  readonly guid: string
  /** Whether the old access token was still accepted; null: the provider did not say. */
  readonly isAccepted: Promise<boolean | null>
}

/**
 * A fail-over of the store within this time may lose the new pair, and then a provider that rotates on use would still take the
 * old one. So it is ended only when the new pair still stands after this time.
 */
const END_AFTER_MS = 5_000
const TRIES = 5
const RETRY_FIRST_MS = 1_000
/** How long a resource that fails, or hangs, is not asked again to learn the mode: a refresh waits for it. */
const LEARN_AFTER_FAILURE_MS = 60_000
/**
 * So many dead predecessors in a row mean `instant`. One alone proves nothing: a reader at another replica may have used the new
 * token before the old one was presented, and in `on_use` mode that ends it.
 */
const OBSERVATIONS = 10
/** How long readers of a refresh wait for an observation. */
const OBSERVED_WITHIN_MS = 500
/** In `instant` mode one refresh in so many is observed: the provider's operator may change the mode. */
const OBSERVED_PART = 50
/** The `on_use` mode, or that the mode cannot be learned, counts for so long. */
const LEARN_EVERY_MS = 3_600_000

/** `retiring`: the process is going down. What it has not begun to end stays in the records, for other replicas. */
export function createLeftovers(
  context: BrokerContext,
  retiring: AbortSignal,
  ending: PairEnding,
  discards: Discards,
): Leftovers {
  const { clock, events, provider } = context
  const { grants } = context.stores
  const waiting = new Map<string, () => void>()
  /** What is under way, and for which grant. */
  const underWay = new Map<Promise<unknown>, string>()
  let mode: 'unknown' | 'instant' | 'on_use' = 'unknown'
  let deadInARow = 0
  let learnAgainAtMs = 0
  let resourceFailsUntilMs = 0
  let refreshes = 0
  /** Grants under observation, and whether this replica has answered their new token meanwhile. */
  const observed = new Map<string, { isServed: boolean }>()

  function isToLearn(): boolean {
    if (observed.size > 0 || mustWait(resourceFailsUntilMs, LEARN_AFTER_FAILURE_MS, clock.now())) return false
    return mode === 'instant' ? refreshes % OBSERVED_PART === 0 : !mustWait(learnAgainAtMs, LEARN_EVERY_MS, clock.now())
  }

  function noteFailure(): null {
    resourceFailsUntilMs = clock.now() + LEARN_AFTER_FAILURE_MS
    return null
  }

  function learned(next: typeof mode): void {
    mode = next
    deadInARow = 0
    learnAgainAtMs = clock.now() + LEARN_EVERY_MS
  }

  /** One at a time, and in no provider slot: a resource that hangs must not keep refreshes from the token endpoint. */
  async function isAccepted(accessToken: Secret): Promise<boolean | null> {
    const presented = await provider.present(accessToken)
    if (presented.kind === 'ok') return presented.value
    if (presented.kind !== 'refused') return noteFailure()
    // There is no such resource: the mode cannot be learned, and each predecessor is revoked.
    learned('unknown')
    return null
  }

  function conclude(isOldAccepted: boolean | null, isServed: boolean): void {
    if (isOldAccepted === true) return void learned('on_use')
    if (isOldAccepted === null || isServed || mode === 'instant') return
    deadInARow += 1
    if (deadInARow >= OBSERVATIONS) learned('instant')
  }

  /** What became of each leftover that is not as it was. */
  async function endEach(grant: Grant, isRevoking: boolean): Promise<readonly LeftoverEnd[]> {
    const ends: LeftoverEnd[] = []
    for (const leftover of grant.leftovers ?? []) {
      if (!isRevoking && mustWait(leftover.sinceMs + END_AFTER_MS, END_AFTER_MS, clock.now())) return ends
      const end = await endOne(leftover, isRevoking)
      // Later: the use that ends a later one ends this one's successor, which has to be used first.
      if (end === 'later') return ends
      if (end !== null) ends.push(end)
    }
    return ends
  }

  /** null: it is as it was, and may be alive. `later`: the same, and the resource that could end it fails for now. */
  async function endOne(leftover: Leftover, isRevoking: boolean): Promise<LeftoverEnd | 'later' | null> {
    const { successor, isOver } = leftover
    const dead = { leftover, instead: [] }
    const use = successor === null ? null : await ending.use(successor)
    // At a revocation the pair is revoked as well: the resource may have begun to accept any token.
    if (use === 'accepted' && !isRevoking) return { ...dead, isCertain: true }
    const end = await ending.end(leftover, isOver || isRevoking)
    if (end.kind === 'ended') return { ...dead, isCertain: end.isCertain }
    const left = end.kind === 'failed' ? end.left : [leftover]
    if (left.every(each => each === leftover)) return use === 'failed' ? 'later' : null
    const instead = left.map(each =>
      each === leftover ? leftover : { ...each, successor: null, isOver: true, sinceMs: leftover.sinceMs },
    )
    return { leftover, instead, isCertain: true }
  }

  /** True: none is left. */
  async function endStored(guid: string): Promise<boolean> {
    const grant = (await grants.read(guid))?.record
    if (grant?.leftovers === undefined || grant.status === 'revoking') return true
    return (await end(grant, false))?.leftovers === undefined
  }

  /** What stands afterwards. */
  async function end(grant: Grant, isRevoking: boolean): Promise<Grant | null> {
    const { guid } = grant
    const ends = await endEach(grant, isRevoking)
    if (ends.length === 0) return grant
    const hasSpent = ends.some(({ instead }) => instead.length > 0)
    const decide = (now: Grant | null) =>
      now === null || (now.leftovers === undefined && !hasSpent) ? keep : settled(now, ends)
    // Until this is stored, a pair that a leftover was spent for is in no record.
    const stored = await persist(context, () => change(grants, guid, decide)).catch(error => {
      // This process closes. No record has what it has spent: that is reported.
      discardAll(guid, ends)
      throw error
    })
    if (stored === null) discardAll(guid, ends)
    for (const { instead, isCertain } of ends) {
      if (instead.length === 0) events.emit({ type: 'pair.revoked', guid, confirmed: isCertain })
    }
    return stored?.record ?? null
  }

  async function endReplaced(grant: Grant): Promise<boolean> {
    const leftovers = (grant.leftovers ?? []).filter(({ isOver }) => isOver)
    const left = leftovers.length === 0 ? null : await end({ ...grant, leftovers }, true)
    return !left?.leftovers?.some(({ isOver }) => isOver)
  }

  function discardAll(guid: string, ends: readonly LeftoverEnd[]): void {
    for (const each of ends.flatMap(({ instead }) => instead)) {
      discards.discard(guid, each.pair, each.accessTokenExpiresAtMs)
    }
  }

  async function pursue(guid: string): Promise<void> {
    for (let tries = 0; tries < TRIES && !context.closing.aborted; tries += 1) {
      if (tries > 0) await clock.sleep(RETRY_FIRST_MS * 2 ** (tries - 1), context.closing)
      try {
        if (await endStored(guid)) return
      } catch (error) {
        // The record keeps them: the next refresh, or the revocation, tries again.
        if (!(error instanceof StoreUnavailable || error instanceof RecordUnreadable)) throw error
      }
    }
  }

  function track<T>(guid: string, work: Promise<T>): Promise<T> {
    const tracked = work.finally(() => underWay.delete(tracked))
    underWay.set(tracked, guid)
    return tracked
  }

  return {
    keepsPredecessor: () => mode !== 'instant',

    async prepare(grant) {
      const { accessTokenExpiresAtMs, guid, pair } = grant
      refreshes += 1
      const isLong = accessTokenExpiresAtMs - clock.now() >= REVOCABLE_LIFE_MS
      if (!isToLearn() || !isLong) return false
      observed.set(guid, { isServed: false })
      const untilMs = clock.now() + OBSERVED_WITHIN_MS
      const isAlive = await within(context, untilMs, () => track(guid, isAccepted(pair.accessToken)))
      if (isAlive === null) noteFailure()
      if (isAlive !== true) observed.delete(guid)
      return isAlive === true
    },

    observe({ guid, pair }) {
      return { guid, isAccepted: track(guid, isAccepted(pair.accessToken)) }
    },

    forget: guid => void observed.delete(guid),

    async learn(observation, after) {
      if (observation === null) return
      const { guid } = observation
      const ended = observation.isAccepted.then(value => ({ value, isServed: observed.get(guid)?.isServed ?? true }))
      const seen = after === null ? null : await within(context, clock.now() + OBSERVED_WITHIN_MS, () => ended)
      observed.delete(guid)
      if (seen !== null) conclude(seen.value, seen.isServed)
    },

    noteServed(guid) {
      const observation = observed.get(guid)
      if (observation !== undefined) observation.isServed = true
    },

    endSoon(grant) {
      const { guid } = grant
      if (grant.leftovers === undefined || waiting.has(guid)) return
      const cancel = clock.after(END_AFTER_MS, () => {
        waiting.delete(guid)
        if (!retiring.aborted) void track(guid, pursue(guid))
      })
      waiting.set(guid, cancel)
    },

    endAll: grant =>
      track(
        grant.guid,
        end(grant, true).then(left => left?.leftovers === undefined),
      ),

    endReplaced: grant => track(grant.guid, endReplaced(grant)),

    async doneWith(guid) {
      await Promise.allSettled([...underWay].flatMap(([work, of]) => (of === guid ? [work] : [])))
    },

    async idle() {
      for (const cancel of waiting.values()) cancel()
      waiting.clear()
      while (underWay.size > 0) await Promise.allSettled(underWay.keys())
    },
  }
}
