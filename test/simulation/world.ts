/** Everything around the replicas: the store, the provider, the faults; and what was seen of them. */
import type { BrokerEvent } from '../../src/ports/events.ts'
import type { Outcome, TokenAnswer } from '../../src/ports/provider.ts'
import type { Grant } from '../../src/ports/records.ts'
import type { Stored, Stores } from '../../src/ports/store.ts'
import { createMemoryStores } from '../../src/store/memory.ts'
import { type Disaster, type Fault, isQuiet, type Plan } from './plan.ts'
import { ProviderModel, type Row } from './provider-model.ts'
import { SeededRandom } from './random.ts'
import type { Replica } from './replica.ts'
import { Schedule } from './schedule.ts'

export type ProviderTrouble = 'hangs' | 'fails' | 'busy' | 'refusesClient'

/** A pair while it stood in the store, in steps of the schedule. */
export interface Stay {
  readonly row: Row
  readonly from: number
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

export class Violation extends Error {
  override readonly name = 'Violation'
}

export class World {
  readonly plan: Plan
  readonly random: SeededRandom
  readonly schedule = new Schedule()
  readonly model: ProviderModel
  readonly stores: Stores
  /** The store itself, for faults and for looking into. */
  readonly raw: Stores
  readonly hit: Partial<Record<Fault | Disaster, number>> = {}
  readonly trace: string[] = []
  readonly stays = new Map<string, Stay[]>()
  /** The step at which a grant was last written as `revoking`; absent: not since its last authorization. */
  readonly revokedAt = new Map<string, { readonly step: number; readonly atMs: number }>()
  /** The step until which a grant last stood as `reauthorization_required`; absent: it never did. */
  readonly endedUntil = new Map<string, number>()
  /** Pairs that were given out and came to nobody who could keep them. */
  readonly lostRows = new Set<Row>()
  /** Pairs that were to be renewed although there was no reason to. */
  readonly needless: Row[] = []
  /** Grants whose newest pair the store has lost, and who wrote it: as long as they live, they have it. */
  readonly rolledBack = new Map<string, { row: Row; writer: Replica | undefined }>()
  /** The step at which what the store had lost was written again. */
  readonly restoredAt = new Map<string, number>()
  /** Pairs that the store had, and lost, and whose writer died before it noticed: two faults at once. */
  readonly forgottenRows = new Set<Row>()
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

  constructor(plan: Plan, traceLength: number) {
    this.plan = plan
    this.traceLength = traceLength
    this.random = new SeededRandom(plan.seed ^ 0x5eed)
    this.model = new ProviderModel(plan.rotation, plan.lifetimeMs)
    this.raw = createMemoryStores({ now: () => this.schedule.nowMs })
    const { grants } = this.raw
    this.stores = {
      ...this.raw,
      grants: {
        ...grants,
        write: async (guid, ifRevision, next) => {
          const before = await grants.read(guid)
          const written = await grants.write(guid, ifRevision, next)
          if (written.ok) this.#written(guid, before, next)
          if (written.ok) for (const hear of this.hearers) hear(guid)
          return written
        },
      },
    }
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

  note(line: string): void {
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
    if (event.type === 'pair.revoked' && !event.confirmed) this.counts.unconfirmed += 1
    if (event.type === 'grant.restored') {
      this.rolledBack.delete(event.guid)
      this.restoredAt.set(event.guid, this.schedule.steps)
    }
  }

  /** Returns when that was. */
  asked(replica: Replica, guid: string, row: Row | undefined): number {
    const { nowMs } = this.schedule
    this.note(`${replica.name} asks the provider to refresh ${guid}`)
    this.asks.set(guid, (this.asks.get(guid) ?? 0) + 1)
    const begunAtMs = this.#begun.get(`${replica.name} ${row?.id}`)
    const isStanding = row !== undefined && this.stays.get(guid)?.at(-1)?.row === row
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
    // A fail-over may have lost that somebody had begun.
    if ('rollback' in this.plan.disasters) return
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

  delivered(replica: Replica, guid: string | null, outcome: Outcome<unknown>): void {
    const row = this.#rowIn(guid, outcome)
    if (row !== null) this.#held.set(row, replica)
  }

  lost(guid: string | null, outcome: Outcome<unknown>, why: string): void {
    const row = this.#rowIn(guid, outcome)
    if (row === null || this.lostRows.has(row)) return
    this.lostRows.add(row)
    this.note(`pair ${row.id} of ${guid} is lost: ${why}`)
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
    this.rolledBack.set(guid, { row, writer })
    if (writer?.isAlive !== true) this.#forget(row)
    this.note(`the store has lost version ${current.record.version} of ${guid}`)
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

  #rowIn(guid: string | null, outcome: Outcome<unknown>): Row | null {
    if (guid === null || outcome.kind !== 'ok') return null
    const { pair } = outcome.value as { pair: Grant['pair'] }
    return this.model.rowOf(pair.refreshToken) ?? null
  }

  #written(guid: string, before: Stored<Grant> | null, next: Grant | null): void {
    const { steps } = this.schedule
    const stays = this.stays.get(guid) ?? []
    this.stays.set(guid, stays)
    const last = stays.at(-1)
    const row = next === null ? null : this.rowOf(next)
    if (before !== null && next !== null && next.version < before.record.version) {
      throw new Violation(`the version of ${guid} went from ${before.record.version} to ${next.version}`)
    }
    const writer = row === null ? undefined : this.#held.get(row)
    if (row !== null && writer !== undefined) {
      this.#held.delete(row)
      this.#writers.set(row, writer)
    }
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
