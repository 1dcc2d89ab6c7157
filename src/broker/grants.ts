import { Problem } from '../errors.ts'
import type { TokenAnswer } from '../ports/provider.ts'
import type { Grant, GrantStatus, Provisioning } from '../ports/records.ts'
import {
  type GrantPage,
  type GrantStore,
  IMPORT_RETIRED_FOR_MS,
  type PairMarks,
  RETIRED_FOR_MS,
  type Stored,
} from '../ports/store.ts'
import { type BrokerContext, change, existing, keep, PairRetired, persist, type StoreDelay } from './context.ts'
import type { Discards } from './discards.ts'
import {
  type Authorized,
  authorized,
  fingerprint,
  importableFingerprints,
  isOfAuthorization,
  isOutranked,
} from './grant.ts'
import type { Leftovers } from './leftovers.ts'
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

/**
 * `stored`: it stands now. `standing`: nothing was changed, since its authorization stands already, or a later one does.
 * `superseded`: its pair is of an authorization that was replaced or revoked. `grant`: what stands instead, maybe `revoking`; null: nothing.
 */
export type Installed =
  | { readonly kind: 'stored' | 'standing'; readonly grant: Grant }
  | { readonly kind: 'superseded'; readonly grant: Grant | null }

export interface Grants {
  /**
   * Stores what an authorization brought. The same pair again changes nothing, whichever replica sends it. The pair that it
   * replaces becomes a leftover. Does not give up. `seen`: what the store said a moment ago that stands there; absent: it is asked first.
   * `delay`: begins when the store does not take it.
   */
  install(
    by: Authorized,
    more?: { seen?: Stored<Grant | null> | null | undefined; delay?: StoreDelay },
  ): Promise<Installed>
  /** A grant, whatever its status; null: there is none. */
  find(guid: string): Promise<Grant | null>
  /** The same. Throws `grant_not_found`. */
  read(guid: string): Promise<Grant>
  /** Throws `validation_failed` for a cursor that was not given out here. */
  list(query: GrantQuery): Promise<GrantPage>
  /**
   * Takes over a grant from elsewhere. Throws `username_taken` where the username belongs to another grant, `pair_superseded` where a
   * later authorization has replaced the pair, or its grant was revoked in the last 30 days.
   */
  import(request: GrantImport): Promise<{ grant: Grant; created: boolean }>
  /** The grant is gone: its username is free again. */
  forgetUsername(grant: Grant): Promise<void>
}

