import { Problem } from '../errors.ts'
import type { Clock } from '../ports/clock.ts'
import type { Events } from '../ports/events.ts'
import type { Journal } from '../ports/journal.ts'
import type { Meter } from '../ports/meter.ts'
import type { Failure, Provider } from '../ports/provider.ts'
import type { Random } from '../ports/random.ts'
import type { Grant } from '../ports/records.ts'
import type { Slots } from '../ports/slots.ts'
import {
  ABSENT,
  type GrantStore,
  type PairMarks,
  type RecordStore,
  type RecordUnreadable,
  type Stored,
  type Stores,
  StoreUnavailable,
} from '../ports/store.ts'
import type { Tracing } from '../ports/tracing.ts'
import type { RefreshPolicy } from './policy.ts'

/** The client's registration, as far as requests have to fit it. */
export interface ClientSettings {
  readonly redirectUris: readonly string[]
  readonly scopes: readonly string[]
  /** Origins a hosted callback may send a browser back to. */
  readonly returnToOrigins: readonly string[]
  readonly pkce: boolean
  readonly requireState: boolean
  /** Whether a provisioned person is brought back with the stored password (RFC 6749, section 4.3). */
  readonly passwordGrant: boolean
}

/** Everything the broker needs from outside. */
export interface BrokerPorts {
  readonly clock: Clock
  readonly random: Random
  readonly stores: Stores
  readonly provider: Provider
  readonly slots: Slots
  readonly events: Events
  readonly meter: Meter
  readonly journal: Journal
  readonly tracing: Tracing
}

export interface BrokerContext extends BrokerPorts {
  readonly policy: RefreshPolicy
  readonly client: ClientSettings
  /** Names this process in leases and intents. */
  readonly owner: string
  /** Aborts when the process is going down: what can be finished later stops waiting. */
  readonly closing: AbortSignal
}

/** Why a wait is called off that is not needed any more. Without a reason Node makes an error each time, its stack included. */
const OVER = 'over'

/** How often a record is looked at while another replica works on it, in case the word of its end got lost. */
const LOOK_AGAIN_MS = 500

/** Seconds from now, rounded up, at least one: for `Retry-After`. */
export function secondsUntil(atMs: number, nowMs: number): number {
  return Math.max(1, Math.ceil((atMs - nowMs) / 1000))
}

/** What `decide` answers to leave a record as it is. */
export const keep = undefined

/**
 * Changes a record by compare-and-set: `decide` gets what stands there, and its revision, and returns what shall stand there
 * (null: remove it), or `keep` to leave it. Repeats when somebody else wrote in between. Returns what stands there afterwards.
 * `known`: what most likely stands there (null: nothing), so that it need not be looked up; the store says where it does not.
 * Throws `PairRetired` where the store refuses the pair that was to be written (`PairMarks.unlessRetired`).
 */
export async function change<T>(
  store: RecordStore<T>,
  key: string,
  decide: (current: T | null, revision: number) => T | null | undefined,
  known?: Stored<T | null> | null,
): Promise<Stored<T> | null> {
  let current: Stored<T | null> | null = known === undefined ? await store.read(key) : known
  for (;;) {
    const record = current?.record ?? null
    const revision = current?.revision ?? ABSENT
    const next = decide(record, revision)
    if (next === keep) return record === null ? null : { revision, record }
    const written = await store.write(key, revision, next)
    if (written.ok) return next === null ? null : { revision: written.revision, record: next }
    if (written.isRetired === true) throw new PairRetired()
    current = written.current
  }
}

/** The store, where each write says `marks()` about pairs. */
export function marking(grants: GrantStore, marks: (next: Grant | null) => PairMarks): GrantStore {
  return { ...grants, write: (guid, revision, next) => grants.write(guid, revision, next, marks(next)) }
}

/** The pair that was to be written belongs to an authorization that was replaced or revoked. */
export class PairRetired extends Error {
  override readonly name = 'PairRetired'
}

/** Waits for the word that a record has changed, until `done` says so or `untilMs` has come; answers the last it saw. */
export async function watch<T>(
  context: BrokerContext,
  store: RecordStore<T>,
  key: string,
  untilMs: number,
  done: (current: T | null) => boolean,
): Promise<Stored<T> | null> {
  for (;;) {
    const heard = new AbortController()
    try {
      // Listen first, then look: a word between the two is not lost.
      const settled = store.settled(key, heard.signal)
      const current = await store.read(key)
      const leftMs = untilMs - context.clock.now()
      if (done(current?.record ?? null) || leftMs <= 0) return current
      await Promise.race([settled, context.clock.sleep(Math.min(LOOK_AGAIN_MS, leftMs), heard.signal)])
    } finally {
      heard.abort(OVER)
    }
  }
}

/** null: not by `untilMs`. The work goes on when nobody waits for it any more. */
export async function within<T>(
  { clock }: Pick<BrokerContext, 'clock'>,
  untilMs: number,
  work: () => Promise<T>,
): Promise<T | null> {
  let cancel = () => {}
  const timeout = new Promise<null>(resolve => {
    cancel = clock.after(Math.max(0, untilMs - clock.now()), () => resolve(null))
  })
  try {
    return await Promise.race([work(), timeout])
  } finally {
    cancel()
  }
}

const PERSIST_RETRY_FIRST_MS = 50
const PERSIST_RETRY_LONGEST_MS = 2_000

