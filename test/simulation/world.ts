/** Everything around the replicas: the store, the provider, the faults; and what was seen of them. */
import { createHash } from 'node:crypto'
import type { BrokerEvent } from '../../src/ports/events.ts'
import type { Outcome, TokenAnswer } from '../../src/ports/provider.ts'
import type { Exchange, Grant, Provisioning } from '../../src/ports/records.ts'
import type { GrantStore, RecordStore, Stored, Stores } from '../../src/ports/store.ts'
import type { Backend } from './backend.ts'
import { Lives, type Moment } from './lives.ts'
import { type Disaster, type Fault, isQuiet, type Plan } from './plan.ts'
import { ProviderModel, type Row } from './provider-model.ts'
import { SeededRandom } from './random.ts'
import type { Replica } from './replica.ts'
import type { Schedule } from './schedule.ts'

export type ProviderTrouble = 'hangs' | 'fails' | 'busy' | 'refusesClient'

/** A pair while it stood in the store, in steps of the schedule. */
export interface Stay {
  readonly row: Row
  readonly from: number
  readonly fromMs: number
  until: number
  untilMs: number
  /** As it was written last. */
  grant: Grant
}

/** Scaled down, so that much happens in little time; the proportions are those of production. */
export const LEASE_MS = 3_000
export const SEND_WITHIN_MS = 500

/** Lifetimes count from the request here, and from its end there; and clocks go wrong. */
const SLOWEST_ANSWER_MS = 3_000

/** What seems to have happened later than this from now shows that the clock was set back. */
export const MOST_AHEAD_MS = 5_000

export class Violation extends Error {
  override readonly name = 'Violation'
}

export class World {
  readonly plan: Plan
  readonly random: SeededRandom
  readonly schedule: Schedule
  readonly model: ProviderModel
  readonly lives = new Lives()
  readonly #backend: Backend
  /** The store itself, for faults and for looking into. */
  readonly raw: Stores
  readonly hit: Partial<Record<Fault | Disaster, number>> = {}
  readonly trace: string[] = []
  readonly stays = new Map<string, Stay[]>()
  /** The step at which a grant was last written as `revoking`; absent: not since its last authorization. */
  readonly revokedAt = new Map<string, { readonly step: number; readonly atMs: number }>()
  /** The step until which a grant last stood as `reauthorization_required`; absent: it never did. */
  readonly endedUntil = new Map<string, number>()
  /** Everyone who has, or may have, a grant. */
  readonly people: string[] = []
  /** Pairs whose access token a client has reported as refused, and when the gateway had answered that. */
  readonly refused = new Map<Row, Moment>()
  /** Codes and usernames of which an answer was lost, or whose holder died. */
  readonly doubts = new Set<string>()
  /** Pairs that a replica has to revoke, because it has put another authorization in their place. */
  readonly duties = new Map<Row, { readonly replica: Replica; readonly atMs: number }>()
  /** How many revocations were given up, by guid. */
  readonly unconfirmed = new Map<string, number>()
  /** How far the clocks of all replicas are set back. */
  offsetMs = 0
  setBackAtMs = 0
  furthestBackMs = 0
  /** Codes and guids that were told to be new. */
  readonly created = new Set<string>()
  /** Pairs from outside that were sent to a replica. */
  readonly imported = new Set<Row>()
  readonly #digest = createHash('sha256')
  /** Pairs that were given out and came to nobody who could keep them. */
  readonly lostRows = new Set<Row>()
  /** Pairs that were to be renewed although there was no reason to. */
  readonly needless: Row[] = []
  /** Grants whose newest pair the store has lost, and who wrote it: as long as they live, they have it. */
  readonly rolledBack = new Map<string, { row: Row; version: number; writer: Replica | undefined }>()
  /** The step at which what the store had lost was written again. */
  readonly restoredAt = new Map<string, { readonly step: number; readonly atMs: number }>()
  /** Pairs that the store had, and lost, and whose writer died before it noticed: two faults at once. */
  readonly forgottenRows = new Set<Row>()
  /** Pairs that a leftover was spent for, and whose only record the store has lost. */
  readonly forgottenLeftovers = new Set<Row>()
  readonly #wishes = new Map<string, readonly { atMs: number; lifeMs: number }[]>()
  readonly #reported = new Set<string>()
  readonly #writers = new Map<Row, Replica>()
  /** Told of each write of a grant. */
  readonly hearers = new Set<(guid: string) => void>()
  readonly asks = new Map<string, number>()
  readonly counts = { rotations: 0, ended: 0, unconfirmed: 0, reads: 0, refusedReads: 0 }
  readonly traceLength: number
  /** Told when a grant is about to be renewed. */
  onAsked: (guid: string) => void = () => {}
  /** Whose next answer the provider takes its time for. */
  readonly dawdles = new Set<string>()
  /** Told which replica has taken a lease, or has a pair on its way to it. */
  onDelicate: (name: string) => void = () => {}
  /** Told when a new user is known to the store and their grant may not be. */
  onAnswered: (username: string, guid: string) => void = () => {}
  /** What an observer has found. */
  violation: Violation | null = null
  isHealed = false
  isStoreAway = false
  providerTrouble: ProviderTrouble | null = null
  /** What came to whom and is not yet known to be kept. */
  readonly #held = new Map<Row, Replica>()
  /** Pairs that the provider has given out, and who had asked for them, and when. */
  readonly #onItsWay = new Map<Row, { replica: Replica; askedAtMs: number }>()
  /** When each replica has last begun to renew each pair. */
  readonly #begun = new Map<string, number>()

