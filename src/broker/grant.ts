/**
 * The life of a grant. Pure: each function takes the grant as it stands and returns the grant as it shall stand; whoever
 * calls writes it by compare-and-set (`lua/write_record.lua`), so that a move happens as a whole or not at all.
 *
 *   move        from                  to                        who may make it                          event
 *   authorized  (nothing), any        active, version + 1       exchange, provisioning, import           grant.stored
 *   authorized  any, the same pair    active, same version      exchange: the provider handed it out     grant.stored
 *                                                               again
 *   attempted   active                active, with attempt      any replica that finds no open lease     grant.attempted
 *   attempted   active, open attempt  in_doubt, with attempt    the same: who had begun never came back  grant.attempted
 *   rotated     active, in_doubt,     active, version + 1       who holds the pair that its refresh      grant.renewed
 *               reauthorization_…                               token brought, however late
 *   released    with attempt          as before the attempt     the attempt's owner: nothing was sent,   (client.refused)
 *                                                               or our credentials were refused
 *   failed      with attempt          as before, tried later    its owner: nothing was spent             grant.renewal_failed
 *   failed      with attempt          in_doubt, tried later     its owner: perhaps it was spent          grant.in_doubt
 *   ended       active, in_doubt      reauthorization_required  its owner: invalid_grant, and no other   grant.ended
 *                                                               attempt in doubt
 *   rested      active                active, not due           the background: nobody reads it          grant.rested
 *   touched     active                active, due again         a reader, once in a while                (none)
 *   extended    with attempt          with a longer lease       its owner, before the password grant     (none)
 *   settled     with leftovers        without those ended       any replica that has ended them          (none)
 *   restored    an older version, or  active, newest version    who wrote the newest, and finds it gone; grant.restored
 *               (nothing, not removed)                          or who renews it, in one with rotated
 *   revoking    any                   revoking                  DELETE                                   grant.revoking
 *   (removed)   revoking              (nothing)                 the provider has confirmed               grant.revoked
 *
 * While `revoking`, a rotation changes the pair and leaves the status, and an end removes the grant.
 */
import { hash } from 'node:crypto'
import type { ProblemCode } from '../errors.ts'
import type { Rotation } from '../ports/journal.ts'
import type { TokenAnswer } from '../ports/provider.ts'
import type { Grant, GrantOrigin, Leftover, TokenPair } from '../ports/records.ts'
import type { Secret } from '../ports/secret.ts'
import { ABSENT, type PairMarks, REMOVAL_REMEMBERED_MS } from '../ports/store.ts'
import {
  CLOCKS_DIFFER_BY_MS,
  lifetimeMs,
  mustWait,
  type RefreshPolicy,
  refreshDueAtMs,
  restingDueAtMs,
} from './policy.ts'

/** What a new authorization brought: by exchange, provisioning or import. */
export interface Authorized {
  readonly guid: string
  readonly origin: GrantOrigin
  readonly answer: TokenAnswer
  /** When the request was sent: lifetimes count from there. */
  readonly issuedAtMs: number
  /** Taken where the answer does not repeat the scope. */
  readonly requestedScope: string
  /** null: leave what is known. */
  readonly username: string | null
  /** null: leave what is known. */
  readonly password: Secret | null
}

/** A new grant, or the next version of `current`; the same version where the provider has handed out the same pair again. */
export function authorized(policy: RefreshPolicy, current: Grant | null, by: Authorized, nowMs: number): Grant {
  if (current !== null && isSamePair(current.pair, by.answer.pair)) return reauthorized(policy, current, by, nowMs)
  const times = lifetimes(policy, by.guid, by.answer, by.issuedAtMs)
  const leftovers = current === null ? [] : leftoversAfter(current, by.answer.pair, nowMs)
  return {
    guid: by.guid,
    username: by.username ?? current?.username ?? null,
    password: by.password ?? current?.password ?? null,
    origin: by.origin,
    scope: by.answer.scope ?? by.requestedScope,
    status: 'active',
    version: (current?.version ?? 0) + 1,
    pair: by.answer.pair,
    authorizedAtMs: by.issuedAtMs,
    authorizedFingerprint: fingerprint(by.answer.pair.refreshToken),
    ...times,
    dueAtMs: times.refreshDueAtMs,
    attempt: null,
    doubtUntilMs: null,
    lastRefreshedAtMs: current?.lastRefreshedAtMs ?? null,
    lastReadAtMs: nowMs,
    lastError: null,
    createdAtMs: current?.createdAtMs ?? nowMs,
    updatedAtMs: nowMs,
    ...(leftovers.length === 0 ? {} : { leftovers }),
  }
}

