/** One seed: faults for a while, then none, and what must be true all along and in the end. */
import { Problem } from '../../src/errors.ts'
import type { Grant } from '../../src/ports/records.ts'
import { Secret } from '../../src/ports/secret.ts'
import { StoreUnavailable } from '../../src/ports/store.ts'
import { checkAnswer, checkEnd, checkOutcome, checkStopped } from './invariants.ts'
import { type Disaster, type Fault, isQuiet, type Plan } from './plan.ts'
import { type Disk, Replica } from './replica.ts'
import { LEASE_MS, Violation, World } from './world.ts'

export interface Report {
  readonly plan: Plan
  readonly steps: number
  readonly counts: World['counts']
  readonly refreshes: number
  readonly spentTwice: number
  readonly lostPairs: number
  readonly hit: Partial<Record<Fault | Disaster, number>>
  /** null: everything held. */
  readonly violation: string | null
  readonly trace: readonly string[]
}

/** The provider's slowest answer, a few looks into the store, and the word that it is done. */
const LONGEST_READ_MS = 1_000
const HEALING_MS = 150_000
/** A second for every grant to be read once more, by a replica each. */
const LAST_READS_MS = 20_000
const WAKING_MS = 10

/** `traceLength`: how many of the last things that happened are told. */
export async function simulate(plan: Plan, traceLength = 60): Promise<Report> {
  const world = new World(plan, traceLength)
  const run = new Run(world)
  let violation: string | null = null
  try {
    await run.run()
  } catch (error) {
    if (!(error instanceof Violation)) throw error
    violation = error.message
  }
  return {
    plan,
    steps: world.schedule.steps,
    counts: world.counts,
    refreshes: world.model.counts.refreshes,
    spentTwice: world.model.spentTwice,
    lostPairs: world.lostRows.size,
    hit: world.hit,
    violation,
    trace: world.trace,
  }
}

class Run {
  readonly #world: World
  readonly #replicas: Replica[] = []
  readonly #guids: readonly string[]
  #born = 0
  #violation: Violation | null = null

  constructor(world: World) {
    this.#world = world
    this.#guids = Array.from({ length: world.plan.grants }, (_, index) => `person${index}`)
  }

  async run(): Promise<void> {
    const { plan, schedule } = this.#world
    this.#world.onAsked = guid => this.#interrupt(guid)
    this.#world.onDelicate = name => this.#stallAtOnce(name)
    for (let index = 0; index < plan.replicas; index += 1) this.#start(new Map())
    for (const guid of this.#guids) this.#signIn(guid)
    this.#clients()
    this.#disasters()
    const faultyUntilMs = schedule.nowMs + plan.faultyForMs
    await this.#runUntil(faultyUntilMs)
    this.#heal()
    await this.#runUntil(faultyUntilMs + HEALING_MS)
    for (const guid of this.#guids) for (const replica of this.#running()) this.#read(replica, guid, true)
    await this.#runUntil(faultyUntilMs + HEALING_MS + LAST_READS_MS)
    checkOutcome(this.#world)
    for (const guid of this.#guids) await checkEnd(this.#world, guid, this.#running())
  }

  async #runUntil(untilMs: number): Promise<void> {
    const found = () => this.#violation ?? this.#world.violation
    await this.#world.schedule.run(untilMs, () => found() === null)
    const violation = found()
    if (violation !== null) throw violation
  }

  #start(disk: Disk): void {
    this.#born += 1
    const replica = new Replica(this.#world, `g${this.#born}`, disk)
    this.#replicas.push(replica)
    this.#guard(replica.broker.start())
  }

  #running(): Replica[] {
    return this.#replicas.filter(replica => replica.isAlive && !replica.isStopping)
  }

  /** What goes wrong in what nobody waits for is a violation too. */
  #guard(work: Promise<unknown>): void {
    work.catch(error => {
      if (error instanceof Problem || error instanceof StoreUnavailable) return
      this.#violation ??= error instanceof Violation ? error : new Violation(`thrown: ${(error as Error).stack}`)
    })
  }

  #signIn(guid: string): void {
    const { random } = this.#world
    const running = this.#running()
    if (running.length === 0) return
    const code = new Secret(`${guid} ${random.between(0, 1e9)}`)
    const exchanged = random.pick(running).broker.exchanges.exchange({ code, redirectUri: 'https://a' })
    const isQuietly = isQuiet(this.#world.plan)
    this.#guard(
      exchanged.catch(error => {
        if (isQuietly)
          throw new Violation(`${guid} cannot sign in: ${error.code ?? error.stack}, although nothing is wrong`)
        throw error
      }),
    )
  }

