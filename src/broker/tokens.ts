import { Problem, type ProblemCode } from '../errors.ts'
import type { TokenSource } from '../ports/meter.ts'
import type { Grant } from '../ports/records.ts'
import { StoreUnavailable } from '../ports/store.ts'
import { type BatchRequest, createBatches, type Found } from './batch.ts'
import { type BrokerContext, change, existing, keep, usable, watch, within } from './context.ts'
import { isHeld, isSameVersion, touched } from './grant.ts'
import type { Leftovers } from './leftovers.ts'
import type { Lookup } from './lookup.ts'
import { isWorthNoting, neededTtlMs, lifeLeftMs as policyLifeLeftMs } from './policy.ts'
import type { RenewalResult, Renewals } from './renewal.ts'

export interface Tokens {
  /**
   * A grant whose access token the provider accepts and which lives at least `wishedTtlMs` (null: the configured least).
   * Throws `grant_not_found`, `reauthorization_required`, `provider_unavailable`, `client_misconfigured`.
   */
  read(guid: string, wishedTtlMs: number | null): Promise<Grant>
  /**
   * As `read`, of many at once, in the order asked: for each what it would return, or throw. It takes no longer than a single one
   * may. Never throws.
   */
  readMany(request: BatchRequest): Promise<readonly PromiseSettledResult<Grant>[]>
  /** A grant that was stored just now: refreshed first if its token lives shorter than the configured least. Never throws. */
  refreshedIfShort(grant: Grant): Promise<Grant>
  /** As `read`, after the provider has refused the access token of `version`: that one is not answered again. */
  report(guid: string, version: number): Promise<Grant>
}

/** How a reader's wish for a renewal ended, and whose renewal it was. */
interface Ended {
  readonly result: Exclude<RenewalResult, { kind: 'held' }>
  readonly source: TokenSource
}

/** How long a reader whose token lives waits for a renewal that has just begun: in `instant` mode it kills that token. */
const POLITE_WAIT_MS = 500
/** Less would be answered as `expires_in` 0. */
const LEAST_LIFE_MS = 1_000
/** Rotations that one reader follows before giving up: only tokens that come expired take more than one. */
const MOST_ROTATIONS = 3

const ANSWERS_NOTHING: ReadonlySet<ProblemCode> = new Set(['reauthorization_required', 'store_unavailable'])

