/**
 * HealthTap users made for users of ours. The intent, with the password, is written before the request: so a name that
 * the provider already has can be told apart from a user whose making we did not hear back about.
 */
import { Problem } from '../errors.ts'
import type { Failure, Outcome, TokenAnswer } from '../ports/provider.ts'
import type { Grant, Provisioning } from '../ports/records.ts'
import { Secret } from '../ports/secret.ts'
import { RecordUnreadable, type Stored, StoreUnavailable } from '../ports/store.ts'
import { createClaims } from './claims.ts'
import {
  type BrokerContext,
  change,
  createStoreDelay,
  grantNotFound,
  keep,
  persist,
  problemOf,
  type StoreDelay,
  takesTooLong,
  watch,
  within,
} from './context.ts'
import type { Discards } from './discards.ts'
import { authorized, isOfAuthorization } from './grant.ts'
import type { Grants, Installed } from './grants.ts'
import { resolveGuid } from './identity.ts'
import { lifetimeMs } from './policy.ts'
import type { Tokens } from './tokens.ts'

export interface ProvisioningRequest {
  readonly username: string
  /** More fields of the provider's request body. */
  readonly attributes: Readonly<Record<string, unknown>>
}

export interface Provisioned {
  readonly grant: Grant
  /** false: this user was made before. */
  readonly created: boolean
}

export interface Provisionings {
  /** Throws `username_taken`, `provisioning_in_doubt`, and what any provider request may end with. */
  provision(request: ProvisioningRequest): Promise<Provisioned>
  /** Resolves when nothing is under way any more. */
  idle(): Promise<void>
}

const PASSWORD_BYTES = 32
/** Longer than a replica takes to restore a grant that a fail-over has lost, and than an import takes. */
const APPEARS_WITHIN_MS = 20_000

type UnderWay = Provisioning & { status: 'under_way' }

interface Attempt {
  readonly request: ProvisioningRequest
  readonly mine: UnderWay
  /** `mine`, as it was written. */
  readonly standing: Stored<Provisioning>
}

/** How the provider answered. */
interface Made {
  readonly outcome: Outcome<TokenAnswer>
  readonly issuedAtMs: number
  /** The name exists, and not with our password: it is another user's. */
  readonly isTaken: boolean
}

/** A provisioning that this process is at. Several callers may wait for it. */
interface Running {
  readonly work: Promise<Provisioned>
  readonly delay: StoreDelay
  /** Whether another replica's attempt is waited for. */
  isElsewhere: boolean
}

