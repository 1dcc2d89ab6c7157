/**
 * The code exchange (RFC 6749, section 4.1.3). A code is sent once: whoever repeats it, in this process or another,
 * waits for that one exchange and is told what came of it.
 */
import { hash } from 'node:crypto'
import { Problem } from '../errors.ts'
import type { Failure, TokenAnswer } from '../ports/provider.ts'
import type { Authorization, Exchange, Grant } from '../ports/records.ts'
import type { Secret } from '../ports/secret.ts'
import { RecordUnreadable, type Stored } from '../ports/store.ts'
import { type Authorizations, checkRedirectUri, OUTCOME_LIFE_MS } from './authorizations.ts'
import { createClaims } from './claims.ts'
import {
  type BrokerContext,
  change,
  createStoreDelay,
  keep,
  persist,
  problemOf,
  recordUnreadable,
  type StoreDelay,
  takesTooLong,
  usable,
  watch,
  within,
} from './context.ts'
import type { Discards } from './discards.ts'
import type { Grants } from './grants.ts'
import { type Resolved, resolveGuid } from './identity.ts'
import { lifetimeMs } from './policy.ts'
import type { Tokens } from './tokens.ts'

export interface ExchangeRequest {
  readonly code: Secret
  readonly redirectUri: string
  readonly state?: string | undefined
  /** Whose grant it is, where the provider does not say; who it must be, where it does. */
  readonly guid?: string | undefined
  /** Throws where a grant of this scope may not be had. Absent: any may. */
  readonly checkScope?: (scope: string) => void
}

export interface Exchanged {
  readonly grant: Grant
  /** false: this code was exchanged before. */
  readonly created: boolean
}

export interface Exchanges {
  /** Throws the problems of `POST /v1/grants`. */
  exchange(request: ExchangeRequest): Promise<Exchanged>
  /** Resolves when nothing is under way any more. */
  idle(): Promise<void>
}

interface Attempt {
  readonly key: string
  readonly request: ExchangeRequest
  readonly authorization: Authorization | null
  /** What says that this process is at it, as it was written. */
  readonly standing: Stored<Exchange>
  readonly delay: StoreDelay
}

/** An exchange that this process is at. Several callers may wait for it. */
interface Running {
  readonly work: Promise<Exchanged>
  readonly delay: StoreDelay
  /** Whether another replica's exchange of the code is waited for. */
  isElsewhere: boolean
}

