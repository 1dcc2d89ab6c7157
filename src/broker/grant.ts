/**
 * The life of a grant. Pure: each function takes the grant as it stands and returns the grant as it shall stand; whoever
 * calls writes it by compare-and-set (`lua/write_record.lua`), so that a move happens as a whole or not at all.
 *
 *   move        from                  to                        who may make it                          event
 *   authorized  (nothing), any        active, version + 1       exchange, provisioning, import           grant.stored
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
import type { Grant, GrantOrigin, TokenPair } from '../ports/records.ts'
import type { Secret } from '../ports/secret.ts'
import { ABSENT, REMOVAL_REMEMBERED_MS } from '../ports/store.ts'
import { lifetimeMs, type RefreshPolicy, refreshDueAtMs, restingDueAtMs } from './policy.ts'

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

/** A new grant, or the next version of `current`. */
export function authorized(policy: RefreshPolicy, current: Grant | null, by: Authorized, nowMs: number): Grant {
  const times = lifetimes(policy, by.guid, by.answer, by.issuedAtMs)
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
  }
}

/** A renewal begins. An attempt that was left open by somebody puts the grant in doubt. */
export function attempted(grant: Grant, by: { owner: string; leaseMs: number }, nowMs: number): Grant {
  const abandoned = grant.attempt
  const leaseUntilMs = nowMs + by.leaseMs
  return {
    ...grant,
    status: abandoned !== null && grant.status === 'active' ? 'in_doubt' : grant.status,
    attempt: {
      owner: by.owner,
      startedAtMs: nowMs,
      leaseUntilMs,
      refreshTokenFingerprint: fingerprint(grant.pair.refreshToken),
    },
    doubtUntilMs: abandoned === null ? grant.doubtUntilMs : abandoned.leaseUntilMs + by.leaseMs,
    dueAtMs: leaseUntilMs,
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

/** Whether this pair is the one that the person's authorization brought, and was renewed since: it is spent. */
export function isRenewedSince(grant: Grant, pair: TokenPair): boolean {
  return (
    fingerprint(pair.refreshToken) === grant.authorizedFingerprint && !pair.refreshToken.equals(grant.pair.refreshToken)
  )
}

/** Whether the same pair stands: a grant that was deleted and made anew counts its versions from 1 again. */
export function isSameVersion(current: Grant, seen: Grant): boolean {
  return current.version === seen.version && current.createdAtMs === seen.createdAtMs
}

/** The new pair takes the old one's place. */
export function rotated(policy: RefreshPolicy, grant: Grant, rotation: Rotation, nowMs: number): Grant {
  const dueAtMs = refreshDueAtMs(policy, rotation)
  const revoking = grant.status === 'revoking'
  return {
    ...grant,
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
  return { ...grant, attempt: null, dueAtMs: nowMs }
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

/** Two replicas may have issued two pairs in an order that their clocks do not show. */
const CLOCKS_DIFFER_BY_MS = 5_000

/** Whether the store has lost `newer`, which it once took. A new authorization that came since is later, and stands. */
export function hasGoneBack(current: Grant, newer: Grant): boolean {
  return (
    current.createdAtMs === newer.createdAtMs &&
    current.version < newer.version &&
    current.issuedAtMs < newer.issuedAtMs + CLOCKS_DIFFER_BY_MS &&
    !isOutranked(current, newer.authorizedAtMs ?? 0)
  )
}

/**
 * Whether a store where `current` stands at `revision` has lost `newer`. Where nothing stands, and nothing was removed since
 * `newer` stood, not even its first write is left; after a while nobody can tell that from a deletion.
 */
export function hasLost(current: Grant | null, revision: number, newer: Grant, nowMs: number): boolean {
  if (current !== null) return hasGoneBack(current, newer)
  return revision === ABSENT && nowMs < newer.updatedAtMs + REMOVAL_REMEMBERED_MS / 2
}

/** Whether what stands came by a later authorization than one whose request was sent at `authorizedAtMs`. */
export function isOutranked(current: Grant, authorizedAtMs: number): boolean {
  return (current.authorizedAtMs ?? 0) > authorizedAtMs
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
    dueAtMs: failure.retryAtMs,
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

/** When the last failure allows the next try; 0: at once. */
export function retryNotBeforeMs(grant: Grant): number {
  return grant.attempt === null && grant.lastError !== null ? (grant.dueAtMs ?? 0) : 0
}

/** A one-way name for a secret: 128 bits, enough to tell two apart, useless to guess from. */
function fingerprint(secret: Secret): string {
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
