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
import { type Stored, StoreUnavailable } from '../ports/store.ts'
import type { Facts, Span } from '../ports/tracing.ts'
import type { Breaker } from './breaker.ts'
import {
  type BrokerContext,
  change,
  keep,
  persist,
  problemOf,
  reauthorizationRequired,
  renewalPutOff,
} from './context.ts'
import type { Discards } from './discards.ts'
import {
  attempted,
  ended,
  failed,
  hasLost,
  isHeld,
  isReplacedBy,
  isSameVersion,
  released,
  restored,
  retryNotBeforeMs,
  rotated,
  rotationFrom,
} from './grant.ts'
import { journalEntry } from './journal-entry.ts'
import { dueSinceMs, retryAtMs } from './policy.ts'
import type { Recent } from './recent.ts'
import { goingDown, notYet, passing } from './renewal-problems.ts'

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
}

/** A renewal that others may wait for. */
interface UnderWay {
  readonly span: Span
  readonly result: Promise<RenewalResult>
}

/** A store that is well has taken a pair long before. */
const JOURNAL_AFTER_MS = 250

export function createRenewals(context: BrokerContext, breaker: Breaker, discards: Discards, recent: Recent): Renewals {
  const { clock, policy, events, journal, meter, provider, slots, tracing } = context
  const { grants } = context.stores
  const underWay = new Map<string, UnderWay>()

  function renew(seen: Grant, lane: Lane, known?: Stored<Grant>): Promise<RenewalResult> {
    const { guid, version } = seen
    const running = underWay.get(guid)
    if (running !== undefined) {
      if (lane === 'reader') slots.hurry(guid)
      return join(guid, running)
    }
    // Whoever waits for the end of this process has been told by then what is under way.
    if (context.closing.aborted) return Promise.resolve({ kind: 'failed', problem: goingDown() })
    const span = tracing.begin('renewal', { 'htgw.guid': guid, 'htgw.version': version, 'htgw.lane': lane })
    const told = async () => {
      const result = await renewOnce(seen, lane, known)
      span.tell(factsOf(result))
      if (result.kind === 'failed') span.fail(result.problem.code)
      return result
    }
    const result = span.run(told).finally(() => underWay.delete(guid))
    underWay.set(guid, { span, result })
    return result
  }

  /** Whoever waits sees in their own trace what for. */
  function join(guid: string, { span, result }: UnderWay): Promise<RenewalResult> {
    return tracing.begin('renewal.wait', { 'htgw.guid': guid }, span).run(() => result)
  }

  /** Whoever waits for the store with what the provider has answered takes no slot from others who want to ask it. */
  async function renewOnce(seen: Grant, lane: Lane, known?: Stored<Grant>): Promise<RenewalResult> {
    const slot = () => slots.runNamed(seen.guid, lane, () => ask(seen, lane, known))
    const asked = await breaker.inTurn(lane, slot)
    if (asked === null) return { kind: 'failed', problem: notYet() }
    return 'kind' in asked ? asked : await finish(asked)
  }

  async function finish({ begun, outcome, issuedAtMs }: Asked): Promise<RenewalResult> {
    if (outcome.kind !== 'ok') return await settle(begun, outcome)
    return await commit(rotationFrom(policy, begun.record, outcome.value, issuedAtMs), begun)
  }

  async function ask(seen: Grant, lane: Lane, known?: Stored<Grant>): Promise<RenewalResult | Asked> {
    if (context.closing.aborted) return { kind: 'failed', problem: goingDown() }
    const problem = await breaker.whyNot(lane)
    if (problem !== null) return { kind: 'failed', problem }
    const begun = await begin(seen, known)
    if ('kind' in begun) return begun
    const grant = begun.record
    events.emit({ type: 'grant.attempted', guid: grant.guid, version: grant.version })
    const issuedAtMs = clock.now()
    // The store took long, or this process slept: another replica may begin before an answer could be here.
    if (issuedAtMs - (grant.attempt?.startedAtMs ?? 0) > policy.sendWithinMs) return await giveBack(begun)
    return { begun, outcome: await provider.refresh(grant.pair.refreshToken), issuedAtMs }
  }

  /** Takes the lease and writes the intent in one step, on the version that was read: that is the look after the lock. */
  async function begin(seen: Grant, known?: Stored<Grant>): Promise<RenewalResult | Stored<Grant>> {
    const { guid } = seen
    let stopped: RenewalResult | null = null
    let isLost = false
    const stored = await change(
      grants,
      guid,
      grant => {
        const nowMs = clock.now()
        stopped = reasonNotTo(grant, seen, nowMs)
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

  function reasonNotTo(grant: Grant | null, seen: Grant, nowMs: number): RenewalResult | null {
    if (grant === null) return { kind: 'gone' }
    if (!isSameVersion(grant, seen)) return { kind: 'current', grant }
    if (grant.status === 'reauthorization_required')
      return { kind: 'failed', problem: reauthorizationRequired(grant.guid) }
    if (isHeld(grant, nowMs)) return { kind: 'held', untilMs: grant.attempt?.leaseUntilMs ?? nowMs }
    if (retryNotBeforeMs(grant) > nowMs) return { kind: 'failed', problem: renewalPutOff(grant, nowMs) }
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
  async function commit(rotation: Rotation, begun: Stored<Grant>): Promise<RenewalResult> {
    let known: Stored<Grant> | undefined = begun
    const entry = journalEntry(context, rotation)
    const cancelKeeping = clock.after(JOURNAL_AFTER_MS, () => void entry.keep())
    const result = await persist(
      context,
      () =>
        commitOnce(rotation, known).catch(async error => {
          known = undefined
          if (error instanceof StoreUnavailable) recent.storeWasAway()
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
    const stored = await change(
      grants,
      guid,
      (current, revision) => {
        const nowMs = clock.now()
        const isLost = hasLost(current, revision, rotation.base, nowMs)
        const grant = isLost ? restored(current, rotation.base, nowMs) : current
        wentBackTo = isLost ? (current?.version ?? 0) : null
        won = grant !== null && isReplacedBy(grant, rotation)
        return won && grant !== null ? rotated(policy, grant, rotation, nowMs) : keep
      },
      known,
    )
    const grant = stored?.record ?? null
    if (grant?.pair.refreshToken.equals(rotation.pair.refreshToken)) {
      recent.remember(grant)
      if (won) {
        const { version } = grant
        if (wentBackTo !== null) events.emit({ type: 'grant.restored', guid, version: version - 1, wentBackTo })
        const late = clock.now() > rotation.issuedAtMs + policy.leaseMs
        events.emit({ type: 'grant.renewed', guid, version, late })
      }
      return { kind: 'current', grant }
    }
    const because = isReplay ? 'replayed' : whyNotNeeded(grant, rotation)
    events.emit({ type: 'pair.discarded', guid, version: rotation.replacesVersion + 1, because })
    const discard = isReplay ? discards.discardUnspent : discards.discard
    discard(guid, rotation.pair, rotation.accessTokenExpiresAtMs)
    return grant === null ? { kind: 'gone' } : { kind: 'current', grant }
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
    const definite = isRejected && (base.doubtUntilMs === null || base.doubtUntilMs <= nowMs)
    const perhapsSpent = failure.kind === 'unknown' || (isRejected && !definite)
    const retryMs = nextTry(base, failure, nowMs)
    const problem = definite ? reauthorizationRequired(base.guid) : passing(failure, retryMs, nowMs)
    const { code } = definite ? problem : problemOf(failure, 'a renewal')

    let adopted: Grant | null = null
    let isOvertaken = false
    let isRemoved = false
    const settled = await change(
      grants,
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
        isRemoved = definite && grant.status === 'revoking'
        if (definite) return isRemoved ? null : ended(grant, nowMs)
        return failed(grant, { code, retryAtMs: retryMs, perhapsSpent }, nowMs)
      },
      begun,
    )
    if (adopted !== null || settled === null || isOvertaken) refreshed('overtaken', null)
    if (adopted !== null) return { kind: 'current', grant: adopted }
    if (settled === null) {
      if (isRemoved) events.emit({ type: 'grant.revoked', guid: base.guid, version: base.version })
      return { kind: 'gone' }
    }
    // Another attempt is under way; or it was deleted, and made anew since: what we were told is not about what stands.
    if (isOvertaken) return { kind: 'held', untilMs: settled.record.attempt?.leaseUntilMs ?? nowMs }
    const { guid, version } = base
    refreshed(outcomeOf(failure, definite, perhapsSpent), null)
    if (failure.kind === 'client_refused') return { kind: 'failed', problem }
    if (definite) events.emit({ type: 'grant.ended', guid, version, afterDoubt: base.status === 'in_doubt' })
    else if (perhapsSpent) events.emit({ type: 'grant.in_doubt', guid, version, retryAtMs: retryMs })
    else events.emit({ type: 'grant.renewal_failed', guid, version, code, retryAtMs: retryMs })
    return { kind: 'failed', problem }
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
    if (failure.kind === 'rejected') return Math.max(backoff, grant.doubtUntilMs ?? 0)
    const mayStillRun = failure.kind === 'unknown' && !failure.settled
    return mayStillRun ? Math.max(backoff, grant.attempt?.leaseUntilMs ?? 0) : backoff
  }

  return {
    renew,
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
