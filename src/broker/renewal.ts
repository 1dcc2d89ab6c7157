/**
 * One renewal: lease and intent, request, commit. It belongs to the process, not to whoever asked for it: a caller who
 * hangs up does not stop it, and everybody in the process who wants the same grant renewed waits for the same one.
 */
import type { Problem } from '../errors.ts'
import type { Rotation } from '../ports/journal.ts'
import type { RefreshOutcome } from '../ports/meter.ts'
import { askedToWaitSeconds, type Failure, type Outcome, type TokenAnswer } from '../ports/provider.ts'
import type { Grant } from '../ports/records.ts'
import type { Lane } from '../ports/slots.ts'
import { type GrantStore, RecordUnreadable, type Stored, StoreUnavailable } from '../ports/store.ts'
import type { Facts, Span } from '../ports/tracing.ts'
import type { Breaker } from './breaker.ts'
import {
  type BrokerContext,
  change,
  createStoreDelay,
  grantNotFound,
  keep,
  marking,
  PairRetired,
  persist,
  problemOf,
  reauthorizationRequired,
  renewalPutOff,
  type StoreDelay,
} from './context.ts'
import type { Discards } from './discards.ts'
import {
  attempted,
  ended,
  extended,
  failed,
  hasGivenUp,
  hasLost,
  importableFingerprints,
  isHeld,
  isReplacedBy,
  isSameVersion,
  released,
  restored,
  retryNotBeforeMs,
  rotated,
  rotationFrom,
  unlessDeleted,
} from './grant.ts'
import { journalEntry } from './journal-entry.ts'
import type { Leftovers, Observation } from './leftovers.ts'
import { ATTENTION_AFTER_ATTEMPTS, dueSinceMs, mustWait, readersBackoffMs, retryAtMs } from './policy.ts'
import type { Recent } from './recent.ts'
import { goingDown, notStoredYet, notYet, passing } from './renewal-problems.ts'

export type RenewalResult =
  /** A pair newer than the one that was to be replaced stands: ours, or somebody else's. */
  | { readonly kind: 'current'; readonly grant: Grant }
  /** Another replica is at it. */
  | { readonly kind: 'held'; readonly untilMs: number }
  | { readonly kind: 'failed'; readonly problem: Problem }
  | { readonly kind: 'gone' }

export interface Renewals {
  /**
   * Renews the grant unless another version than this one stands. Begins nothing once the process is closing. Throws
   * `StoreUnavailable` where nothing was begun.
   */
  renew(seen: Grant, lane: Lane, known?: Stored<Grant>): Promise<RenewalResult>
  /** Whether an ended grant may come back by its password now, so that it is worth a renewal. */
  isRestorable(grant: Grant): boolean
  /** Waits for the renewal that is under way in this process; undefined: there is none. */
  underWay(guid: string): (() => Promise<RenewalResult>) | undefined
  /** Stores a rotation that an earlier process left in the journal. */
  replay(rotation: Rotation): Promise<void>
  /** Resolves when nothing is under way any more. */
  idle(): Promise<void>
}

/** A refresh that was sent, and what came of it. */
interface Asked {
  readonly begun: Stored<Grant>
  readonly outcome: Outcome<TokenAnswer>
  readonly issuedAtMs: number
  /** Whether the provider still accepted the old access token afterwards; null: it was not asked. */
  readonly observation: Observation | null
}

/** A renewal that others may wait for. */
interface UnderWay {
  readonly span: Span
  readonly result: Promise<RenewalResult>
  /** Tells readers when the store does not take the pair. */
  readonly delay: StoreDelay
}

/** A store that is well has taken a pair long before. */
const JOURNAL_AFTER_MS = 250

/** A grant that has ended is asked for with its password this much later again, when a reader wants it. */
const RESTORE_AGAIN_MS = 600_000
/** The same after a failure that says nothing about the password. */
const RESTORE_RETRY_MS = 5_000

/** A provider, or an app's registration, without the password grant. Any other refusal may pass. */
const NOT_OFFERED = new Set(['unsupported_grant_type', 'unauthorized_client'])

const refusedBefore = { kind: 'rejected', upstream: { error: 'invalid_grant' } } as const

