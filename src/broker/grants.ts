import { Problem } from '../errors.ts'
import type { TokenAnswer } from '../ports/provider.ts'
import type { Grant, GrantStatus, Provisioning, TokenPair } from '../ports/records.ts'
import { ABSENT, type GrantPage, type Stored } from '../ports/store.ts'
import { type BrokerContext, change, existing, keep, persist, usable } from './context.ts'
import type { Discards } from './discards.ts'
import { type Authorized, authorized, isOutranked, isRenewedSince } from './grant.ts'
import type { Recent } from './recent.ts'

export interface GrantQuery {
  readonly status?: GrantStatus | undefined
  readonly username?: string | undefined
  readonly limit: number
  readonly cursor?: string | undefined
}

export interface GrantImport {
  readonly guid: string
  readonly answer: TokenAnswer
  readonly username: string | null
  /** Throws what keeps it from being done. `before`: what stands there; `scope`: what the grant will have. Absent: nothing does. */
  readonly check?: (before: Grant | null, scope: string) => void
}

export interface Grants {
  /**
   * Stores what an authorization brought, and discards the pair it takes the place of. Does not give up. `seen`: what the store
   * said a moment ago that stands there; absent: it is asked first.
   */
  install(by: Authorized, seen?: Stored<Grant | null> | null): Promise<Grant>
  /** A grant, whatever its status; null: there is none. */
  find(guid: string): Promise<Grant | null>
  /** The same. Throws `grant_not_found`. */
  read(guid: string): Promise<Grant>
  /** Throws `validation_failed` for a cursor that was not given out here. */
  list(query: GrantQuery): Promise<GrantPage>
  /** Takes over a grant from elsewhere. Throws `username_taken` where the username belongs to another grant. */
  import(request: GrantImport): Promise<{ grant: Grant; created: boolean }>
  /** The grant is gone: its username is free again. */
  forgetUsername(grant: Grant): Promise<void>
}