/**
 * The person has authorized again, and the provider has handed out the pair that stands. A version names one pair, so it
 * stays. An attempt that is under way goes on: it has this pair's refresh token in its hands.
 */
function reauthorized(policy: RefreshPolicy, current: Grant, by: Authorized, nowMs: number): Grant {
  const times = lifetimes(policy, by.guid, by.answer, by.issuedAtMs)
  const isAttempted = current.attempt !== null
  return {
    ...current,
    username: by.username ?? current.username,
    password: by.password ?? current.password,
    origin: by.origin,
    scope: by.answer.scope ?? by.requestedScope,
    status: isAttempted && current.status === 'in_doubt' ? 'in_doubt' : 'active',
    authorizedAtMs: by.issuedAtMs,
    authorizedFingerprint: fingerprint(by.answer.pair.refreshToken),
    ...times,
    dueAtMs: isAttempted ? current.dueAtMs : times.refreshDueAtMs,
    doubtUntilMs: isAttempted ? current.doubtUntilMs : null,
    lastReadAtMs: nowMs,
    lastError: null,
    updatedAtMs: nowMs,
  }
}

/** What the grant leaves behind when a later authorization brings `next`. An ended grant's pair is dead. */
function leftoversAfter(current: Grant, next: TokenPair, nowMs: number): readonly Leftover[] {
  const before = (current.leftovers ?? []).map(leftover => ({ ...leftover, isOver: true }))
  const replaced = current.status === 'reauthorization_required' ? [] : [leftoverOf(current, null, nowMs)]
  return bounded([...before, ...replaced], next)
}

/** `successor` null: a later authorization takes its place. */
function leftoverOf({ pair, accessTokenExpiresAtMs }: Grant, successor: TokenPair | null, sinceMs: number): Leftover {
  const isOver = successor === null
  return { pair, accessTokenExpiresAtMs, successor: successor?.accessToken ?? null, isOver, sinceMs }
}

/** A grant has more only if the provider refuses revocations for very long: then the oldest is given up. */
const MOST_LEFTOVERS = 64

/** A provider may hand out a pair again, or one half of it: what stands is no leftover. */
function bounded(leftovers: readonly Leftover[], standing: TokenPair): readonly Leftover[] {
  return leftovers.filter(({ pair }) => !sharesToken(pair, standing)).slice(-MOST_LEFTOVERS)
}

/** Whether a rotation from `before` to `after` has given the oldest leftover up. */
export function hasGivenUp(before: Grant, after: Grant): boolean {
  return [before, after].every(({ leftovers }) => leftovers?.length === MOST_LEFTOVERS)
}

function sharesToken(one: TokenPair, other: TokenPair): boolean {
  return one.refreshToken.equals(other.refreshToken) || one.accessToken.equals(other.accessToken)
}

function isSamePair(one: TokenPair, other: TokenPair): boolean {
  return one.refreshToken.equals(other.refreshToken) && one.accessToken.equals(other.accessToken)
}

/** What became of a leftover. `instead`: what has to be ended in its place; none: it is dead. */
export interface LeftoverEnd {
  readonly leftover: Leftover
  readonly instead: readonly Leftover[]
  /** false: by the provider's answers it may be alive all the same. */
  readonly isCertain: boolean
}