export function createExchanges(
  context: BrokerContext,
  authorizations: Authorizations,
  grants: Grants,
  tokens: Tokens,
  discards: Discards,
): Exchanges {
  const { clock, client, policy, provider, slots } = context
  const { exchanges } = context.stores
  /** By code and state: the same code with another state is another's, and waits for what the store says. */
  const underWay = new Map<string, Running>()
  const claims = createClaims()
  /** An exchange may be followed by the question whose tokens these are. */
  const leaseMs = 2 * policy.leaseMs

  async function exchange(request: ExchangeRequest): Promise<Exchanged> {
    checkRedirectUri(client.redirectUris, request.redirectUri)
    const key = exchangeKey(request)
    const authorization = await claimState(request, key)
    const mine = `${key} ${authorization?.state ?? ''}`
    const before = underWay.get(mine)
    const running = before ?? run(mine, key, request, authorization)
    const notStored = running.delay.passed.then(() => null)
    const done = await within(context, clock.now() + leaseMs, () => Promise.race([running.work, notStored]))
    if (done === null) throw running.isElsewhere ? underWayElsewhere() : takesTooLong()
    if (request.guid !== undefined && request.guid !== done.grant.guid) throw mismatch()
    if (before === undefined) return done
    // This caller came later: the grant may have moved on since it was stored.
    return { grant: await tokens.read(done.grant.guid, null), created: false }
  }

  function run(mine: string, key: string, request: ExchangeRequest, authorization: Authorization | null): Running {
    const running: Running = {
      delay: createStoreDelay(clock),
      isElsewhere: false,
      work: Promise.resolve()
        .then(() => once(key, request, authorization, running))
        .finally(() => underWay.delete(mine)),
    }
    underWay.set(mine, running)
    return running
  }

  /**
   * A code belongs to the authorization it was sent with. Put to another one it is what it would be at HealthTap: used. Else
   * whoever gets hold of a used code could be answered somebody else's token with a state of their own (RFC 9700, section 4.5).
   */
  async function checkSentWith(state: string | null, authorization: Authorization | null): Promise<void> {
    if (state === (authorization?.state ?? null)) return
    const problem = new Problem('authorization_code_rejected', 'This code was used already, with another state.')
    if (authorization !== null) await authorizations.conclude(authorization.state, { error: problem.code })
    throw problem
  }

  async function claimState(request: ExchangeRequest, key: string): Promise<Authorization | null> {
    if (request.state !== undefined) return await authorizations.claim(request.state, request.redirectUri, key)
    if (!client.requireState) return null
    const detail = 'This gateway takes codes only with the state of an authorization that was begun here.'
    throw new Problem('state_invalid', detail, { errors: [{ path: '/state', message: 'is required' }] })
  }

  async function once(
    key: string,
    request: ExchangeRequest,
    authorization: Authorization | null,
    running: Running,
  ): Promise<Exchanged> {
    const { delay } = running
    for (;;) {
      const { claim, standing } = await claimCode(key, authorization?.state ?? null)
      running.isElsewhere = false
      if (claim !== null && standing !== null) {
        return await claims.during(key, claim, () => perform({ key, request, authorization, standing, delay }))
      }
      const known = standing?.record
      if (known !== undefined && known.status !== 'under_way') {
        await checkSentWith(known.state, authorization)
        if (known.status === 'done') return await repeated(known.guid, authorization)
        throw new Problem(known.code, known.detail)
      }
      // Also an exchange with another state: HealthTap may refuse that, and then the code is still good here.
      running.isElsewhere = true
      const untilMs = known?.leaseUntilMs ?? clock.now()
      await watch(context, exchanges, key, untilMs, seen => seen?.status !== 'under_way')
    }
  }

  /**
   * Claims the code for this process, so that it is sent once. `claim`: until when; null: it is claimed already, or its outcome is
   * known.
   */
  async function claimCode(
    key: string,
    state: string | null,
  ): Promise<{ claim: number | null; standing: Stored<Exchange> | null }> {
    let claim: number | null = null
    const drop = () => {
      if (claim !== null) claims.drop(key, claim)
      claim = null
    }
    // Looked at first: a store that hangs carries a write out when it goes on, and then no process would act on it.
    const decide = (known: Exchange | null): Exchange | undefined => {
      const nowMs = clock.now()
      drop()
      if (known === null || isUnused(known, key)) {
        const leaseUntilMs = nowMs + leaseMs
        claim = leaseUntilMs
        claims.add(key, claim)
        return { status: 'under_way', state, owner: context.owner, leaseUntilMs, expiresAtMs: nowMs + OUTCOME_LIFE_MS }
      }
      if (known.status !== 'under_way' || known.leaseUntilMs > nowMs) return keep
      const { state: sentWith, expiresAtMs, leaseUntilMs, owner } = known
      return { ...outcomeUnknown, status: 'failed', state: sentWith, expiresAtMs, abandoned: { leaseUntilMs, owner } }
    }
    try {
      const standing = await change(exchanges, key, decide)
      return { claim, standing }
    } catch (error) {
      drop()
      throw error
    }
  }

  /** A claim of this process that it does not act on: no request was sent for it. */
  function isUnused(known: Exchange, key: string): boolean {
    const isOurs = known.status === 'under_way' && known.owner === context.owner
    return isOurs && !claims.has(key, known.leaseUntilMs)
  }

  async function repeated(guid: string, authorization: Authorization | null): Promise<Exchanged> {
    // Whoever has exchanged it may not have lived to say so.
    if (authorization?.status === 'pending') await authorizations.conclude(authorization.state, { guid })
    return { grant: await tokens.read(guid, null), created: false }
  }

  async function perform(attempt: Attempt): Promise<Exchanged> {
    const issuedAtMs = clock.now()
    const { code, redirectUri } = attempt.request
    const codeVerifier = attempt.authorization?.codeVerifier ?? null
    const outcome = await slots.run('reader', () => provider.exchange({ code, redirectUri, codeVerifier }))
    if (outcome.kind !== 'ok') throw await refused(attempt, outcome)
    try {
      return await install(attempt, outcome.value, issuedAtMs)
    } catch (error) {
      if (!(error instanceof RecordUnreadable) || error.guid === null) throw error
      // Not given back: it may be the very pair in that record.
      throw await turnedAway(attempt, recordUnreadable(error))
    }
  }

  /** Stores what the code has brought, for whom it is. */
  async function install(attempt: Attempt, answer: TokenAnswer, issuedAtMs: number): Promise<Exchanged> {
    const { authorization, request } = attempt
    const expected = [authorization?.expectedGuid, request.guid].filter(guid => guid != null)
    const resolved = await resolveGuid(context, answer, request.guid ?? null)
    const requestedScope = authorization?.scope ?? client.scopes.join(' ')
    const problem =
      whyNotTheirs(resolved, expected) ?? whyNotOfScope(request.checkScope, answer.scope ?? requestedScope)
    if (problem !== null || resolved.guid === null) {
      const isHeld = resolved.guid !== null && (await mayBeHeld(resolved.guid, answer))
      if (!isHeld) giveBack(answer, issuedAtMs)
      throw await turnedAway(attempt, problem ?? guidUnresolved(resolved))
    }

    const by = {
      guid: resolved.guid,
      origin: 'authorization_code',
      answer,
      issuedAtMs,
      requestedScope,
      username: null,
      password: null,
    } as const
    const installed = await grants.install(by, { delay: attempt.delay })
    const grant = await usableOr(attempt, installed.grant, by.guid)
    await ended(attempt, { status: 'done', guid: grant.guid }, { guid: grant.guid })
    return { grant: await tokens.refreshedIfShort(grant), created: true }
  }

  /** A grant that was deleted or has ended since: the code is spent all the same, and must not be sent again. */
  async function usableOr(attempt: Attempt, grant: Grant | null, guid: string): Promise<Grant> {
    try {
      return usable(grant, guid)
    } catch (error) {
      if (error instanceof Problem) throw await turnedAway(attempt, error)
      throw error
    }
  }

  /** What the provider's no means: the code is worthless, or still good, or nobody knows. */
  async function refused(attempt: Attempt, failure: Failure): Promise<Problem> {
    const isRejected = failure.kind === 'rejected' || failure.upstream.error === 'invalid_request'
    if (isRejected) {
      const detail =
        'HealthTap refused the authorization code: it is unknown, used, expired, or for another redirect_uri.'
      const problem = new Problem('authorization_code_rejected', detail, { upstream: failure.upstream })
      await ended(attempt, null, { error: problem.code })
      return problem
    }
    const problem = problemOf(failure, 'the code exchange')
    if (failure.kind === 'unknown') return await turnedAway(attempt, problem)
    await remember(attempt, null)
    return problem
  }

  /** Whether a grant has this very pair: a provider may hand it out again. */
  async function mayBeHeld(guid: string, answer: TokenAnswer): Promise<boolean> {
    try {
      const held = (await context.stores.grants.read(guid))?.record
      return held?.pair.refreshToken.equals(answer.pair.refreshToken) ?? false
    } catch (error) {
      if (error instanceof RecordUnreadable) return true
      throw error
    }
  }

  /** Tokens came, and nobody may have them. */
  function giveBack(answer: TokenAnswer, issuedAtMs: number): void {
    discards.discard(answer.guid ?? '(unresolved)', answer.pair, issuedAtMs + lifetimeMs(policy, answer))
  }

  async function turnedAway(attempt: Attempt, problem: Problem): Promise<Problem> {
    await ended(attempt, { status: 'failed', code: problem.code, detail: problem.message }, { error: problem.code })
    return problem
  }

  /** The code is spent, and with it the authorization that it was sent with. */
  async function ended(
    attempt: Attempt,
    outcome: Outcome | null,
    result: { guid: string } | { error: string },
  ): Promise<void> {
    await remember(attempt, outcome)
    if (attempt.authorization !== null) await conclude(attempt.authorization, result)
  }

  /** null: nothing was spent, the same code may be sent again. Another replica may have claimed the code meanwhile: its record stays. */
  async function remember({ authorization, delay, key, standing }: Attempt, outcome: Outcome | null): Promise<void> {
    const state = authorization?.state ?? null
    const decide = (known: Exchange | null) => {
      // By the clock of this try: it may be set while the store is waited for.
      const next = outcome === null ? null : { ...outcome, state, expiresAtMs: clock.now() + OUTCOME_LIFE_MS }
      return isToSettle(known, standing.record, next) ? next : keep
    }
    await persist(
      context,
      () => change(exchanges, key, decide, standing),
      async () => delay.begin(),
    )
  }

  async function conclude(authorization: Authorization, result: { guid: string } | { error: string }): Promise<void> {
    await persist(context, () => authorizations.conclude(authorization.state, result))
  }

  return {
    exchange,
    async idle() {
      while (underWay.size > 0) await Promise.allSettled([...underWay.values()].map(({ work }) => work))
    },
  }
}