/**
 * Does `work` again until the store takes it: for what the provider has already done and nobody else knows. Gives up, by
 * throwing `StoreUnavailable`, only when the process is closing. `onDelay` is called before each wait.
 */
export async function persist<T>(
  context: BrokerContext,
  work: () => Promise<T>,
  onDelay: () => Promise<void> = async () => {},
): Promise<T> {
  let waitMs = PERSIST_RETRY_FIRST_MS
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error
      await onDelay()
      if (context.closing.aborted) throw error
      await context.clock.sleep(waitMs, context.closing)
      waitMs = Math.min(2 * waitMs, PERSIST_RETRY_LONGEST_MS)
    }
  }
}

/** Tells callers that the store has not taken a result for some time, so that they need not wait for it. */
export interface StoreDelay {
  /** A write has failed. */
  begin(): void
  /** Resolves `STORE_PATIENCE_MS` after the first failed write; never where all writes succeed. */
  readonly passed: Promise<void>
}

/** A store that only fails over briefly is back within this time. */
const STORE_PATIENCE_MS = 2_000

export function createStoreDelay(clock: Pick<Clock, 'sleep'>): StoreDelay {
  let begin = () => {}
  const begun = new Promise<void>(resolve => {
    begin = resolve
  })
  return { begin, passed: begun.then(() => clock.sleep(STORE_PATIENCE_MS)) }
}

/** Answers a caller whose code or user takes longer than a caller should wait. */
export function takesTooLong(): Problem {
  const detail =
    'The request to HealthTap or the storing of its answer takes longer than a caller should wait. The gateway goes on with it: repeat this request.'
  return new Problem('store_unavailable', detail, { retryAfterSeconds: 2 })
}

/** The grant, where callers may know about it: one that is being revoked is gone for them. */
export function existing(grant: Grant | null, guid: string): Grant {
  if (grant === null || grant.status === 'revoking') {
    throw grantNotFound(guid)
  }
  return grant
}

export function grantNotFound(guid: string): Problem {
  return new Problem('grant_not_found', `There is no grant for the guid ${guid}.`)
}

/** The grant, where its token may be answered. Throws `grant_not_found`, `reauthorization_required`. */
export function usable(grant: Grant | null, guid: string): Grant {
  const found = existing(grant, guid)
  if (found.status === 'reauthorization_required') throw reauthorizationRequired(found)
  return found
}

const WAY_BACK = {
  authorization_code: 'The person has to authorize again: POST /v1/authorizations.',
  import: 'Import new tokens with PUT /v1/grants/{guid}, or let the person authorize: POST /v1/authorizations.',
  provisioning:
    'The gateway made this user, so the person has no HealthTap password to authorize with. An operator can help: docs/operations.md, "A provisioned person has to come back".',
} as const

export function reauthorizationRequired({ guid, origin }: Pick<Grant, 'guid' | 'origin'>): Problem {
  return new Problem('reauthorization_required', `HealthTap has ended the grant of ${guid}. ${WAY_BACK[origin]}`)
}

/** Says whose record does not open, and what an operator can do: a caller is often the first to see it. */
export function recordUnreadable({ guid, keyId, reason }: RecordUnreadable): Problem {
  const what = guid === null ? 'A record that this request needs' : `The record of the grant ${guid}`
  const why =
    reason === 'unknown_key'
      ? `it is sealed with the key ${keyId}, which is not in ENCRYPTION_KEYS. An operator has to put that key back.`
      : 'it was altered in Redis, or copied there from elsewhere. An operator has to restore it, or to remove it.'
  return new Problem(
    'internal_error',
    `${what} cannot be opened, and is left as it is: ${why} See docs/key-rotation.md.`,
  )
}

/** Why a grant is not renewed before its next try. */
export function renewalPutOff(grant: Grant, untilMs: number, nowMs: number): Problem {
  if (grant.lastError?.code === 'client_misconfigured') {
    return new Problem('client_misconfigured', 'HealthTap refuses our credentials; an operator has to mend them.')
  }
  return new Problem('provider_unavailable', 'HealthTap could not renew the token just now. The grant is kept.', {
    retryAfterSeconds: secondsUntil(untilMs, nowMs),
  })
}

/** What a failed provider request is called towards callers. What it means for a record is for each operation to say. */
export function problemOf(failure: Failure, what: string): Problem {
  const { upstream } = failure
  switch (failure.kind) {
    case 'client_refused':
      return new Problem(
        'client_misconfigured',
        `HealthTap refused our credentials for ${what}. An operator has to check HEALTHTAP_APP_ID and HEALTHTAP_APP_SECRET. Nothing was lost.`,
        { upstream },
      )
    case 'unavailable':
      return new Problem('provider_unavailable', `HealthTap cannot be reached for ${what}. Nothing was lost.`, {
        upstream,
        retryAfterSeconds: Math.max(1, failure.retryAfterSeconds ?? 1),
      })
    case 'unknown':
      return failure.unreadable
        ? new Problem('provider_response_invalid', `HealthTap's answer to ${what} cannot be read.`, { upstream })
        : new Problem('outcome_unknown', `HealthTap was asked for ${what}, and gave no usable answer.`, { upstream })
    default:
      return new Problem('provider_response_invalid', `HealthTap refused ${what} in a way we do not know.`, {
        upstream,
      })
  }
}