/** The grant without the leftovers that were ended; with the pairs that these were spent for. */
export function settled(grant: Grant, ends: readonly LeftoverEnd[]): Grant {
  const left = (grant.leftovers ?? []).filter(({ pair }) => !ends.some(end => isSamePair(end.leftover.pair, pair)))
  // Another replica may have removed a leftover that this one has spent: the pair which that brought is alive all the same.
  const spentFor = ends.flatMap(({ instead }) => instead)
  return withLeftovers(grant, bounded([...left, ...spentFor], grant.pair))
}

function withLeftovers({ leftovers: _, ...grant }: Grant, leftovers: readonly Leftover[]): Grant {
  return leftovers.length === 0 ? grant : { ...grant, leftovers }
}

/**
 * Whether `pair` belongs to the authorization that stands: it is the pair by which that began, or its latest one. A caller
 * who imports it again repeats an earlier import.
 */
export function isOfAuthorization(grant: Grant, pair: TokenPair): boolean {
  return (
    pair.refreshToken.equals(grant.pair.refreshToken) || fingerprint(pair.refreshToken) === grant.authorizedFingerprint
  )
}

/** The pairs by which this grant could be imported again: the first and the latest of its authorization. */
export function importableFingerprints(grant: Grant): readonly string[] {
  const latest = fingerprint(grant.pair.refreshToken)
  const { authorizedFingerprint: first } = grant
  return first === undefined || first === latest ? [latest] : [first, latest]
}

/** Keeps a deleted grant from being written again. Its first pair is retired by then, whatever was its latest one. */
export function unlessDeleted({ authorizedFingerprint, pair }: Grant): PairMarks {
  return { unlessRetired: authorizedFingerprint ?? fingerprint(pair.refreshToken) }
}

/** A renewal begins. An attempt that was left open by somebody puts the grant in doubt. */
export function attempted(grant: Grant, by: { owner: string; leaseMs: number }, nowMs: number): Grant {
  const abandoned = grant.attempt
  const leaseUntilMs = nowMs + by.leaseMs
  const doubtUntilMs = abandoned === null ? grant.doubtUntilMs : abandoned.leaseUntilMs + by.leaseMs
  return {
    ...grant,
    status: abandoned !== null && grant.status === 'active' ? 'in_doubt' : grant.status,
    attempt: {
      owner: by.owner,
      startedAtMs: nowMs,
      leaseUntilMs,
      refreshTokenFingerprint: fingerprint(grant.pair.refreshToken),
    },
    // The clock may have been set back since: a doubt lasts for a lease from now at most.
    doubtUntilMs: doubtUntilMs === null ? null : Math.min(doubtUntilMs, leaseUntilMs),
    dueAtMs: dueUnlessEnded(grant, leaseUntilMs),
    updatedAtMs: nowMs,
  }
}

/** What a refresh answer means for the grant whose `version` it replaces. */
export function rotationFrom(policy: RefreshPolicy, grant: Grant, answer: TokenAnswer, issuedAtMs: number): Rotation {
  const times = lifetimes(policy, grant.guid, answer, issuedAtMs)
  return {
    guid: grant.guid,
    replacesVersion: grant.version,
    spentFingerprint: fingerprint(grant.pair.refreshToken),
    base: grant,
    pair: answer.pair,
    scope: answer.scope,
    issuedAtMs,
    accessTokenExpiresAtMs: times.accessTokenExpiresAtMs,
    refreshTokenExpiresAtMs: times.refreshTokenExpiresAtMs,
  }
}

/**
 * Whether the pair that stands is the one whose refresh token brought the new pair; under whichever version, since a
 * provider may hand the same pair out again to somebody who signs in meanwhile. Where it leaves the refresh token as it is
 * (RFC 6749, section 6), the version alone tells what stands from what was there before.
 */
export function isReplacedBy(grant: Grant, rotation: Rotation): boolean {
  const isSpent = fingerprint(grant.pair.refreshToken) === rotation.spentFingerprint
  const isLeft = rotation.pair.refreshToken.equals(grant.pair.refreshToken)
  return isSpent && (!isLeft || grant.version === rotation.replacesVersion)
}

/** Whether the same pair stands: a grant that was deleted and made anew counts its versions from 1 again. */
export function isSameVersion(current: Grant, seen: Grant): boolean {
  return current.version === seen.version && current.createdAtMs === seen.createdAtMs
}