export function createGrants(context: BrokerContext, discards: Discards, recent: Recent): Grants {
  const { clock, client, events, policy } = context
  const { grants, provisionings } = context.stores

  async function install(by: Authorized, seen?: Stored<Grant | null> | null): Promise<Grant> {
    // What stood there may have moved on: whoever decides to leave it has to look at it again.
    let known = seen?.record == null ? seen : undefined
    let triedOn: number | null = null
    let replaced: Grant | null = null
    let isOurs = false
    let isRepeat = false
    /** Revisions on which a write may have been done whose answer did not come; and what it would have replaced. */
    const uncertain = new Map<number, Grant | null>()
    const write = async () =>
      change(
        grants,
        by.guid,
        (current, revision) => {
          isOurs = current !== null && uncertain.size > 0 && descendsFrom(current, by, [...uncertain.values()])
          // Deleted since a try that may have been done, and revoked by that: it is not brought back.
          const isDeleted = current === null && revision !== ABSENT && uncertain.size > 0 && !uncertain.has(revision)
          // What is ended or being deleted does not stand in the way of who has authorized; unless ours was there before that.
          const isLate =
            current !== null && isOutranked(current, by.issuedAtMs) && (isUsable(current) || uncertain.size > 0)
          // Sent again, as after a lost answer, when it has been renewed already.
          isRepeat = current !== null && isUsable(current) && isOld(by, current)
          if (isOurs || isDeleted || isLate) return keep
          if (isRepeat && current !== null) return named(current, by.username)
          isOurs = true
          triedOn = revision
          replaced = current
          return authorized(policy, current, by, clock.now())
        },
        known === undefined ? await grants.standing(by.guid) : known,
      )
    const stored = await persist(context, write, async () => {
      known = undefined
      if (triedOn !== null) uncertain.set(triedOn, replaced)
    })
    const tried = new Set([...uncertain.values(), replaced])
    // Also where nothing of ours stands: our write may have been done, and its answer lost, before a later one came.
    for (const grant of tried) discardReplaced(grant, by.answer.pair, stored?.record, isOurs && tried.size === 1)
    if (stored === null) {
      discards.discard(by.guid, by.answer.pair, authorized(policy, null, by, clock.now()).accessTokenExpiresAtMs)
      return existing(null, by.guid)
    }
    if (isRepeat) return usable(stored.record, by.guid)
    if (isOutranked(stored.record, by.issuedAtMs)) {
      giveBack(by, stored.record)
      return usable(stored.record, by.guid)
    }
    recent.remember(stored.record)
    events.emit({ type: 'grant.stored', guid: by.guid, version: stored.record.version, origin: by.origin })
    return stored.record
  }

  function named(grant: Grant, username: string | null): Grant | undefined {
    const isKnown = username === null || username === grant.username
    return isKnown ? keep : { ...grant, username, updatedAtMs: clock.now() }
  }

  /** The person has authorized again since: that stands, and this is not needed. */
  function giveBack(by: Authorized, later: Grant): void {
    const { pair } = by.answer
    const isTheSame =
      pair.refreshToken.equals(later.pair.refreshToken) || pair.accessToken.equals(later.pair.accessToken)
    const { accessTokenExpiresAtMs } = authorized(policy, null, by, clock.now())
    if (!isTheSame) discards.discard(by.guid, pair, accessTokenExpiresAtMs)
  }

  /** A provider may hand the same pair, or half of it, out again: then it is still needed. */
  function discardReplaced(
    replaced: Grant | null,
    ours: TokenPair,
    standing: Grant | undefined,
    isReplacedByUs: boolean,
  ): void {
    if (replaced === null || replaced.status === 'reauthorization_required') return
    const isNeeded = [ours, standing?.pair].some(
      pair =>
        pair?.refreshToken.equals(replaced.pair.refreshToken) || pair?.accessToken.equals(replaced.pair.accessToken),
    )
    if (isNeeded) return
    // A renewal of it that is under way has the same refresh token in its hands.
    const isNobodys = isReplacedByUs && replaced.attempt === null
    const discard = isNobodys ? discards.discard : discards.discardUnspent
    discard(replaced.guid, replaced.pair, replaced.accessTokenExpiresAtMs)
  }

  async function find(guid: string): Promise<Grant | null> {
    return await recent.mended(guid, (await grants.read(guid))?.record ?? null)
  }

  async function read(guid: string): Promise<Grant> {
    return (await find(guid)) ?? existing(null, guid)
  }

  async function list(query: GrantQuery): Promise<GrantPage> {
    if (query.username !== undefined) return await listByUsername(query.username, query.status)
    const { limit } = query
    const page = await grants.list({
      limit,
      ...(query.status === undefined ? {} : { status: query.status }),
      ...(query.cursor === undefined ? {} : { cursor: query.cursor }),
    })
    if (page !== null) return page
    throw new Problem('validation_failed', 'The cursor was not given out by this gateway.', {
      errors: [{ path: 'query/cursor', message: 'is not a cursor' }],
    })
  }

  async function listByUsername(username: string, status: GrantStatus | undefined): Promise<GrantPage> {
    const known = (await provisionings.read(username))?.record
    const grant = known?.status === 'done' ? (await grants.read(known.guid))?.record : undefined
    const fits = grant !== undefined && (status === undefined || grant.status === status)
    return { grants: fits ? [grant] : [], nextCursor: null }
  }

  async function importGrant(request: GrantImport): Promise<{ grant: Grant; created: boolean }> {
    const before = (await grants.read(request.guid))?.record ?? null
    const requestedScope = before?.scope ?? client.scopes.join(' ')
    request.check?.(before, request.answer.scope ?? requestedScope)
    if (request.username !== null) await claimUsername(request.username, request.guid)
    const grant = await install({
      guid: request.guid,
      origin: 'import',
      answer: request.answer,
      issuedAtMs: clock.now(),
      requestedScope,
      username: request.username,
      password: null,
    })
    if (before?.username != null && before.username !== grant.username) await forgetUsername(before)
    return { grant, created: before === null }
  }

  /** An import also settles a provisioning that was in doubt: an operator says whose name it is. */
  async function claimUsername(username: string, guid: string): Promise<void> {
    const claimed = await change(provisionings, username, (known): Provisioning | undefined => {
      const isFree = known === null || known.status === 'in_doubt' || hasLapsed(known)
      return isFree ? { status: 'done', guid } : keep
    })
    if (claimed?.record.status === 'done' && claimed.record.guid === guid) return
    const detail = `The username ${username} belongs to another grant, or is being provisioned.`
    throw new Problem('username_taken', detail, { errors: [{ path: '/username', message: 'is taken' }] })
  }

  function hasLapsed(known: Provisioning): boolean {
    return known.status === 'under_way' && known.leaseUntilMs <= clock.now()
  }

  async function forgetUsername(grant: Grant): Promise<void> {
    if (grant.username === null) return
    const known = await provisionings.read(grant.username)
    if (known?.record.status !== 'done' || known.record.guid !== grant.guid) return
    await provisionings.write(grant.username, known.revision, null)
  }

  return { install, find, read, list, import: importGrant, forgetUsername }
}

function isUsable(grant: Grant): boolean {
  return grant.status === 'active' || grant.status === 'in_doubt'
}

/** What the provider has handed out just now is not old, whatever it is. */
function isOld(by: Authorized, current: Grant): boolean {
  return by.origin !== 'authorization_code' && isRenewedSince(current, by.answer.pair)
}

/** Whether what stands is what `by` brought, in a write whose answer was lost; or has been renewed from that since. */
function descendsFrom(current: Grant, by: Authorized, replaced: readonly (Grant | null)[]): boolean {
  if (current.pair.refreshToken.equals(by.answer.pair.refreshToken)) return true
  const isLater = replaced.some(grant => current.version > (grant?.version ?? 0) + 1)
  return isLater && current.authorizedAtMs === by.issuedAtMs
}
