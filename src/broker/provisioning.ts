/**
 * HealthTap users made for users of ours. The intent, with the password, is written before the request: so a name that
 * the provider already has can be told apart from a user whose making we did not hear back about.
 */
import { Problem } from '../errors.ts'
import type { Failure, TokenAnswer } from '../ports/provider.ts'
import type { Grant, Provisioning } from '../ports/records.ts'
import { Secret } from '../ports/secret.ts'
import type { Stored } from '../ports/store.ts'
import { type BrokerContext, change, keep, persist, problemOf, watch, within } from './context.ts'
import { authorized } from './grant.ts'
import type { Grants } from './grants.ts'
import { resolveGuid } from './identity.ts'
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

type UnderWay = Provisioning & { status: 'under_way' }

interface Attempt {
  readonly request: ProvisioningRequest
  readonly mine: UnderWay
  /** `mine`, as it was written. */
  readonly standing: Stored<Provisioning>
}

export function createProvisionings(context: BrokerContext, grants: Grants, tokens: Tokens): Provisionings {
  const { clock, policy, provider, random, slots } = context
  const { provisionings } = context.stores
  const underWay = new Map<string, Promise<Provisioned>>()
  const leaseMs = 2 * policy.leaseMs

  async function provision(request: ProvisioningRequest): Promise<Provisioned> {
    const { username } = request
    const running = underWay.get(username)
    const work = running ?? run(request)
    const done = await within(context, clock.now() + leaseMs, () => work)
    if (done === null) {
      const detail = 'The user is made and could not be stored yet. It is tried again: repeat this request.'
      throw new Problem('store_unavailable', detail, { retryAfterSeconds: 2 })
    }
    return running === undefined ? done : { grant: done.grant, created: false }
  }

  function run(request: ProvisioningRequest): Promise<Provisioned> {
    const work = once(request).finally(() => underWay.delete(request.username))
    underWay.set(request.username, work)
    return work
  }

  async function once(request: ProvisioningRequest): Promise<Provisioned> {
    const { username } = request
    for (;;) {
      let mine: UnderWay | null = null
      const stored = await change(provisionings, username, known => {
        mine = takeOver(known)
        return mine ?? keep
      })
      if (mine !== null && stored !== null) return await perform({ request, mine, standing: stored })
      const known = stored?.record
      if (known?.status === 'answered') {
        const { guid } = await install(username, known.grant)
        await settle(username, { status: 'done', guid }, stored)
        return { grant: await tokens.read(guid, null), created: false }
      }
      if (known?.status === 'done') {
        if ((await grants.find(known.guid)) !== null) {
          return { grant: await tokens.read(known.guid, null), created: false }
        }
        // The grant was deleted by a process that did not live to free its name.
        await provisionings.write(username, stored?.revision ?? 0, null)
        continue
      }
      const untilMs = known?.status === 'under_way' ? known.leaseUntilMs : clock.now()
      await watch(context, provisionings, username, untilMs, seen => seen?.status !== 'under_way')
    }
  }

  /** The attempt that may be made now; null: there is nothing to be made, or somebody else is at it. */
  function takeOver(known: Provisioning | null): UnderWay | null {
    const mine = { status: 'under_way', owner: context.owner, leaseUntilMs: clock.now() + leaseMs } as const
    if (known === null) return { ...mine, password: new Secret(random.token(PASSWORD_BYTES)), inDoubt: false }
    if (known.status === 'in_doubt') return { ...mine, password: known.password, inDoubt: true }
    const isAbandoned = known.status === 'under_way' && known.leaseUntilMs <= clock.now()
    return isAbandoned ? { ...mine, password: known.password, inDoubt: true } : null
  }

  async function perform(attempt: Attempt): Promise<Provisioned> {
    const { mine, standing } = attempt
    const { username, attributes } = attempt.request
    const { password } = mine
    const issuedAtMs = clock.now()
    const outcome = await slots.run('reader', () => provider.createUser({ username, password, attributes }))
    if (outcome.kind !== 'ok') throw await refused(attempt, outcome)

    const resolved = await resolveGuid(context, outcome.value, null)
    if (resolved.guid === null) {
      await settle(username, { status: 'in_doubt', password }, standing)
      const detail = 'The user was made, and neither the answer nor the identity URL says under which guid.'
      throw new Problem('guid_unresolved', detail, resolved.upstream === null ? {} : { upstream: resolved.upstream })
    }
    const first = firstGrant(resolved.guid, outcome.value, issuedAtMs, username, password)
    const [answered, seen] = await Promise.all([
      settle(username, { status: 'answered', grant: first }, standing),
      context.stores.grants.standing(first.guid).catch(() => undefined),
    ])
    const grant = await install(username, first, seen)
    await settle(username, { status: 'done', guid: grant.guid }, answered)
    return { grant, created: true }
  }

  function firstGrant(guid: string, answer: TokenAnswer, issuedAtMs: number, username: string, password: Secret) {
    const by = { guid, origin: 'provisioning', answer, issuedAtMs, requestedScope: '', username, password } as const
    return authorized(policy, null, by, clock.now())
  }

  /** `seen`: as for `grants.install`. */
  async function install(username: string, answered: Grant, seen?: Stored<Grant | null> | null): Promise<Grant> {
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
    return await grants.install(by, seen)
  }

  async function refused({ mine, request, standing }: Attempt, failure: Failure): Promise<Problem> {
    const { upstream } = failure
    const isDoubtful = mine.inDoubt || failure.kind === 'unknown'
    await settle(request.username, isDoubtful ? { status: 'in_doubt', password: mine.password } : null, standing)
    if (failure.kind === 'unknown' || (failure.kind === 'conflict' && mine.inDoubt)) {
      const detail =
        "HealthTap's answer was lost, so the user may or may not be made. Repeat the request, or import the grant with PUT /v1/grants/{guid} and this username."
      return new Problem('provisioning_in_doubt', detail, { upstream })
    }
    if (failure.kind === 'conflict') {
      const detail = 'HealthTap already has a user of this name, and the gateway does not hold a grant for it.'
      return new Problem('username_taken', detail, { upstream })
    }
    return problemOf(failure, 'the new user')
  }

  async function settle(username: string, next: Provisioning | null, standing: Stored<Provisioning> | null) {
    return await persist(context, () => change(provisionings, username, () => next, standing))
  }

  return {
    provision,
    async idle() {
      while (underWay.size > 0) await Promise.allSettled(underWay.values())
    },
  }
}