/**
 * The new pair takes the old one's place. `keepsPredecessor`: the old pair may live on at the provider, so the grant has to
 * remember it.
 */
export function rotated(
  policy: RefreshPolicy,
  grant: Grant,
  rotation: Rotation,
  nowMs: number,
  keepsPredecessor: boolean,
): Grant {
  const dueAtMs = refreshDueAtMs(policy, rotation)
  const revoking = grant.status === 'revoking'
  const predecessor = keepsPredecessor ? [leftoverOf(grant, rotation.pair, nowMs)] : []
  return {
    ...withLeftovers(grant, bounded([...(grant.leftovers ?? []), ...predecessor], rotation.pair)),
    status: revoking ? 'revoking' : 'active',
    version: grant.version + 1,
    pair: rotation.pair,
    scope: rotation.scope ?? grant.scope,
    issuedAtMs: rotation.issuedAtMs,
    accessTokenExpiresAtMs: rotation.accessTokenExpiresAtMs,
    refreshTokenExpiresAtMs: rotation.refreshTokenExpiresAtMs,
    refreshDueAtMs: dueAtMs,
    dueAtMs: revoking ? grant.dueAtMs : dueAtMs,
    attempt: null,
    doubtUntilMs: null,
    lastRefreshedAtMs: nowMs,
    lastError: null,
    updatedAtMs: nowMs,
  }
}

/** The attempt ends as if it had not been: nothing can have happened by it. */
export function released(grant: Grant, nowMs: number): Grant {
  return { ...grant, attempt: null, dueAtMs: dueUnlessEnded(grant, nowMs) }
}

/** The attempt's owner goes on for one more request: its lease starts anew. */
export function extended(grant: Grant, leaseMs: number, nowMs: number): Grant {
  if (grant.attempt === null) return grant
  const leaseUntilMs = nowMs + leaseMs
  return { ...grant, attempt: { ...grant.attempt, leaseUntilMs }, dueAtMs: dueUnlessEnded(grant, leaseUntilMs) }
}

/** An ended grant is never due: listings of ended grants rely on that. */
function dueUnlessEnded(grant: Grant, dueAtMs: number): number | null {
  return grant.status === 'reauthorization_required' ? null : dueAtMs
}

/** Nobody asks for it: it is looked at again when somebody does, or before its refresh token expires. */
export function rested(policy: RefreshPolicy, grant: Grant): Grant {
  return { ...grant, dueAtMs: restingDueAtMs(policy, grant) }
}

/** Somebody has asked for its token: from here on it is renewed ahead of time again. */
export function touched(grant: Grant, nowMs: number): Grant {
  const isResting = grant.status === 'active' && grant.attempt === null && grant.lastError === null
  return { ...grant, lastReadAtMs: nowMs, dueAtMs: isResting ? grant.refreshDueAtMs : grant.dueAtMs }
}

/**
 * Whether `atMs` came later than `thanMs`. The clock may have been set back in between: a time ahead of it was written before
 * that, and is not later than one that is not ahead.
 */
function isLater(atMs: number, thanMs: number, nowMs: number): boolean {
  const aheadFromMs = nowMs + CLOCKS_DIFFER_BY_MS
  return atMs > thanMs && (atMs <= aheadFromMs || thanMs > aheadFromMs)
}

/** Whether the store has lost `newer`, which it once took. A new authorization that came since is later, and stands. */
export function hasGoneBack(current: Grant, newer: Grant, nowMs: number): boolean {
  return (
    current.createdAtMs === newer.createdAtMs &&
    current.version < newer.version &&
    // Two replicas may have issued two pairs in an order that their clocks do not show.
    !isLater(current.issuedAtMs - CLOCKS_DIFFER_BY_MS, newer.issuedAtMs, nowMs) &&
    !isOutranked(current, newer.authorizedAtMs ?? 0, nowMs)
  )
}