  constructor(plan: Plan, traceLength: number, schedule: Schedule, backend: Backend) {
    this.plan = plan
    this.traceLength = traceLength
    this.schedule = schedule
    this.random = new SeededRandom(plan.seed ^ 0x5eed)
    const { rotation, lifetimeMs, hasResource, passwordGrant } = plan
    const note = (line: string) => this.note(`the provider: ${line}`)
    this.model = new ProviderModel({
      rotation,
      lifetimeMs,
      hasResource,
      passwordGrant: passwordGrant.offered,
      isInUse: row => {
        const stay = this.stays.get(row.guid)?.at(-1)
        return stay?.row === row && stay.until === Number.POSITIVE_INFINITY && stay.grant.status !== 'revoking'
      },
      note,
    })
    this.#backend = backend
    this.raw = backend.stores
  }

  /** The stores, as this replica writes to them. */
  storesFor(replica: Replica): Stores {
    const stores = this.#backend.connect()
    const { exchanges, grants, provisionings } = stores
    return {
      ...stores,
      exchanges: { ...exchanges, write: this.#watchedCodes(replica, exchanges) },
      grants: { ...grants, write: this.#watched(replica, grants) },
      provisionings: { ...provisionings, write: this.#watchedUsers(replica, provisionings) },
    }
  }

  #watched(replica: Replica, grants: GrantStore): GrantStore['write'] {
    return async (...args) => {
      const [guid, , next] = args
      const before = await grants.read(guid)
      const written = await grants.write(...args)
      if (written.ok) this.#written(replica, guid, before, next)
      if (written.ok) for (const hear of this.hearers) hear(guid)
      return written
    }
  }

  #watchedCodes(replica: Replica, exchanges: RecordStore<Exchange>): RecordStore<Exchange>['write'] {
    return async (key, ifRevision, next) => {
      const written = await exchanges.write(key, ifRevision, next)
      const what = written.ok ? `writes ${next?.status ?? 'away'}` : `may not write ${next?.status ?? 'away'}`
      this.note(`${replica.name} ${what} for the code under ${key.slice(0, 6)}`)
      return written
    }
  }

  #watchedUsers(replica: Replica, provisionings: RecordStore<Provisioning>): RecordStore<Provisioning>['write'] {
    return async (...args) => {
      const written = await provisionings.write(...args)
      const [username, , next] = args
      if (written.ok) this.note(`${replica.name} writes ${username} ${next?.status ?? 'away'}`)
      if (written.ok && next?.status === 'answered') {
        this.onDelicate(replica.name)
        this.onAnswered(username, next.grant.guid)
      }
      return written
    }
  }

  /** Resolves when what follows from a step has happened. */
  idle(): Promise<void> {
    return this.#backend.idle()
  }

  get faults(): { lostWord: number } {
    return { lostWord: this.isHealed ? 0 : (this.plan.faults.lostWord ?? 0) }
  }

  hits(fault: Fault): boolean {
    const probability = this.plan.faults[fault] ?? 0
    if (this.isHealed || probability === 0 || !this.random.chance(probability)) return false
    this.hit[fault] = (this.hit[fault] ?? 0) + 1
    return true
  }

  /** Of everything that was noted: the same seed has to give the same. */
  digest(): string {
    return this.#digest
      .copy()
      .update(`${this.schedule.steps} ${JSON.stringify(this.counts)}`)
      .digest('hex')
  }