  #clients(): void {
    const { plan, random, schedule } = this.#world
    const act = () => {
      schedule.after(random.between(50, 400), act)
      const running = this.#running()
      if (running.length === 0) return
      const replica = random.pick(running)
      const guid = random.pick(this.#guids)
      const dice = random.next()
      if (dice < 0.1) this.#readMany(replica)
      else if (dice < 0.86 || this.#world.isHealed) this.#read(replica, guid, false)
      else if (dice < 0.9 || !plan.comesAndGoes) this.#report(replica, guid)
      else if (dice < 1 - plan.deletions) this.#signIn(guid)
      else this.#revoke(replica, guid)
    }
    act()
  }

  #read(replica: Replica, guid: string, isLast: boolean): void {
    const { random } = this.#world
    const wishedMs = isLast || random.chance(0.7) ? null : random.between(0, 30_000)
    if (wishedMs !== null) this.#world.wants(guid, wishedMs)
    this.#ask(replica, guid, () => replica.broker.tokens.read(guid, wishedMs), isLast)
  }

  /** Some people at once: what is true of a single read is true of each. */
  #readMany(replica: Replica): void {
    const { random } = this.#world
    const guids = this.#guids.filter(() => random.chance(0.5))
    const wishedTtlMs = random.chance(0.7) ? null : random.between(0, 30_000)
    if (wishedTtlMs !== null) for (const guid of guids) this.#world.wants(guid, wishedTtlMs)
    const answers = replica.broker.tokens.readMany({ guids, wishedTtlMs, admit() {}, check() {} })
    guids.forEach((guid, index) => {
      const own = async () => {
        const answer = (await answers)[index]
        if (answer?.status !== 'fulfilled') throw answer?.reason
        return answer.value
      }
      this.#ask(replica, guid, own, false)
    })
  }

  #report(replica: Replica, guid: string): void {
    const { random } = this.#world
    const ask = async () => {
      const version = (await this.#world.raw.grants.read(guid))?.record.version ?? 1
      const reported = random.chance(0.3) ? Math.max(1, version - 1) : version
      this.#world.reports(guid, reported)
      return await replica.broker.tokens.report(guid, reported)
    }
    this.#ask(replica, guid, ask, false)
  }

  #ask(replica: Replica, guid: string, ask: () => Promise<Grant>, isLast: boolean): void {
    const { model, random, schedule } = this.#world
    const since = schedule.steps
    const sinceMs = schedule.nowMs
    const answered = ask().then(
      async grant => {
        this.#world.counts.reads += 1
        const tookMs = schedule.nowMs - sinceMs
        if (isQuiet(this.#world.plan) && tookMs > LONGEST_READ_MS) {
          throw new Violation(`a read of ${guid} took ${tookMs} ms, although nothing is wrong`)
        }
        await checkAnswer(this.#world, guid, grant, { step: since, atMs: this.#lastAwakeMs(replica, sinceMs) })
        if (isLast || random.chance(0.7)) {
          const isTaken = model.use(grant.pair.accessToken, schedule.nowMs)
          if (isLast && !isTaken)
            throw new Violation(`the last read of ${guid} brought a token that the provider refuses`)
        }
      },
      error => {
        this.#world.counts.refusedReads += 1
        this.#world.note(`${replica.name} refuses ${guid}: ${error.code ?? error.name}`)
        if (error.code === 'reauthorization_required' && (this.#world.endedUntil.get(guid) ?? -1) < since)
          throw new Violation(`whoever asked for ${guid} was told to authorize again, and the grant had not ended`)
        const isExpected = error.code === 'grant_not_found' || error.code === 'reauthorization_required'
        if (!isExpected && (isLast || isQuiet(this.#world.plan))) {
          throw new Violation(`a read of ${guid} ended with ${error.code ?? error.stack}, although nothing is wrong`)
        }
        throw error
      },
    )
    this.#guard(answered)
  }

  /** One that has slept until this moment may not have come to read yet what was told to it meanwhile. */
  #lastAwakeMs(replica: Replica, sinceMs: number): number {
    const hasJustWoken = this.#world.schedule.nowMs - replica.stalledUntilMs <= WAKING_MS
    return hasJustWoken ? Math.min(sinceMs, replica.stalledSinceMs) : sinceMs
  }

  #revoke(replica: Replica, guid: string): void {
    const { random, schedule } = this.#world
    this.#guard(replica.broker.revocations.revoke(guid))
    schedule.after(random.between(100, 15_000), () => this.#signIn(guid))
  }

  /** Somebody is deleted while a renewal is under way, and signs in again at once. */
  #interrupt(guid: string): void {
    const { plan, random, schedule } = this.#world
    // Above all by the first renewal: what comes of it, and who signs in anew, are of the same version.
    const isFirst = this.#world.stays.get(guid)?.at(-1)?.grant.version === 1
    const chance = isFirst ? 5 * plan.deletions : plan.deletions
    if (!plan.comesAndGoes || this.#world.isHealed || !random.chance(chance)) return
    if (!isQuiet(plan) && random.chance(0.5)) this.#world.dawdles.add(guid)
    schedule.after(random.between(0, 20), () => {
      const running = this.#running()
      if (running.length > 0) this.#guard(random.pick(running).broker.revocations.revoke(guid))
      schedule.after(random.between(50, 800), () => this.#signIn(guid))
    })
  }

  #disasters(): void {
    const { plan, random, schedule } = this.#world
    const tick = () => {
      if (this.#world.isHealed) return
      schedule.after(1_000, tick)
      for (const [disaster, probability] of Object.entries(plan.disasters)) {
        if (random.chance(probability)) this.#strike(disaster as Disaster)
      }
    }
    schedule.after(3_000, tick)
  }

  #strike(disaster: Disaster): void {
    const world = this.#world
    const { random, schedule } = world
    const running = this.#running()
    if (running.length === 0) return
    const replica = random.pick(running)
    world.hit[disaster] = (world.hit[disaster] ?? 0) + 1
    world.note(`${disaster} (${replica.name})`)
    const during = (ms: number, begin: () => void, end: () => void) => {
      begin()
      schedule.after(ms, end)
    }
    switch (disaster) {
      case 'crash':
        replica.crash()
        schedule.after(random.between(100, 4_000), () => this.#start(replica.disk))
        return
      case 'stall':
        this.#stall(replica)
        return
      case 'stop':
        this.#stop(replica)
        return
      case 'clockJump':
        replica.offsetMs = random.between(-400, 400)
        return
      case 'storeOutage':
        during(
          random.between(200, 8_000),
          () => this.#away(true),
          () => this.#away(false),
        )
        return
      case 'rollback':
        this.#guard(this.#rollBack(random.pick(this.#guids)))
        return
      default:
        during(
          random.between(500, 15_000),
          () => {
            world.providerTrouble = TROUBLES[disaster]
          },
          () => {
            world.providerTrouble = null
          },
        )
    }
  }

  #stall(replica: Replica): void {
    const { random, schedule } = this.#world
    if (replica.stalledUntilMs <= schedule.nowMs) replica.stalledSinceMs = schedule.nowMs
    replica.stalledUntilMs = schedule.nowMs + random.between(100, 6 * LEASE_MS)
  }

  /** Between lease and request, and between answer and commit, is hardly any time: by chance alone nobody would sleep just then. */
  #stallAtOnce(name: string): void {
    const { isHealed, plan, random } = this.#world
    if (isHealed || plan.disasters.stall === undefined || !random.chance(0.05)) return
    const replica = this.#running().find(candidate => candidate.name === name)
    if (replica !== undefined) this.#stall(replica)
  }

  #away(isAway: boolean): void {
    this.#world.isStoreAway = isAway
  }

  /** As SIGTERM does it. What is not ended after a while is killed. */
  #stop(replica: Replica): void {
    const { random, schedule } = this.#world
    replica.isStopping = true
    let isOver = false
    const end = () => {
      if (isOver) return
      isOver = true
      replica.crash()
      schedule.after(random.between(10, 1_000), () => this.#start(replica.disk))
    }
    const stopped = replica.broker.stop().then(() => {
      if (!isOver) checkStopped(this.#world, replica)
      end()
    })
    this.#guard(stopped)
    schedule.after(20_000, end)
  }

  /** Only what the renewal of a living process has written, moments ago, can get lost and be had back. */
  async #rollBack(guid: string): Promise<void> {
    const world = this.#world
    const current = (await world.raw.grants.read(guid))?.record
    if (current === undefined || current.status === 'revoking' || current.attempt !== null) return
    // One loss at a time: who could mend a second one, of what was never seen to be lost, nobody could say.
    if (world.rolledBack.has(guid)) return
    const stays = world.stays.get(guid) ?? []
    const [older, newest] = stays.slice(-2)
    if (older === undefined || newest?.row !== world.rowOf(current) || newest.row.from !== older.row) return
    await world.rollBack(guid, { ...older.grant, dueAtMs: world.schedule.nowMs })
  }

  #heal(): void {
    const world = this.#world
    world.isHealed = true
    world.isStoreAway = false
    world.providerTrouble = null
    world.note('nothing goes wrong from here on')
    for (const replica of this.#replicas) {
      replica.wake()
      replica.offsetMs = 0
    }
    world.hit.lostWord ??= world.plan.faults.lostWord === undefined ? 0 : 1
  }
}

const TROUBLES = {
  providerHangs: 'hangs',
  providerFails: 'fails',
  providerBusy: 'busy',
  clientRefused: 'refusesClient',
} as const