export function createRenewals(
  context: BrokerContext,
  breaker: Breaker,
  discards: Discards,
  leftovers: Leftovers,
  recent: Recent,
): Renewals {
  const { client, clock, policy, events, journal, meter, provider, slots, tracing } = context
  const { grants } = context.stores
  const underWay = new Map<string, UnderWay>()

  function renew(seen: Grant, lane: Lane, known?: Stored<Grant>): Promise<RenewalResult> {
    const { guid, version } = seen
    const running = underWay.get(guid)
    if (running !== undefined) {
      if (lane === 'reader') slots.hurry(guid)
      return forLane(lane, running.delay, join(guid, running))
    }
    // Whoever waits for the end of this process has been told by then what is under way.
    if (context.closing.aborted) return Promise.resolve({ kind: 'failed', problem: goingDown() })
    const span = tracing.begin('renewal', { 'htgw.guid': guid, 'htgw.version': version, 'htgw.lane': lane })
    const delay = createStoreDelay(clock)
    const told = async () => {
      const result = await renewOnce(seen, lane, delay, known)
      span.tell(factsOf(result))
      if (result.kind === 'failed') span.fail(result.problem.code)
      return result
    }
    const renewal: UnderWay = { span, delay, result: span.run(told).finally(() => over(guid, delay)) }
    underWay.set(guid, renewal)
    return forLane(lane, delay, renewal.result)
  }

  /** From here on another renewal of the grant may begin in this process. */
  function over(guid: string, delay: StoreDelay): void {
    if (underWay.get(guid)?.delay === delay) underWay.delete(guid)
  }

  /** A reader does not wait for a store that is unavailable; the renewal goes on, and stores its pair later. */
  function forLane(lane: Lane, delay: StoreDelay, result: Promise<RenewalResult>): Promise<RenewalResult> {
    if (lane !== 'reader') return result
    return Promise.race([result, delay.passed.then(() => ({ kind: 'failed', problem: notStoredYet() }) as const)])
  }

  /** Whoever waits sees in their own trace what for. */
  function join(guid: string, { span, result }: UnderWay): Promise<RenewalResult> {
    return tracing.begin('renewal.wait', { 'htgw.guid': guid }, span).run(() => result)
  }

  /** Whoever waits for the store with what the provider has answered takes no slot from others who want to ask it. */
  async function renewOnce(seen: Grant, lane: Lane, delay: StoreDelay, known?: Stored<Grant>): Promise<RenewalResult> {
    const slot = () => slots.runNamed(seen.guid, lane, () => ask(seen, lane, known))
    const asked = await breaker.inTurn(lane, slot)
    if (asked === null) return { kind: 'failed', problem: notYet() }
    return 'kind' in asked ? asked : await finish(asked, lane, delay)
  }

  async function finish(asked: Asked, lane: Lane, delay: StoreDelay): Promise<RenewalResult> {
    const { begun, outcome, issuedAtMs } = asked
    if (outcome.kind !== 'ok') {
      const isOver = outcome.kind === 'rejected' && isDefinite(begun.record) && mayRestore(begun.record)
      return isOver ? await restore(begun, outcome, lane, delay) : await settle(begun, outcome)
    }
    const rotation = rotationFrom(policy, begun.record, outcome.value, issuedAtMs)
    const result = await commit(rotation, begun, delay).catch(error => {
      if (asked.observation !== null) leftovers.forget(asked.observation.guid)
      throw error
    })
    return await observed(asked.observation, result, delay)
  }

  /** Readers wait for an observation; the grant may move on meanwhile. */
  async function observed(
    observation: Observation | null,
    result: RenewalResult,
    delay: StoreDelay,
  ): Promise<RenewalResult> {
    if (observation === null) return result
    over(observation.guid, delay)
    if (result.kind !== 'current') {
      await leftovers.learn(observation, null)
      return result
    }
    await leftovers.learn(observation, result.grant)
    const standing = await grants.read(observation.guid).catch(error => {
      if (error instanceof StoreUnavailable || error instanceof RecordUnreadable) return undefined
      throw error
    })
    if (standing === undefined) return result
    return standing === null ? { kind: 'gone' } : { kind: 'current', grant: standing.record }
  }

  /** Whether a provisioned person can be brought back by the password that `createUser` was given. */
  function mayRestore({ origin, password, status, username }: Grant): boolean {
    return (
      client.passwordGrant &&
      origin === 'provisioning' &&
      status !== 'revoking' &&
      password !== null &&
      username !== null
    )
  }

  /**
   * The provider has refused the refresh token for good. The attempt goes on with the password grant (RFC 6749, section 4.3),
   * which brings a pair in place of the one that is dead. `rejection`: what the grant ends by where that is refused too.
   */
  async function restore(
    begun: Stored<Grant>,
    rejection: Failure,
    lane: Lane,
    delay: StoreDelay,
  ): Promise<RenewalResult> {
    const { guid, password, username } = begun.record
    const held = await change(
      grants,
      guid,
      grant => (isOurs(grant, begun.record) ? extended(grant, policy.leaseMs, clock.now()) : keep),
      begun,
    )
    if (held === null || password === null || username === null || !isOurs(held.record, begun.record))
      return await settle(begun, rejection)
    const issuedAtMs = clock.now()
    const outcome = await slots.runNamed(guid, lane, () => provider.authenticate({ username, password }))
    if (outcome.kind === 'ok') {
      events.emit({ type: 'grant.password_used', guid, version: held.record.version + 1 })
      return await commit(
        { ...rotationFrom(policy, held.record, outcome.value, issuedAtMs), isRestored: true },
        held,
        delay,
      )
    }
    // A refused password, or a provider without this grant, ends the grant as the refused refresh token does.
    const isOver = outcome.kind === 'rejected' || NOT_OFFERED.has(outcome.upstream.error ?? '')
    return await settle(held, isOver ? rejection : outcome)
  }

  async function ask(seen: Grant, lane: Lane, known?: Stored<Grant>): Promise<RenewalResult | Asked> {
    if (context.closing.aborted) return { kind: 'failed', problem: goingDown() }
    const problem = await breaker.whyNot(lane)
    if (problem !== null) return { kind: 'failed', problem }
    const isObserved = await leftovers.prepare(seen)
    let isUnderObservation = false
    try {
      const asked = await askProvider(seen, isObserved, lane, known)
      isUnderObservation = !('kind' in asked) && asked.observation !== null
      return asked
    } finally {
      if (isObserved && !isUnderObservation) leftovers.forget(seen.guid)
    }
  }

  async function askProvider(
    seen: Grant,
    isObserved: boolean,
    lane: Lane,
    known?: Stored<Grant>,
  ): Promise<RenewalResult | Asked> {
    const begun = await begin(seen, lane, known)
    if ('kind' in begun) return begun
    const grant = begun.record
    events.emit({ type: 'grant.attempted', guid: grant.guid, version: grant.version })
    const issuedAtMs = clock.now()
    // The store took long, or this process slept: another replica may begin before an answer could be here.
    if (issuedAtMs - (grant.attempt?.startedAtMs ?? 0) > policy.sendWithinMs) return await giveBack(begun)
    // An ended grant's refresh token is dead: its password is all that is left to try.
    if (grant.status === 'reauthorization_required')
      return { begun, outcome: refusedBefore, issuedAtMs, observation: null }
    const outcome = await provider.refresh(grant.pair.refreshToken)
    const observation = isObserved && outcome.kind === 'ok' ? leftovers.observe(grant) : null
    return { begun, outcome, issuedAtMs, observation }
  }

  /** Takes the lease and writes the intent in one step, on the version that was read: that is the look after the lock. */
  async function begin(seen: Grant, lane: Lane, known?: Stored<Grant>): Promise<RenewalResult | Stored<Grant>> {
    const { guid } = seen
    let stopped: RenewalResult | null = null
    let isLost = false
    const stored = await change(
      grants,
      guid,
      grant => {
        const nowMs = clock.now()
        stopped = reasonNotTo(grant, seen, lane, nowMs)
        isLost = grant !== null && recent.isLost(grant)
        if (stopped !== null || isLost || grant === null) return keep
        return attempted(grant, { owner: context.owner, leaseMs: policy.leaseMs }, nowMs)
      },
      known,
    )
    // Its refresh token was spent, and we have what that brought.
    if (isLost && stored !== null)
      return { kind: 'current', grant: (await recent.mended(guid, stored.record)) ?? stored.record }
    return stopped ?? stored ?? { kind: 'gone' }
  }

  function reasonNotTo(grant: Grant | null, seen: Grant, lane: Lane, nowMs: number): RenewalResult | null {
    if (grant === null) return { kind: 'gone' }
    if (!isSameVersion(grant, seen)) return { kind: 'current', grant }
    if (grant.status === 'reauthorization_required' && !isRestorable(grant))
      return { kind: 'failed', problem: reauthorizationRequired(grant) }
    if (isHeld(grant, nowMs)) return { kind: 'held', untilMs: grant.attempt?.leaseUntilMs ?? nowMs }
    const longestMs = lane === 'reader' ? readersBackoffMs(policy) : Number.POSITIVE_INFINITY
    const untilMs = retryNotBeforeMs(grant, nowMs, longestMs)
    if (untilMs > nowMs) return { kind: 'failed', problem: renewalPutOff(grant, untilMs, nowMs) }
    return null
  }

  /** Ends an attempt by which nothing was sent, so that it can be begun anew. */
  async function giveBack(begun: Stored<Grant>): Promise<RenewalResult> {
    const nowMs = clock.now()
    await change(
      grants,
      begun.record.guid,
      grant => (isOurs(grant, begun.record) ? released(grant, nowMs) : keep),
      begun,
    )
    refreshed('not_sent', null)
    return { kind: 'held', untilMs: nowMs }
  }

  /**
   * Writes the pair down, for as long as it takes. `begun`: the grant as the attempt left it. What the store has not taken
   * in a moment goes into the journal, before it says no: this process may not live to hear it.
   */
  async function commit(rotation: Rotation, begun: Stored<Grant>, delay: StoreDelay): Promise<RenewalResult> {
    let known: Stored<Grant> | undefined = begun
    const entry = journalEntry(context, rotation)
    const cancelKeeping = clock.after(JOURNAL_AFTER_MS, () => void entry.keep())
    const result = await persist(
      context,
      () =>
        commitOnce(rotation, known).catch(async error => {
          known = undefined
          if (error instanceof StoreUnavailable) {
            recent.storeWasAway()
            delay.begin()
          }
          // A record that came between and does not open: a later start, with the right keys, may know better.
          else await entry.keep()
          throw error
        }),
      entry.keep,
    ).finally(cancelKeeping)
    await entry.drop()
    count(result, rotation, begun.record)
    return result
  }

  function count(result: RenewalResult, rotation: Rotation, base: Grant): void {
    const nowMs = clock.now()
    const stands = result.kind === 'current' && result.grant.pair.refreshToken.equals(rotation.pair.refreshToken)
    const sinceMs = dueSinceMs(policy, base, nowMs)
    const isLate = nowMs > rotation.issuedAtMs + policy.leaseMs
    if (stands) refreshed(isLate ? 'renewed_late' : 'renewed', sinceMs === null ? null : nowMs - sinceMs)
    else refreshed('discarded', null)
  }

  /**
   * Where a fail-over has lost the grant whose refresh token was spent, the pair stands in its place all the same.
   * `isReplay`: an earlier process has left it, perhaps although it was committed; then it may have been refreshed since.
   */
  async function commitOnce(rotation: Rotation, known?: Stored<Grant>, isReplay = false): Promise<RenewalResult> {
    const { guid } = rotation
    let won = false
    let wentBackTo: number | null = null
    const marks = () => (wentBackTo === 0 ? unlessDeleted(rotation.base) : {})
    const stored = await change(
      marking(grants, marks),
      guid,
      (current, revision) => {
        const nowMs = clock.now()
        const isLost = hasLost(current, revision, rotation.base, nowMs)
        const grant = isLost ? restored(current, rotation.base, nowMs) : current
        wentBackTo = isLost ? (current?.version ?? 0) : null
        won = grant !== null && isReplacedBy(grant, rotation)
        return won && grant !== null ? rotated(policy, grant, rotation, nowMs, keepsPredecessor(grant, rotation)) : keep
      },
      known,
    ).catch(error => {
      // It was deleted, and the store has forgotten its revision since.
      if (error instanceof PairRetired) return null
      throw error
    })
    const grant = stored?.record ?? null
    if (grant?.pair.refreshToken.equals(rotation.pair.refreshToken)) {
      recent.remember(grant)
      leftovers.endSoon(grant)
      if (won) {
        const { version } = grant
        if (wentBackTo !== null) events.emit({ type: 'grant.restored', guid, version: version - 1, wentBackTo })
        const late = clock.now() > rotation.issuedAtMs + policy.leaseMs
        events.emit({ type: 'grant.renewed', guid, version, late })
        if (hasGivenUp(rotation.base, grant)) events.emit({ type: 'pair.revoked', guid, confirmed: false })
      }
      return { kind: 'current', grant }
    }
    const because = isReplay ? 'replayed' : whyNotNeeded(grant, rotation)
    events.emit({ type: 'pair.discarded', guid, version: rotation.replacesVersion + 1, because })
    const discard = isReplay ? discards.discardUnspent : discards.discard
    discard(guid, rotation.pair, rotation.accessTokenExpiresAtMs)
    return grant === null ? { kind: 'gone' } : { kind: 'current', grant }
  }

  /** Where the password brought the pair, the one before is dead. While a grant is revoked, nothing is left to chance. */
  function keepsPredecessor({ status }: Grant, { isRestored }: Rotation): boolean {
    return isRestored !== true && (status === 'revoking' || leftovers.keepsPredecessor())
  }

  function whyNotNeeded(standing: Grant | null, { base }: Rotation) {
    if (standing === null) return 'deleted'
    return standing.authorizedAtMs === base.authorizedAtMs ? 'rotated_twice' : 'authorized'
  }

  /** What a failed attempt means for the grant: adopt a newer version, end it, or try again later. */
  async function settle(begun: Stored<Grant>, failure: Failure): Promise<RenewalResult> {
    const base = begun.record
    const nowMs = clock.now()
    const isRejected = failure.kind === 'rejected'
    const definite = isRejected && isDefinite(base)
    const perhapsSpent = failure.kind === 'unknown' || (isRejected && !definite)
    const retryMs = nextTry(base, failure, nowMs)
    const problem = definite ? reauthorizationRequired(base) : passing(failure, retryMs, nowMs)
    const { code } = definite ? problem : problemOf(failure, 'a renewal')

    let adopted: Grant | null = null
    let isOvertaken = false
    let isRemoved = false
    const settled = await change(
      retiring(base),
      base.guid,
      grant => {
        adopted = null
        isRemoved = false
        if (grant === null) return keep
        if (grant.version !== base.version) {
          adopted = grant
          return keep
        }
        isOvertaken = !isOurs(grant, base)
        if (isOvertaken) return keep
        if (failure.kind === 'client_refused') return released(grant, nowMs)
        const isRevoking = definite && grant.status === 'revoking'
        // What it has left behind has to be ended before it is gone.
        isRemoved = isRevoking && grant.leftovers === undefined
        if (isRevoking && !isRemoved) return failed(grant, { code, retryAtMs: nowMs, perhapsSpent: false }, nowMs)
        if (definite) return isRemoved ? null : ended(grant, nowMs)
        return failed(grant, { code, retryAtMs: retryMs, perhapsSpent }, nowMs)
      },
      begun,
    )
    if (adopted !== null || settled === null || isOvertaken) refreshed('overtaken', null)
    if (adopted !== null) return { kind: 'current', grant: adopted }
    if (settled === null) {
      if (isRemoved) {
        recent.forget(base)
        events.emit({ type: 'grant.revoked', guid: base.guid, version: base.version })
      }
      return { kind: 'gone' }
    }
    // Another attempt is under way; or it was deleted, and made anew since: what we were told is not about what stands.
    if (isOvertaken) return { kind: 'held', untilMs: settled.record.attempt?.leaseUntilMs ?? nowMs }
    const { guid, version } = base
    // A DELETE came between: to callers the grant is gone, and the revocation goes on.
    if (definite && settled.record.status === 'revoking') {
      refreshed('overtaken', null)
      return { kind: 'failed', problem: grantNotFound(guid) }
    }
    refreshed(outcomeOf(failure, definite, perhapsSpent), null)
    if (failure.kind === 'client_refused') return { kind: 'failed', problem }
    if (definite) {
      const hadEnded = base.status === 'reauthorization_required'
      if (!hadEnded) events.emit({ type: 'grant.ended', guid, version, afterDoubt: base.status === 'in_doubt' })
    } else if (settled.record.status === 'in_doubt' && perhapsSpent)
      events.emit({ type: 'grant.in_doubt', guid, version, retryAtMs: retryMs })
    else events.emit({ type: 'grant.renewal_failed', guid, version, code, retryAtMs: retryMs })
    const { attempts = 0 } = settled.record.lastError ?? {}
    if (!definite && attempts === ATTENTION_AFTER_ATTEMPTS)
      events.emit({ type: 'grant.needs_attention', guid, version, code, attempts })
    return { kind: 'failed', problem }
  }

  /** The store, which retires the grant's pairs where a write removes it. */
  function retiring(base: Grant): GrantStore {
    const retires = importableFingerprints(base)
    return marking(grants, next => (next === null ? { retires } : {}))
  }

  /** Whether an `invalid_grant` is the last word: no other attempt may still bring a pair. */
  function isDefinite({ doubtUntilMs }: Grant): boolean {
    return doubtUntilMs === null || doubtUntilMs <= clock.now()
  }

  function isRestorable(grant: Grant): boolean {
    if (!mayRestore(grant)) return false
    const { lastError } = grant
    const waitMs = lastError?.code === 'reauthorization_required' ? RESTORE_AGAIN_MS : RESTORE_RETRY_MS
    return lastError === null || !mustWait(lastError.atMs + waitMs, waitMs, clock.now())
  }

  function refreshed(outcome: RefreshOutcome, lagMs: number | null): void {
    meter.refreshed(outcome, lagMs)
    tracing.tell({ 'htgw.outcome': outcome })
  }

  function outcomeOf(failure: Failure, definite: boolean, perhapsSpent: boolean): RefreshOutcome {
    if (failure.kind === 'client_refused') return 'client_refused'
    if (definite) return 'ended'
    return perhapsSpent ? 'in_doubt' : 'failed'
  }

  /** Whether the attempt that `base` shows, which this process began, still stands. */
  function isOurs(grant: Grant | null, base: Grant): grant is Grant {
    if (grant === null || grant.version !== base.version) return false
    const { attempt } = grant
    return attempt?.owner === context.owner && attempt.startedAtMs === base.attempt?.startedAtMs
  }

  function nextTry(grant: Grant, failure: Failure, nowMs: number): number {
    const backoff = retryAtMs({
      nowMs,
      attempts: (grant.lastError?.attempts ?? 0) + 1,
      retryAfterMs: (askedToWaitSeconds(failure) ?? 0) * 1000,
      accessTokenExpiresAtMs: grant.accessTokenExpiresAtMs,
      fraction: context.random.fraction(),
    })
    // The clock may have been set back since the attempt began: neither doubt nor lease lasts longer than this.
    const furthestMs = nowMs + policy.leaseMs
    if (failure.kind === 'rejected') return Math.max(backoff, Math.min(grant.doubtUntilMs ?? 0, furthestMs))
    const mayStillRun = failure.kind === 'unknown' && !failure.settled
    return mayStillRun ? Math.max(backoff, Math.min(grant.attempt?.leaseUntilMs ?? 0, furthestMs)) : backoff
  }

  return {
    renew,
    isRestorable,
    underWay(guid) {
      const running = underWay.get(guid)
      return running && (() => join(guid, running))
    },
    async replay(rotation) {
      await commitOnce(rotation, undefined, true)
      refreshed('replayed', null)
      await journal.remove(rotation)
    },
    async idle() {
      while (underWay.size > 0) await Promise.allSettled([...underWay.values()].map(({ result }) => result))
    },
  }
}

function factsOf(result: RenewalResult): Facts {
  return { 'htgw.result': result.kind === 'failed' ? result.problem.code : result.kind }
}