  note(line: string): void {
    this.#digest.update(`${this.schedule.steps} ${line}\n`)
    if (this.traceLength === 0) return
    this.trace.push(`${String(this.schedule.nowMs % 10_000_000).padStart(7)} ${line}`)
    if (this.trace.length > this.traceLength) this.trace.shift()
  }

  heard(replica: Replica, event: BrokerEvent): void {
    this.note(`${replica.name} ${JSON.stringify(event)}`)
    if (event.type === 'grant.renewed') this.counts.rotations += 1
    if (event.type === 'grant.ended') {
      this.counts.ended += 1
      this.#ended(replica, event.guid)
    }
    if (event.type === 'pair.revoked' && !event.confirmed) {
      this.counts.unconfirmed += 1
      this.unconfirmed.set(event.guid, (this.unconfirmed.get(event.guid) ?? 0) + 1)
    }
  }

  /** Returns when that was. */
  asked(replica: Replica, guid: string, row: Row | undefined): number {
    const { nowMs } = this.schedule
    this.note(`${replica.name} asks the provider to refresh ${guid}`)
    this.asks.set(guid, (this.asks.get(guid) ?? 0) + 1)
    const begunAtMs = this.#begun.get(`${replica.name} ${row?.id}`)
    const isClockGood = !('clockBack' in this.plan.disasters)
    const isStanding = isClockGood && row !== undefined && this.stays.get(guid)?.at(-1)?.row === row
    const toleranceMs = 'clockJump' in this.plan.disasters ? 1_000 : 100
    if (isStanding && begunAtMs !== undefined && nowMs - begunAtMs > SEND_WITHIN_MS + toleranceMs) {
      this.broken(`${replica.name} asked for ${guid} ${nowMs - begunAtMs} ms after it took the lease`)
    }
    this.onAsked(guid)
    return nowMs
  }

  /** A pair is on its way to somebody. */
  brings(replica: Replica, outcome: Outcome<TokenAnswer>, askedAtMs: number): void {
    const row = outcome.kind === 'ok' ? this.model.rowOf(outcome.value.pair.refreshToken) : undefined
    if (row === undefined) return
    this.#onItsWay.set(row, { replica, askedAtMs })
    this.onDelicate(replica.name)
  }

