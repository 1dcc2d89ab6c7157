/** One seed: faults for a while, then none, and what must be true all along and in the end. */
import { Problem } from '../../src/errors.ts'
import { StoreUnavailable } from '../../src/ports/store.ts'
import { checkAtRest } from './at-rest.ts'
import { type Backend, memoryBackend } from './backend.ts'
import { Clients } from './clients.ts'
import { Disasters } from './disasters.ts'
import { checkOutcome } from './invariants.ts'
import type { Disaster, Fault, Plan } from './plan.ts'
import { type Disk, Replica } from './replica.ts'
import { Schedule } from './schedule.ts'
import { Violation, World } from './world.ts'

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
  /** The same for each run of this seed. */
  readonly digest: string
}

/** From the last fault on: codes that never left are sent again, users are asked for once more, and then all is at rest. */
const CODES_AFTER_MS = 40_000
const NAMES_AFTER_MS = 80_000
const HEALING_MS = 150_000
/** A second for every grant to be read once more, by a replica each. */
const LAST_READS_MS = 20_000
/** How long a code's outcome is remembered, less what a run takes besides. */
const CODE_LIFE_MS = 300_000
const MOST_LAST_CODES = 5

/** `traceLength`: how many of the last things that happened are told. `backend`: where records lie; absent: in memory. */
export async function simulate(
  plan: Plan,
  traceLength = 60,
  schedule = new Schedule(),
  backend: Backend = memoryBackend(schedule),
): Promise<Report> {
  const world = new World(plan, traceLength, schedule, backend)
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
    steps: schedule.steps,
    counts: world.counts,
    refreshes: world.model.counts.refreshes,
    spentTwice: world.model.spentTwice,
    lostPairs: world.lostRows.size,
    hit: world.hit,
    violation,
    trace: world.trace,
    digest: world.digest(),
  }
}

class Run {
  readonly #world: World
  readonly #replicas: Replica[] = []
  readonly #clients: Clients
  readonly #disasters: Disasters
  #born = 0
  #violation: Violation | null = null

  constructor(world: World) {
    this.#world = world
    const gateway = {
      running: () => this.#running(),
      guard: (work: Promise<unknown>) => this.#guard(work),
      start: (disk: Disk) => this.#start(disk),
    }
    this.#clients = new Clients(world, gateway)
    this.#disasters = new Disasters(world, gateway)
  }

  async run(): Promise<void> {
    const world = this.#world
    const { plan, schedule } = world
    world.onAsked = guid => this.#clients.interrupt(guid)
    world.onDelicate = name => this.#disasters.strikeAtOnce(name)
    world.onAnswered = (username, guid) => this.#clients.deleteHalfMade(username, guid)
    for (let index = 0; index < plan.replicas; index += 1) this.#start(new Map())
    this.#clients.begin()
    this.#disasters.begin()
    const healedAtMs = schedule.nowMs + plan.faultyForMs
    await this.#runUntil(healedAtMs)
    this.#heal()
    await this.#runUntil(healedAtMs + CODES_AFTER_MS)
    this.#sendCodesThatNeverLeft()
    await this.#runUntil(healedAtMs + NAMES_AFTER_MS)
    for (const username of this.#clients.usernames) {
      for (const replica of this.#running()) this.#clients.sendName(replica, username, 0, true)
    }
    await this.#runUntil(healedAtMs + HEALING_MS)
    for (const guid of world.people) for (const replica of this.#running()) this.#clients.read(replica, guid, true)
    await this.#runUntil(healedAtMs + HEALING_MS + LAST_READS_MS)
    checkOutcome(world)
    await checkAtRest(world, this.#running())
  }

  #sendCodesThatNeverLeft(): void {
    const { doubts, model, schedule } = this.#world
    const unsent = [...model.codes.values()].filter(
      ({ asks, issuedAtMs, text }) => asks === 0 && !doubts.has(text) && schedule.nowMs - issuedAtMs < CODE_LIFE_MS,
    )
    for (const code of unsent.slice(0, MOST_LAST_CODES)) this.#clients.send(code, 0, true)
  }

  async #runUntil(untilMs: number): Promise<void> {
    const found = () => this.#violation ?? this.#world.violation
    await this.#world.schedule.run(
      untilMs,
      () => found() === null,
      () => this.#world.idle(),
    )
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

  #heal(): void {
    this.#disasters.heal()
    for (const replica of this.#replicas) {
      replica.wake()
      replica.offsetMs = 0
    }
  }
}
