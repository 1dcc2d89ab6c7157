/** What strikes whole processes, the store and the provider. */
import type { Gateway } from './clients.ts'
import { checkStopped } from './invariants.ts'
import type { Disaster } from './plan.ts'
import type { Disk, Replica } from './replica.ts'
import { LEASE_MS, type World } from './world.ts'

const SECOND_MS = 1_000
const MINUTE_MS = 60_000
/** How far clocks are set back, from and to. */
const STEPS_BACK: readonly (readonly [number, number])[] = [
  [SECOND_MS, 4 * SECOND_MS],
  [4 * SECOND_MS, 30 * SECOND_MS],
  [MINUTE_MS, 60 * MINUTE_MS],
]

interface Processes extends Gateway {
  start(disk: Disk): void
}

export class Disasters {
  readonly #world: World
  readonly #processes: Processes

  constructor(world: World, processes: Processes) {
    this.#world = world
    this.#processes = processes
  }

  begin(): void {
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
    const running = this.#processes.running()
    if (running.length === 0) return
    const replica = random.pick(running)
    this.#hit(disaster, replica)
    const during = (ms: number, begin: () => void, end: () => void) => {
      begin()
      schedule.after(ms, end)
    }
    switch (disaster) {
      case 'crash':
        this.#crash(replica)
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
      case 'clockBack':
        this.#setBack(replica)
        return
      case 'storeOutage':
        during(
          random.between(200, 8_000),
          () => this.#away(true),
          () => this.#away(false),
        )
        return
      case 'rollback':
        this.#processes.guard(this.#rollBack(random.pick(world.people)))
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

  #hit(disaster: Disaster, replica: Replica): void {
    const { hit } = this.#world
    hit[disaster] = (hit[disaster] ?? 0) + 1
    this.#world.note(`${disaster} (${replica.name})`)
  }

  #crash(replica: Replica): void {
    const { random, schedule } = this.#world
    replica.crash()
    schedule.after(random.between(100, 4_000), () => this.#processes.start(replica.disk))
  }

  #stall(replica: Replica): void {
    const { random, schedule } = this.#world
    if (replica.stalledUntilMs <= schedule.nowMs) replica.stalledSinceMs = schedule.nowMs
    replica.stalledUntilMs = schedule.nowMs + random.between(100, 6 * LEASE_MS)
  }

  /**
   * Between lease and request, between answer and commit, and between a new user and their grant is hardly any time: by chance
   * alone no process would sleep or die just then.
   */
  strikeAtOnce(name: string): void {
    const { isHealed, plan, random, schedule } = this.#world
    if (isHealed) return
    const replica = this.#processes.running().find(candidate => candidate.name === name)
    if (replica === undefined) return
    if (plan.disasters.stall !== undefined && random.chance(0.05)) this.#stall(replica)
    if (plan.disasters.crash === undefined || !random.chance(0.05)) return
    schedule.after(random.between(0, 15), () => {
      if (!replica.isAlive || replica.isStopping) return
      this.#hit('crash', replica)
      this.#crash(replica)
    })
  }

  /** The clock of one replica, or of all, is wrong for a while; timers go on as they were. */
  #setBack(replica: Replica): void {
    const world = this.#world
    const { random, schedule } = world
    const byMs = random.between(...(random.pick(STEPS_BACK) as [number, number]))
    const which: { offsetMs: number; setBackAtMs: number } = random.chance(0.5) ? replica : world
    if (which.offsetMs < 0) return
    which.offsetMs -= byMs
    which.setBackAtMs = schedule.nowMs
    world.furthestBackMs = Math.max(world.furthestBackMs, byMs)
    schedule.after(random.between(2_000, 40_000), () => {
      which.offsetMs = 0
    })
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
      schedule.after(random.between(10, 1_000), () => this.#processes.start(replica.disk))
    }
    const stopped = replica.broker.stop().then(() => {
      if (!isOver) checkStopped(this.#world, replica)
      end()
    })
    this.#processes.guard(stopped)
    schedule.after(20_000, end)
  }

  /** Only what a living process has written, moments ago, can get lost and be had back. */
  async #rollBack(guid: string): Promise<void> {
    const world = this.#world
    const current = (await world.raw.grants.read(guid))?.record
    if (current === undefined || current.status === 'revoking' || current.attempt !== null) return
    // One loss at a time: who could mend a second one, of what was never seen to be lost, nobody could say.
    if (world.rolledBack.has(guid)) return
    const stays = world.stays.get(guid) ?? []
    const [older, newest] = stays.slice(-2)
    if (older === undefined || newest?.row !== world.rowOf(current)) return
    if (older.grant.createdAtMs !== current.createdAtMs || older.grant.version + 1 !== current.version) return
    if (older.grant.status === 'revoking') return
    await world.rollBack(guid, { ...older.grant, dueAtMs: world.schedule.nowMs })
  }

  heal(): void {
    const world = this.#world
    world.isHealed = true
    world.isStoreAway = false
    world.providerTrouble = null
    world.offsetMs = 0
    world.note('nothing goes wrong from here on')
    world.hit.lostWord ??= world.plan.faults.lostWord === undefined ? 0 : 1
  }
}

const TROUBLES = {
  providerHangs: 'hangs',
  providerFails: 'fails',
  providerBusy: 'busy',
  clientRefused: 'refusesClient',
} as const