/**
 * Whether a store where `current` stands at `revision` has lost `newer`. Where nothing stands, and nothing was removed since
 * `newer` stood, not even its first write is left; after a while nobody can tell that from a deletion.
 */
export function hasLost(current: Grant | null, revision: number, newer: Grant, nowMs: number): boolean {
  if (current !== null) return hasGoneBack(current, newer, nowMs)
  return revision === ABSENT && nowMs < newer.updatedAtMs + REMOVAL_REMEMBERED_MS / 2
}

/** Whether what stands came by a later authorization than one whose request was sent at `authorizedAtMs`. */
export function isOutranked(current: Grant, authorizedAtMs: number, nowMs: number): boolean {
  return isLater(current.authorizedAtMs ?? 0, authorizedAtMs, nowMs)
}

/** `current` null: the store has not even kept the first write of it. */
export function restored(current: Grant | null, newer: Grant, nowMs: number): Grant {
  const revoking = current?.status === 'revoking'
  const dueAtMs = revoking ? nowMs : newer.refreshDueAtMs
  return { ...newer, status: revoking ? 'revoking' : 'active', attempt: null, dueAtMs, updatedAtMs: nowMs }
}

/** A renewal or revocation failed for now. `perhapsSpent`: the provider may have rotated, and we do not hold the pair. */
export function failed(
  grant: Grant,
  failure: { code: ProblemCode; retryAtMs: number; perhapsSpent: boolean },
  nowMs: number,
): Grant {
  return {
    ...grant,
    status: failure.perhapsSpent && grant.status === 'active' ? 'in_doubt' : grant.status,
    attempt: null,
    dueAtMs: dueUnlessEnded(grant, failure.retryAtMs),
    lastError: { code: failure.code, atMs: nowMs, attempts: (grant.lastError?.attempts ?? 0) + 1 },
    updatedAtMs: nowMs,
  }
}

/** The provider has ended it. The version stays, so that a pair which comes late can still be committed. */
export function ended(grant: Grant, nowMs: number): Grant {
  return {
    ...grant,
    status: 'reauthorization_required',
    attempt: null,
    doubtUntilMs: null,
    dueAtMs: null,
    lastError: { code: 'reauthorization_required', atMs: nowMs, attempts: (grant.lastError?.attempts ?? 0) + 1 },
    updatedAtMs: nowMs,
  }
}

/** From this write on nobody is given its token. */
export function revoking(grant: Grant, nowMs: number): Grant {
  return { ...grant, status: 'revoking', dueAtMs: nowMs, lastError: null, updatedAtMs: nowMs }
}

/** Whether somebody is renewing it at this moment. */
export function isHeld(grant: Grant, nowMs: number): boolean {
  return grant.attempt !== null && grant.attempt.leaseUntilMs > nowMs
}

/** When the last failure allows the next try; 0: at once. `longestMs`: the longest wait since that failure. */
export function retryNotBeforeMs(
  { attempt, dueAtMs, lastError }: Grant,
  nowMs: number,
  longestMs = Number.POSITIVE_INFINITY,
): number {
  if (attempt !== null || lastError === null || dueAtMs === null) return 0
  const untilMs = Math.min(dueAtMs, lastError.atMs + longestMs)
  return mustWait(untilMs, untilMs - lastError.atMs, nowMs) ? untilMs : 0
}

/** A one-way name for a secret: 128 bits, enough to tell two apart, useless to guess from. */
export function fingerprint(secret: Secret): string {
  return hash('sha256', secret.reveal(), 'base64url').slice(0, 22)
}

function lifetimes(policy: RefreshPolicy, guid: string, answer: TokenAnswer, issuedAtMs: number) {
  const refreshLifetimeSeconds = answer.refreshTokenExpiresInSeconds
  const times = {
    issuedAtMs,
    accessTokenExpiresAtMs: issuedAtMs + lifetimeMs(policy, answer),
    refreshTokenExpiresAtMs: refreshLifetimeSeconds === null ? null : issuedAtMs + refreshLifetimeSeconds * 1000,
  }
  return { ...times, refreshDueAtMs: refreshDueAtMs(policy, { guid, ...times }) }
}