/** Whether an attempt with this claim may write its outcome over `known`. That a grant was made is true whatever stands there. */
function isToSettle(known: Exchange | null, claim: Exchange, next: Exchange | null): boolean {
  if (known === null || isOfClaim(known, claim)) return true
  return next?.status === 'done' && known.status !== 'done'
}

/** The claim itself, or that another replica took it for abandoned. */
function isOfClaim(known: Exchange, claim: Exchange): boolean {
  const of = known.status === 'failed' ? known.abandoned : known
  if (of === undefined || !('owner' in of) || claim.status !== 'under_way') return false
  return of.owner === claim.owner && of.leaseUntilMs === claim.leaseUntilMs
}

type Outcome =
  | { readonly status: 'done'; readonly guid: string }
  | { readonly status: 'failed'; readonly code: Problem['code']; readonly detail: string }

const outcomeUnknown = {
  code: 'outcome_unknown',
  detail: 'This code was sent to HealthTap by a process that did not live to see the answer. It is not sent again.',
} as const

function whyNotTheirs(resolved: Resolved, expected: readonly string[]): Problem | null {
  return resolved.guid === null || expected.every(guid => guid === resolved.guid) ? null : mismatch()
}

function mismatch(): Problem {
  return new Problem('guid_mismatch', 'The person who authorized is not the one who was asked for.')
}

function whyNotOfScope(checkScope: ExchangeRequest['checkScope'], scope: string): Problem | null {
  try {
    checkScope?.(scope)
    return null
  } catch (error) {
    if (error instanceof Problem) return error
    throw error
  }
}

function underWayElsewhere(): Problem {
  const detail =
    "Another replica's exchange of this code has no outcome yet. It may have stopped: then this code is answered as lost when its time is up. Repeat this request."
  return new Problem('provider_unavailable', detail, { retryAfterSeconds: 2 })
}

function guidUnresolved(resolved: Resolved): Problem {
  const detail =
    "Neither HealthTap's answer nor the identity URL nor the request says whose grant this is. The new tokens are given back."
  return new Problem('guid_unresolved', detail, resolved.upstream === null ? {} : { upstream: resolved.upstream })
}

/** A code and the redirect_uri it is bound to, without giving the code away. */
function exchangeKey(request: ExchangeRequest): string {
  return hash('sha256', `${request.code.reveal()}\0${request.redirectUri}`, 'base64url')
}