export function createGrants(context: BrokerContext, discards: Discards, leftovers: Leftovers, recent: Recent): Grants {
  const { clock, client, events, policy } = context
  const { grants, provisionings } = context.stores

  async function install(by: Authorized, { seen, delay }: Parameters<Grants['install']>[1] = {}): Promise<Installed> {
    // What stood there may have moved on: whoever decides to leave it has to look at it again.
    let known = seen?.record == null ? seen : undefined
    let triedOn: number | null = null
    let kind = 'stored' as Installed['kind']
    let marks: PairMarks = {}
    /** Revisions on which a write may have been done although its answer did not come. */
    const uncertain = new Set<number>()
    const marking: GrantStore = {
      ...grants,
      write: (guid, revision, next) => grants.write(guid, revision, next, marks),
    }

    function decide(current: Grant | null, revision: number): Grant | null | undefined {
      const isRepeat = uncertain.size > 0
      const isTheSame = current !== null && isOfAuthorization(current, by.answer.pair)
      if (isTheSame && isRepeat) {
        // A write of ours was done, and has perhaps been refreshed since.
        kind = 'stored'
        return keep
      }
      // What the provider has handed out just now is good, whatever it is. Everything else may be old.
      if (isTheSame && by.origin !== 'authorization_code') {
        kind = current.status === 'revoking' ? 'superseded' : 'standing'
        return kind === 'standing' ? named(current, by.username) : keep
      }
      // What is ended or being deleted does not stand in the way of a person who has authorized; unless ours was there before that.
      if (current !== null && isOutranked(current, by.issuedAtMs, clock.now()) && (isUsable(current) || isRepeat)) {
        // An import is then refused, and its pair left alone: it was not ours, and by the caller's clock it may be the later one.
        kind = by.origin === 'import' ? 'superseded' : 'standing'
        return keep
      }
      kind = 'stored'
      triedOn = revision
      marks = marksFor(by, current, isRepeat)
      return authorized(policy, current, by, clock.now())
    }

    const write = async () =>
      change(marking, by.guid, decide, known === undefined ? await grants.standing(by.guid) : known)
    const noteTry = async () => {
      known = undefined
      delay?.begin()
      if (triedOn !== null) uncertain.add(triedOn)
    }
    const stored = await persist(context, write, noteTry).catch(error => {
      if (!(error instanceof PairRetired)) throw error
      kind = 'superseded'
      return null
    })
    const standing = stored?.record ?? null
    if (kind === 'superseded') return await superseded(by, standing)
    if (standing === null) throw new Error('a grant that was stored is not there')
    if (kind === 'stored') {
      recent.remember(standing)
      leftovers.endSoon(standing)
      events.emit({ type: 'grant.stored', guid: by.guid, version: standing.version, origin: by.origin })
    } else if (!isOfAuthorization(standing, by.answer.pair)) {
      giveBack(by, standing)
    }
    return { kind, grant: standing }
  }

  /** The first and the latest pair of an authorization that is replaced never come back. */
  function marksFor(by: Authorized, replaced: Grant | null, isRepeat: boolean): PairMarks {
    const own = fingerprint(by.answer.pair.refreshToken)
    const retires = (replaced === null ? [] : importableFingerprints(replaced)).filter(each => each !== own)
    // The provider may hand out a pair again that was replaced here. But a repeat of our own write must not undo a deletion.
    const mayBeOld = by.origin !== 'authorization_code' || isRepeat
    const retiresForMs = replaced?.origin === 'import' ? IMPORT_RETIRED_FOR_MS : RETIRED_FOR_MS
    return mayBeOld ? { retires, retiresForMs, unlessRetired: own } : { retires, retiresForMs }
  }

  /** The pair is revoked, in case it is alive: its authorization is over. */
  async function superseded(by: Authorized, seen: Grant | null): Promise<Installed> {
    const standing = seen ?? (await persist(context, () => grants.read(by.guid)))?.record ?? null
    if (by.origin !== 'import') giveBack(by, standing)
    return { kind: 'superseded', grant: standing }
  }

  function named(grant: Grant, username: string | null): Grant | undefined {
    const isKnown = username === null || username === grant.username
    return isKnown ? keep : { ...grant, username, updatedAtMs: clock.now() }
  }

  /** What this brought is not needed, and ends at the provider. */
  function giveBack(by: Authorized, standing: Grant | null): void {
    const { pair } = by.answer
    if (standing !== null && (isOfAuthorization(standing, pair) || pair.accessToken.equals(standing.pair.accessToken)))
      return
    const { accessTokenExpiresAtMs } = authorized(policy, null, by, clock.now())
    discards.discard(by.guid, pair, accessTokenExpiresAtMs)
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
    const isTheirs = grant?.username == null || grant.username === username
    const fits = grant !== undefined && isTheirs && (status === undefined || grant.status === status)
    return { grants: fits ? [grant] : [], nextCursor: null }
  }

  async function importGrant(request: GrantImport): Promise<{ grant: Grant; created: boolean }> {
    // `expires_in` counts from here, however long the store takes.
    const issuedAtMs = clock.now()
    const before = (await grants.read(request.guid))?.record ?? null
    const requestedScope = before?.scope ?? client.scopes.join(' ')
    request.check?.(before, request.answer.scope ?? requestedScope)
    const claim = request.username === null ? null : await claimUsername(request.username, request.guid)
    const installed = await install({
      guid: request.guid,
      origin: 'import',
      answer: request.answer,
      issuedAtMs,
      requestedScope,
      username: request.username,
      password: null,
    })
    if (installed.kind === 'superseded') {
      if (installed.grant?.username !== request.username) await claim?.undo()
      throw pairSuperseded(request.guid, installed.grant)
    }
    const { grant } = installed
    if (before?.username != null && before.username !== grant.username) await forgetUsername(before)
    return { grant, created: before === null || before.status === 'revoking' }
  }

  /**
   * An import also settles a provisioning that was in doubt: an operator says whose name it is. `undo` does nothing where another
   * import has claimed the name since, or did before.
   */
  async function claimUsername(username: string, guid: string): Promise<{ undo(): Promise<void> }> {
    let before: Provisioning | null = null
    const claimed = await change(provisionings, username, (known): Provisioning | undefined => {
      before = known
      const isFree = known === null || known.status === 'in_doubt' || hasLapsed(known)
      // Written anew also where it is the same: each claim has a revision of its own.
      const isSame = known?.status === 'done' && known.guid === guid
      return isFree || isSame ? { status: 'done', guid } : keep
    })
    if (claimed?.record.status === 'done' && claimed.record.guid === guid) {
      const isOurs = (known: Provisioning | null) => known?.status === 'done' && known.guid === guid
      const undo = async () => {
        if (isOurs(before)) return
        const decide = (known: Provisioning | null, revision: number) =>
          revision === claimed.revision && isOurs(known) ? before : keep
        await persist(context, () => change(provisionings, username, decide))
      }
      return { undo }
    }
    const detail = `The username ${username} belongs to another grant, or is being provisioned.`
    throw new Problem('username_taken', detail, { errors: [{ path: '/username', message: 'is taken' }] })
  }

  function hasLapsed(known: Provisioning): boolean {
    return known.status === 'under_way' && known.leaseUntilMs <= clock.now()
  }

  async function forgetUsername(grant: Grant): Promise<void> {
    if (grant.username === null) return
    const known = await provisionings.read(grant.username)
    if (known === null || guidOf(known.record) !== grant.guid) return
    await provisionings.write(grant.username, known.revision, null)
  }

  return { install, find, read, list, import: importGrant, forgetUsername }
}

function isUsable(grant: Grant): boolean {
  return grant.status === 'active' || grant.status === 'in_doubt'
}

/** Whose grant the provisioning has made; null: it has made none yet. */
function guidOf(provisioning: Provisioning): string | null {
  if (provisioning.status === 'done') return provisioning.guid
  return provisioning.status === 'answered' ? provisioning.grant.guid : null
}

function pairSuperseded(guid: string, standing: Grant | null): Problem {
  const detail =
    standing === null || standing.status === 'revoking'
      ? `The grant of ${guid} was revoked, and these tokens with it. Nothing was changed. To connect this person again, let them authorize.`
      : `A later authorization of ${guid} has replaced these tokens. Nothing was changed, and the later authorization stands.`
  return new Problem('pair_superseded', detail)
}