export function createTokens(
  context: BrokerContext,
  renewals: Renewals,
  lookup: Lookup,
  leftovers: Pick<Leftovers, 'noteServed'>,
): Tokens {
  const { clock, meter, policy, tracing } = context
  const { grants } = context.stores
  const noting = new Set<string>()

  async function read(guid: string, wishedTtlMs: number | null): Promise<Grant> {
    const seen = fromMemory(guid, wishedTtlMs)
    if (seen !== undefined) return served({ grant: noted(seen), source: 'memory' })
    return served(await fromStore(await lookup.storedOrLast(guid), guid, wishedTtlMs))
  }

  function fromMemory(guid: string, wishedTtlMs: number | null): Grant | undefined {
    const seen = lookup.current(guid)
    return seen !== undefined && lifeLeftMs(seen) >= neededMs(seen, wishedTtlMs) ? seen : undefined
  }

  /** `untilMs`: as long as a renewal is waited for; absent: for the length of its lease. */
  async function fromStore(
    stored: Grant | null,
    guid: string,
    wishedTtlMs: number | null,
    untilMs?: number,
  ): Promise<Found> {
    const grant = noted(answerable(stored, guid))
    if (grant.status === 'reauthorization_required' || lifeLeftMs(grant) < neededMs(grant, wishedTtlMs))
      return await renewed(grant, isAlive, untilMs)
    if (!isBeingReplaced(grant)) return { grant, source: 'stored' }
    const after = await afterRenewal(grant)
    // This process may have slept meanwhile.
    return isAlive(after) ? { grant: after, source: 'joined' } : await renewed(after, isAlive, untilMs)
  }

  /** As `usable`, and also an ended grant that its password may bring back. */
  function answerable(stored: Grant | null, guid: string): Grant {
    const grant = existing(stored, guid)
    return renewals.isRestorable(grant) ? grant : usable(grant, guid)
  }

  async function refreshedIfShort(grant: Grant): Promise<Grant> {
    if (lifeLeftMs(grant) >= neededMs(grant, null)) return grant
    try {
      return (await renewed(grant, isAlive)).grant
    } catch (error) {
      if (error instanceof Problem || error instanceof StoreUnavailable) return grant
      throw error
    }
  }

  function neededMs(grant: Grant, wishedTtlMs: number | null): number {
    return Math.max(LEAST_LIFE_MS, neededTtlMs(policy, grant, wishedTtlMs))
  }

  function served({ grant, source }: Found): Grant {
    meter.served(source, lifeLeftMs(grant))
    leftovers.noteServed(grant.guid)
    return grant
  }

  async function report(guid: string, version: number): Promise<Grant> {
    const grant = noted(answerable(await lookup.stored(guid), guid))
    if (grant.version !== version) return await read(guid, null)
    return served(await renewed(grant, candidate => isAlive(candidate) && candidate.version !== version))
  }

  /** That it was read. Nobody waits for that, and the next read will do as well. */
  function noted(grant: Grant): Grant {
    const { guid } = grant
    const nowMs = clock.now()
    if (noting.has(guid) || !isWorthNoting(policy, grant.lastReadAtMs ?? grant.createdAtMs, nowMs)) return grant
    noting.add(guid)
    change(grants, guid, now => (now?.status === 'active' ? touched(now, nowMs) : keep))
      .catch(() => {})
      .finally(() => noting.delete(guid))
    return grant
  }

  function lifeLeftMs(grant: Grant): number {
    return policyLifeLeftMs(grant, clock.now())
  }

  function isAlive(grant: Grant): boolean {
    return lifeLeftMs(grant) >= LEAST_LIFE_MS
  }

  function isBeingReplaced(grant: Grant): boolean {
    return grant.attempt !== null && grant.attempt.startedAtMs > clock.now() - POLITE_WAIT_MS
  }

  /** Gives a renewal that has just begun the chance to end, and answers whichever pair stands then. */
  async function afterRenewal(grant: Grant): Promise<Grant> {
    const { guid } = grant
    const untilMs = clock.now() + POLITE_WAIT_MS
    const end = async () => {
      const join = renewals.underWay(guid)
      await (join?.() ?? elsewhere(guid, untilMs, now => now?.attempt == null))
    }
    await within(context, untilMs, end).catch(unlessAway)
    return await standingOr(grant)
  }

  /** The grant as it stands now; as it was, where the store does not say. */
  async function standingOr(grant: Grant): Promise<Grant> {
    const stored = await grants.read(grant.guid).catch(unlessAway)
    return stored === undefined ? grant : usable(stored?.record ?? null, grant.guid)
  }

  /** The grant with a new pair; or as it is, where it cannot be renewed just now and is still `good`. */
  async function renewed(grant: Grant, good: (grant: Grant) => boolean, untilMs?: number): Promise<Found> {
    let current = grant
    for (let rotations = 0; rotations < MOST_ROTATIONS; rotations += 1) {
      const { result, source } = await renewalOf(current, good, untilMs)
      if (result.kind === 'gone') return { grant: existing(null, grant.guid), source }
      if (result.kind === 'failed') {
        // Ended; or replaced at the provider by a token that is not stored yet.
        if (ANSWERS_NOTHING.has(result.problem.code)) throw result.problem
        // It took a while: what stood when it began may have been deleted, or replaced.
        const standing = await standingOr(current)
        if (good(standing)) return { grant: standing, source: 'kept' }
        throw result.problem
      }
      current = usable(result.grant, grant.guid)
      if (good(current)) return { grant: current, source }
    }
    throw new Problem('provider_response_invalid', 'HealthTap gives out tokens that have expired already.')
  }

  async function renewalOf(
    grant: Grant,
    good: (grant: Grant) => boolean,
    untilMs = clock.now() + policy.leaseMs,
  ): Promise<Ended> {
    try {
      return (await within(context, untilMs, () => endOfRenewal(grant, untilMs))) ?? outOfTime()
    } catch (error) {
      if (error instanceof StoreUnavailable && good(grant)) {
        return { result: { kind: 'current', grant }, source: 'kept' }
      }
      throw error
    }
  }

  function unlessAway(error: unknown): undefined {
    if (!(error instanceof StoreUnavailable)) throw error
  }

  /** Renews; where another replica is at it, waits for what comes of that. null: not before `untilMs`. */
  async function endOfRenewal(grant: Grant, untilMs: number): Promise<Ended | null> {
    const { guid } = grant
    let source: TokenSource = renewals.underWay(guid) === undefined ? 'renewed' : 'joined'
    while (clock.now() < untilMs) {
      const result = await renewals.renew(grant, 'reader')
      if (result.kind !== 'held') return { result, source }
      source = 'joined'
      await elsewhere(guid, Math.min(untilMs, result.untilMs), seen => {
        return seen === null || !isSameVersion(seen, grant) || !isHeld(seen, clock.now())
      })
    }
    return null
  }

  /** Waits for a renewal that another replica is at. */
  async function elsewhere(guid: string, untilMs: number, done: (grant: Grant | null) => boolean): Promise<void> {
    const span = tracing.begin('renewal.wait', { 'htgw.guid': guid, 'htgw.elsewhere': true })
    await span.run(() => watch(context, grants, guid, untilMs, done))
  }

  function outOfTime(): Ended {
    const detail = 'A renewal is under way and takes longer than a reader should wait. The grant is kept.'
    const problem = new Problem('provider_unavailable', detail, { retryAfterSeconds: 1 })
    return { result: { kind: 'failed', problem }, source: 'joined' }
  }

  const readMany = createBatches(context, lookup, { fromMemory, fromStore, noted, isAlive, served })

  return { read, readMany, refreshedIfShort, report }
}