export function createProvisionings(
  context: BrokerContext,
  grants: Grants,
  tokens: Tokens,
  discards: Discards,
): Provisionings {
  const { client, clock, policy, provider, random, slots } = context
  const { provisionings } = context.stores
  const underWay = new Map<string, Running>()
  const claims = createClaims()
  const leaseMs = 2 * policy.leaseMs

  async function provision(request: ProvisioningRequest): Promise<Provisioned> {
    const before = underWay.get(request.username)
    const running = before ?? run(request)
    const notStored = running.delay.passed.then(() => null)
    const work = () => Promise.race([running.work, notStored])
    const done = await within(context, clock.now() + leaseMs, work)
    if (done === null) throw running.isElsewhere ? underWayElsewhere() : takesTooLong()
    if (before === undefined) return done
    // This caller came later: the grant may have moved on since it was stored.
    return { grant: await tokens.read(done.grant.guid, null), created: false }
  }

  function run(request: ProvisioningRequest): Running {
    const { username } = request
    const running: Running = {
      delay: createStoreDelay(clock),
      isElsewhere: false,
      work: Promise.resolve().then(() => once(request, running).finally(() => underWay.delete(username))),
    }
    underWay.set(username, running)
    return running
  }

  async function once(request: ProvisioningRequest, running: Running): Promise<Provisioned> {
    const { username } = request
    for (;;) {
      const { mine, stored } = await claimName(username)
      running.isElsewhere = false
      if (mine !== null && stored !== null) {
        const { leaseUntilMs } = mine
        const work = () => perform({ request, mine, standing: stored }, running.delay)
        const made = await claims.during(username, leaseUntilMs, work)
        if (made !== null) return made
        continue
      }
      const known = stored?.record
      if (known?.status === 'answered') {
        const grant = await finish(username, known.grant, stored, running.delay)
        if (grant !== null) return { grant: await tokens.read(grant.guid, null), created: false }
        continue
      }
      if (known?.status === 'done') {
        const grant = await grants.find(known.guid)
        if (grant !== null && isCalled(grant, username)) {
          return { grant: await tokens.read(known.guid, null), created: false }
        }
        running.isElsewhere = true
        if (await isFree(known.guid, username)) await provisionings.write(username, stored?.revision ?? 0, null)
        continue
      }
      running.isElsewhere = true
      const untilMs = known?.status === 'under_way' ? known.leaseUntilMs : clock.now()
      await watch(context, provisionings, username, untilMs, seen => seen?.status !== 'under_way')
    }
  }

  /**
   * Whether a name is free although its record names a grant: that one is not there, or has another name. A removal is remembered
   * for minutes: its process did not live to free the name. Without one, the replica that stored the grant may be about to restore
   * what a fail-over has lost, or an import that has claimed the name is about to store its grant.
   */
  async function isFree(guid: string, username: string): Promise<boolean> {
    const standing = await context.stores.grants.standing(guid)
    if (standing !== null && standing.record === null) return true
    const isTheirs = (grant: Grant | null) => grant !== null && isCalled(grant, username)
    const untilMs = clock.now() + APPEARS_WITHIN_MS
    const seen = await watch(context, context.stores.grants, guid, untilMs, isTheirs)
    return !isTheirs(seen?.record ?? null)
  }

  /** Claims the name for this process, so that one user is made. `mine` null: the user is made, or another replica is at it. */
  async function claimName(username: string): Promise<{ mine: UnderWay | null; stored: Stored<Provisioning> | null }> {
    let mine: UnderWay | null = null
    const drop = () => {
      if (mine !== null) claims.drop(username, mine.leaseUntilMs)
    }
    try {
      const stored = await change(provisionings, username, known => {
        drop()
        mine = takeOver(username, known)
        if (mine !== null) claims.add(username, mine.leaseUntilMs)
        return mine ?? keep
      })
      return { mine, stored }
    } catch (error) {
      drop()
      throw error
    }
  }

  function takeOver(username: string, known: Provisioning | null): UnderWay | null {
    const mine = { status: 'under_way', owner: context.owner, leaseUntilMs: clock.now() + leaseMs } as const
    if (known === null) return { ...mine, password: new Secret(random.token(PASSWORD_BYTES)), inDoubt: false }
    if (known.status === 'in_doubt') return { ...mine, password: known.password, inDoubt: true }
    if (known.status !== 'under_way') return null
    // A claim of this process that it does not act on: no request was sent for it.
    const isUnused = known.owner === context.owner && !claims.has(username, known.leaseUntilMs)
    if (isUnused) return { ...mine, password: known.password, inDoubt: known.inDoubt }
    return known.leaseUntilMs <= clock.now() ? { ...mine, password: known.password, inDoubt: true } : null
  }

  /** null: another replica has settled the name meanwhile. */
  async function perform(attempt: Attempt, delay: StoreDelay): Promise<Provisioned | null> {
    const { mine, standing } = attempt
    const { username } = attempt.request
    const { issuedAtMs, outcome, isTaken } = await makeUser(attempt)
    if (outcome.kind !== 'ok') {
      const problem = await refused(attempt, outcome, isTaken, delay)
      if (problem === null) return null
      throw problem
    }

    const { password } = mine
    const resolved = await resolveGuid(context, outcome.value, null)
    if (resolved.guid === null) {
      await settleOwn(attempt, { status: 'in_doubt', password }, delay)
      // The next request signs in again, and brings another pair.
      if (client.passwordGrant) giveBack(outcome.value, issuedAtMs)
      const detail = 'The user was made, and neither the answer nor the identity URL says under which guid.'
      throw new Problem('guid_unresolved', detail, resolved.upstream === null ? {} : { upstream: resolved.upstream })
    }
    const first = firstGrant(resolved.guid, outcome.value, issuedAtMs, username, password)
    // Nothing stands there any more: another replica has settled the name, and its grant was deleted since.
    // Each claim of a free name makes a password of its own, and a claim that is taken over keeps it.
    const isOpen = (known: Provisioning | null) =>
      (known?.status === 'under_way' || known?.status === 'in_doubt') && known.password.equals(password)
    const [answered, seen] = await Promise.all([
      settle(username, known => (isOpen(known) ? { status: 'answered', grant: first } : keep), standing, delay),
      context.stores.grants.standing(first.guid).catch(() => undefined),
    ])
    if (answered === null || !isAnswerOf(answered.record, first)) {
      await discardUnlessStored(first)
      return null
    }
    const grant = await finish(username, first, answered, delay, seen)
    return grant === null ? null : { grant: await tokens.refreshedIfShort(grant), created: true }
  }

  async function makeUser({ mine, request }: Attempt): Promise<Made> {
    const { attributes, username } = request
    const { password } = mine
    const made = {
      issuedAtMs: clock.now(),
      outcome: await slots.run('reader', () => provider.createUser({ username, password, attributes })),
      isTaken: false,
    }
    const { kind } = made.outcome
    const isDoubtful = kind === 'unknown' || (kind === 'conflict' && mine.inDoubt)
    if (!client.passwordGrant || !isDoubtful) return made
    // If the user was made by us, it was with this password (RFC 6749, section 4.3).
    const issuedAtMs = clock.now()
    const outcome = await slots.run('reader', () => provider.authenticate({ username, password }))
    if (outcome.kind === 'ok') return { outcome, issuedAtMs, isTaken: false }
    return { ...made, isTaken: kind === 'conflict' && outcome.kind === 'rejected' }
  }

  /**
   * Stores the grant of an answered provisioning, and then the name. Every replica that finds the answer may do so: the same pair
   * is stored once. null: the grant was stored before and deleted since, so the name is free again. Throws `grant_not_found` while
   * the grant is being revoked: the name is freed when that is over.
   */
  async function finish(
    username: string,
    first: Grant,
    answered: Stored<Provisioning> | null,
    delay: StoreDelay,
    seen?: Stored<Grant | null> | null,
  ): Promise<Grant | null> {
    const { grant } = await install(username, first, delay, seen)
    if (grant?.status === 'revoking') throw grantNotFound(grant.guid)
    const next: Provisioning | null = grant === null ? null : { status: 'done', guid: grant.guid }
    await settle(username, known => (isAnswerOf(known, first) ? next : keep), answered, delay)
    return grant
  }

  /**
   * Another replica has settled the name. Either it brought a pair of its own, and this one is revoked; or it stored this one, from a
   * write of ours whose answer was lost. Where the store does not say which, nothing is revoked: the pair may be in use.
   */
  async function discardUnlessStored(first: Grant): Promise<void> {
    const standing = await context.stores.grants.read(first.guid).catch(error => {
      if (error instanceof StoreUnavailable || error instanceof RecordUnreadable) return undefined
      throw error
    })
    if (standing === undefined) return
    if (standing !== null && isOfAuthorization(standing.record, first.pair)) return
    discards.discard(first.guid, first.pair, first.accessTokenExpiresAtMs)
  }

  function giveBack(answer: TokenAnswer, issuedAtMs: number): void {
    discards.discard('(unresolved)', answer.pair, issuedAtMs + lifetimeMs(policy, answer))
  }

  function firstGrant(guid: string, answer: TokenAnswer, issuedAtMs: number, username: string, password: Secret) {
    const by = { guid, origin: 'provisioning', answer, issuedAtMs, requestedScope: '', username, password } as const
    return authorized(policy, null, by, clock.now())
  }

  /** `seen`: as for `grants.install`. */
  async function install(
    username: string,
    answered: Grant,
    delay: StoreDelay,
    seen?: Stored<Grant | null> | null,
  ): Promise<Installed> {
    const secondsUntil = (atMs: number) => (atMs - answered.issuedAtMs) / 1000
    const { accessTokenExpiresAtMs, guid, issuedAtMs, pair, password, refreshTokenExpiresAtMs, scope } = answered
    const answer = {
      pair,
      expiresInSeconds: secondsUntil(accessTokenExpiresAtMs),
      refreshTokenExpiresInSeconds: refreshTokenExpiresAtMs === null ? null : secondsUntil(refreshTokenExpiresAtMs),
      scope,
      guid,
    }
    const by = { guid, origin: 'provisioning', answer, issuedAtMs, requestedScope: scope, username, password } as const
    return await grants.install(by, { seen, delay })
  }

  /** null: another replica has taken the name over meanwhile. */
  async function refused(
    attempt: Attempt,
    failure: Failure,
    isTaken: boolean,
    delay: StoreDelay,
  ): Promise<Problem | null> {
    const { mine } = attempt
    const { upstream } = failure
    const isDoubtful = !isTaken && (mine.inDoubt || failure.kind === 'unknown')
    const isOurs = await settleOwn(attempt, isDoubtful ? { status: 'in_doubt', password: mine.password } : null, delay)
    if (!isOurs) return null
    if (failure.kind === 'unknown' || (failure.kind === 'conflict' && isDoubtful)) {
      const detail =
        "HealthTap's answer was lost, so the user may or may not be made. Repeat the request, or import the grant with PUT /v1/grants/{guid} and this username."
      return new Problem('provisioning_in_doubt', detail, { upstream })
    }
    if (failure.kind === 'conflict') {
      const detail =
        'HealthTap already has a user of this name, and the gateway holds no grant and no password for it. Use another username, or see docs/operations.md, "A provisioned person has to come back".'
      return new Problem('username_taken', detail, { upstream })
    }
    return problemOf(failure, 'the new user')
  }

  /** Ends this process's attempt. False: its lease is over and another replica has taken the name over. */
  async function settleOwn({ mine, request, standing }: Attempt, next: Provisioning | null, delay: StoreDelay) {
    let isOurs = false
    await settle(
      request.username,
      known => {
        isOurs = known?.status === 'under_way' && known.owner === mine.owner && known.leaseUntilMs === mine.leaseUntilMs
        return isOurs ? next : keep
      },
      standing,
      delay,
    )
    return isOurs
  }

  async function settle(
    username: string,
    decide: (known: Provisioning | null) => Provisioning | null | undefined,
    standing: Stored<Provisioning> | null,
    delay: StoreDelay,
  ) {
    let known: Stored<Provisioning> | null | undefined = standing
    return await persist(
      context,
      () => change(provisionings, username, decide, known),
      async () => {
        // A write whose answer was lost may have been done.
        known = undefined
        delay.begin()
      },
    )
  }

  return {
    provision,
    async idle() {
      while (underWay.size > 0) await Promise.allSettled([...underWay.values()].map(({ work }) => work))
    },
  }
}

function isAnswerOf(known: Provisioning | null, first: Grant): boolean {
  return known?.status === 'answered' && known.grant.pair.refreshToken.equals(first.pair.refreshToken)
}

function underWayElsewhere(): Problem {
  const detail =
    "Another replica's attempt to make this user has no outcome yet. It may have stopped: the next request after its time is up goes on. Repeat this request."
  return new Problem('provider_unavailable', detail, { retryAfterSeconds: 2 })
}

/** A grant without a username may belong to any: an import has claimed the name for it. */
function isCalled(grant: Grant, username: string): boolean {
  return grant.username === null || grant.username === username
}