  /** Only `invalid_grant` with nothing else in doubt ends a grant: for two leases, who has begun may still come back. */
  #ended(replica: Replica, guid: string): void {
    const grant = this.stays.get(guid)?.at(-1)?.grant
    if (grant !== undefined && this.isRestorable(grant))
      this.broken(`${guid} was ended, and the password of ${grant.username} was never refused`)
    // A fail-over may have lost that somebody had begun.
    if ('rollback' in this.plan.disasters) return
    // A lease means nothing between clocks that differ by more than itself; the pair revives the grant when it comes.
    if ('clockBack' in this.plan.disasters) return
    const ended = this.stays.get(guid)?.at(-1)?.row
    const soonMs = this.schedule.nowMs - 2 * LEASE_MS + SEND_WITHIN_MS + 1_000
    for (const [row, { replica: other, askedAtMs }] of this.#onItsWay) {
      const isComing = row.from === ended && !this.lostRows.has(row) && other.isAlive && other !== replica
      if (isComing && askedAtMs > soonMs)
        this.broken(`${replica.name} ended ${guid}, and ${other.name} had its new pair`)
    }
  }

  /** What was found where nobody listens: told at the next step. */
  broken(what: string): void {
    this.violation ??= new Violation(what)
  }

  /** Somebody asks for a token that lives at least so long. */
  wants(guid: string, lifeMs: number): void {
    const wishes = this.#wishes.get(guid) ?? []
    this.#wishes.set(guid, [...wishes.slice(-200), { atMs: this.schedule.nowMs, lifeMs }])
  }

  /** Somebody says that the token of this version was refused. */
  reports(guid: string, version: number): void {
    this.#reported.add(`${guid} ${version}`)
  }

  /** Whether there is a reason to renew this pair: nobody is to lose a token that is good, and good for long. */
  isReasonToRenew(row: Row): boolean {
    const { nowMs } = this.schedule
    const leftMs = row.expiresAtMs - nowMs
    if (leftMs <= 0.25 * this.plan.lifetimeMs + 2_000) return true
    const stay = this.stays.get(row.guid)?.findLast(candidate => candidate.row === row)
    if (this.#reported.has(`${row.guid} ${stay?.grant.version}`)) return true
    const sinceMs = nowMs - (isQuiet(this.plan) ? 5_000 : 40_000)
    return (
      this.#wishes.get(row.guid)?.some(({ atMs, lifeMs }) => atMs >= sinceMs && leftMs < lifeMs + SLOWEST_ANSWER_MS) ??
      false
    )
  }

  /** Pairs that this process alone has: neither store nor disk do. */
  heldBy(replica: Replica): Row[] {
    const onDisk = new Set([...replica.disk.values()].map(({ pair }) => this.model.rowOf(pair.refreshToken)))
    return [...this.#held].flatMap(([row, holder]) => (holder === replica && !onDisk.has(row) ? [row] : []))
  }

  delivered(replica: Replica, outcome: Outcome<unknown>): void {
    const row = this.#rowIn(outcome)
    if (row !== null) this.#held.set(row, replica)
  }

  lost(outcome: Outcome<unknown>, why: string): void {
    const row = this.#rowIn(outcome)
    if (row === null || this.lostRows.has(row)) return
    this.lostRows.add(row)
    this.note(`pair ${row.id} of ${row.guid} is lost: ${why}`)
  }

  person(guid: string): void {
    if (!this.people.includes(guid)) this.people.push(guid)
  }

  /** A process is gone: so is what it alone knew. */
  lostWith(replica: Replica): void {
    for (const row of this.heldBy(replica)) {
      this.lostRows.add(row)
      this.note(`pair ${row.id} of ${row.guid} is lost: ${replica.name} died with it`)
    }
    for (const { row, writer } of this.rolledBack.values()) if (writer === replica) this.#forget(row)
  }

  /** The store forgets the last rotation of a grant, as a fail-over to a replica that was behind does. */
  async rollBack(guid: string, older: Grant): Promise<void> {
    const current = await this.raw.grants.read(guid)
    if (current === null) return
    await this.raw.grants.write(guid, current.revision, older)
    if (older.status === 'reauthorization_required') this.endedUntil.set(guid, Number.POSITIVE_INFINITY)
    const row = this.rowOf(current.record)
    const writer = this.#writers.get(row)
    this.rolledBack.set(guid, { row, version: current.record.version, writer })
    this.lives.forgotten(guid, current.record.version)
    const kept = older.leftovers ?? []
    for (const { pair } of current.record.leftovers ?? []) {
      const spentFor = this.model.rowOf(pair.refreshToken)
      const isLost = spentFor !== undefined && !kept.some(each => each.pair.refreshToken.equals(pair.refreshToken))
      if (isLost && !this.stays.get(guid)?.some(stay => stay.row === spentFor)) this.forgottenLeftovers.add(spentFor)
    }
    if (writer?.isAlive !== true || !looksNewer(current.record, older)) this.#forget(row)
    this.note(`the store has lost version ${current.record.version} of ${guid}`)
  }

  /** Whether the gateway may bring the person back with the password, and the provider would take that. */
  isRestorable({ origin, password, username }: Grant): boolean {
    const { offered, on } = this.plan.passwordGrant
    const isKnown = origin === 'provisioning' && username !== null && password !== null
    return offered && on && isKnown && !this.model.refusedPasswords.has(username)
  }

  /**
   * Whether the gateway had to spend the pair to end it, and could not use what that brought: there is no resource to use it at, so
   * a provider that rotates on use keeps the pair alive.
   */
  isUnendable(row: Row): boolean {
    if (this.plan.hasResource || this.plan.rotation === 'instant') return false
    const hasStood = (child: Row) => this.stays.get(child.guid)?.some(stay => stay.row === child) ?? false
    return this.model.rows.some(child => child.from === row && !child.isAlive && !hasStood(child))
  }

  rowOf(grant: Grant): Row {
    const row = this.model.rowOf(grant.pair.accessToken)
    if (row === undefined) throw new Violation(`a pair that the provider never gave out stands for ${grant.guid}`)
    return row
  }

  #forget(row: Row): void {
    this.forgottenRows.add(row)
    this.note(`pair ${row.id} of ${row.guid} is forgotten by the store and by who wrote it`)
  }

  /** Whether `next` came by an earlier authorization than the one that it replaces and that can be used, as far as `replica` can tell. */
  #isEarlier(replica: Replica, before: Grant | undefined, next: Grant | null): boolean {
    const isUsable = before?.status === 'active' || before?.status === 'in_doubt'
    if (!isUsable) return false
    const { authorizedAtMs = 0 } = before
    // What lies ahead of a clock that was set back does not keep a person from authorizing again for as long.
    const isAhead = authorizedAtMs > replica.nowMs() + MOST_AHEAD_MS
    return (next?.authorizedAtMs ?? 0) < authorizedAtMs && !isAhead
  }

  /** What the store had lost stands again, or something newer has taken its place. */
  #mended(guid: string, row: Row | null, next: Grant | null): void {
    const lost = this.rolledBack.get(guid)
    if (lost === undefined || (next !== null && next.version < lost.version)) return
    this.rolledBack.delete(guid)
    this.restoredAt.set(guid, { step: this.schedule.steps, atMs: this.schedule.nowMs })
    if (row !== lost.row && row?.from !== lost.row) this.#forget(lost.row)
  }

  #rowIn(outcome: Outcome<unknown>): Row | null {
    if (outcome.kind !== 'ok') return null
    const { value } = outcome
    if (value === null || typeof value !== 'object' || !('pair' in value)) return null
    return this.model.rowOf((value.pair as Grant['pair']).refreshToken) ?? null
  }

  #written(replica: Replica, guid: string, before: Stored<Grant> | null, next: Grant | null): void {
    const { steps, nowMs } = this.schedule
    this.person(guid)
    const stays = this.stays.get(guid) ?? []
    this.stays.set(guid, stays)
    const last = stays.at(-1)
    const row = next === null ? null : this.rowOf(next)
    if (before !== null && next !== null && next.version < before.record.version) {
      throw new Violation(`the version of ${guid} went from ${before.record.version} to ${next.version}`)
    }
    const write = {
      row,
      version: next?.version ?? 0,
      wasRevoking: before?.record.status === 'revoking',
      isRevoking: next?.status === 'revoking',
    }
    const wrong = this.lives.written(guid, write, before === null, { step: steps, atMs: nowMs })
    if (wrong !== null) this.broken(wrong)
    const replaced = before === null || next === null ? null : this.rowOf(before.record)
    if (replaced !== null && row !== null && replaced.root !== row.root) {
      if (this.#isEarlier(replica, before?.record, next))
        this.broken(`an earlier authorization of ${guid}, pair ${row.id}, took the place of pair ${replaced.id}`)
      this.duties.set(replaced, { replica, atMs: nowMs })
    }
    if (row !== null && (before === null || replaced !== row)) {
      const { status, version } = next as Grant
      this.note(`${replica.name} writes ${guid} ${status} version ${version} with pair ${row.id}`)
      this.#writers.set(row, replica)
    }
    if (next === null) this.note(`${replica.name} removes ${guid}`)
    this.#mended(guid, row, next)
    if (row !== null) this.#held.delete(row)
    if (before?.record.status === 'reauthorization_required') this.endedUntil.set(guid, steps)
    if (next?.status === 'reauthorization_required') {
      if (row?.isAlive) this.broken(`${guid} was ended, and its refresh token still works`)
      this.endedUntil.set(guid, Number.POSITIVE_INFINITY)
    }
    const attempt = next?.attempt ?? null
    if (row !== null && attempt !== null && attempt.startedAtMs !== before?.record.attempt?.startedAtMs) {
      const [name = ''] = attempt.owner.split('.')
      this.#begun.set(`${name} ${row.id}`, this.schedule.nowMs)
      this.onDelicate(name)
    }
    if (last !== undefined && last.row !== row && last.until === Number.POSITIVE_INFINITY) {
      last.until = steps
      last.untilMs = this.schedule.nowMs
    }
    if (row !== null && next !== null) {
      if (last?.row === row) last.grant = next
      else
        stays.push({
          row,
          from: steps,
          fromMs: nowMs,
          until: Number.POSITIVE_INFINITY,
          untilMs: Number.POSITIVE_INFINITY,
          grant: next,
        })
    }
    if (next === null || next.status === 'revoking') {
      if (!this.revokedAt.has(guid)) this.revokedAt.set(guid, { step: steps, atMs: this.schedule.nowMs })
    } else {
      this.revokedAt.delete(guid)
    }
  }
}

/** Whether the times in two records tell their order, as they do unless a clock was set back in between. */
function looksNewer(newer: Grant, older: Grant): boolean {
  return older.issuedAtMs < newer.issuedAtMs && (older.authorizedAtMs ?? 0) <= (newer.authorizedAtMs ?? 0)
}
