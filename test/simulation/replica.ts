/** One gateway process: a real broker, whose every way outside leads through time, chance and faults. */
import { type Broker, createBroker } from '../../src/broker/broker.ts'
import { type Clock, sleepBy } from '../../src/ports/clock.ts'
import type { BrokerEvent } from '../../src/ports/events.ts'
import type { Journal, Rotation } from '../../src/ports/journal.ts'
import type { Outcome, Provider, TokenAnswer } from '../../src/ports/provider.ts'
import type { Exchange } from '../../src/ports/records.ts'
import { type Stores, StoreUnavailable } from '../../src/ports/store.ts'
import { noTracing } from '../../src/ports/tracing.ts'
import { createSightings, SIGHTING_LASTS_MS, type SightingsKeeper } from '../../src/store/sightings.ts'
import { createSlots } from '../../src/system/slots.ts'
import { silentMeter } from '../support/meter.ts'
import { LEASE_MS, SEND_WITHIN_MS, type World } from './world.ts'

/** Scaled down, so that much happens in little time; the proportions are those of production. */
const DEADLINE_MS = 2_000
const STORE_DEADLINE_MS = 500
const MOST_SIGHTINGS = 1_000

const never = new Promise<never>(() => {})
const rejected = { kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } } as const
const clientRefused = { kind: 'client_refused', upstream: { status: 401, error: 'invalid_client' } } as const
const unsettled = { kind: 'unknown', upstream: {}, settled: false, unreadable: false, retryAfterSeconds: null } as const
const failed500 = {
  kind: 'unknown',
  upstream: { status: 500 },
  settled: true,
  unreadable: false,
  retryAfterSeconds: null,
} as const
const unreachable = { kind: 'unavailable', upstream: {}, retryAfterSeconds: null } as const

/** How long after its timers a process that has slept reads its sockets, at most. */
const MOST_LAG_MS = 100

interface Ask<T> {
  /** Which delay is meant for it: of a person, or of a username. */
  readonly key: string
  /** What is in doubt where the answer is lost; absent: nothing that a client would see. */
  readonly doubt?: string
  /** Whether it gets a connection of its own, so that one which dies unread proves that nothing was done. */
  readonly isFresh?: boolean
  /** Whether it goes without the credentials of the app. */
  readonly isBearer?: boolean
  readonly work: (nowMs: number) => Outcome<T>
  readonly isRefusedAnyway?: boolean
}

/** Stays when a process dies: the disk. */
export type Disk = Map<string, Rotation>

export class Replica {
  readonly name: string
  readonly disk: Disk
  readonly broker: Broker
  readonly world: World
  isAlive = true
  isStopping = false
  stalledUntilMs = 0
  readonly #putOff = new Set<() => void>()
  stalledSinceMs = 0
  diedAtMs = Number.POSITIVE_INFINITY
  /** How wrong its clock goes. */
  offsetMs = 0
  setBackAtMs = 0
  /** Codes and usernames that it works on, each as often as it was asked. */
  readonly #busyWith = new Map<string, number>()

  constructor(world: World, name: string, disk: Disk) {
    this.world = world
    this.name = name
    this.disk = disk
    const { random } = world
    const policy = {
      marginMs: 600_000,
      marginRatio: 0.2,
      minTtlMs: 1_000,
      defaultLifetimeMs: 3_600_000,
      leaseMs: LEASE_MS,
      sendWithinMs: SEND_WITHIN_MS,
      idleAfterMs: world.plan.idleAfterMs,
    }
    const client = {
      redirectUris: ['https://a'],
      scopes: ['s'],
      returnToOrigins: [],
      pkce: false,
      requireState: false,
      passwordGrant: world.plan.passwordGrant.on,
    }
    this.broker = createBroker(
      { policy, client, backgroundConcurrency: 8 },
      {
        clock: this.#clock(),
        random: { token: () => `${name}.${random.between(0, 1e9)}`, fraction: () => random.next() },
        stores: this.#stores(),
        provider: this.#provider(),
        slots: createSlots(8),
        events: { emit: event => this.#heard(event) },
        meter: silentMeter,
        tracing: noTracing,
        journal: this.#journal(),
      },
    )
  }

  /** Its time stops for good; what it has sent goes on without it. */
  crash(): void {
    this.isAlive = false
    this.diedAtMs = this.world.schedule.nowMs
    this.world.lostWith(this)
    for (const key of this.#busyWith.keys()) this.world.doubts.add(key)
  }

  /** Works on a code or a username for a client. */
  async during<T>(key: string, work: () => Promise<T>): Promise<T> {
    const count = (by: number) => {
      const times = (this.#busyWith.get(key) ?? 0) + by
      if (times === 0) this.#busyWith.delete(key)
      else this.#busyWith.set(key, times)
    }
    count(1)
    try {
      return await work()
    } finally {
      count(-1)
    }
  }

  /** By its own clock. */
  nowMs(): number {
    return this.world.schedule.nowMs + this.world.offsetMs + this.offsetMs
  }

  #heard(event: BrokerEvent): void {
    if (this.isAlive) this.world.heard(this, event)
  }

  /**
   * Something comes back to this process: unless it is dead, and not before it wakes. `lagMs`: what a socket holds while the
   * process sleeps is read so long after the timers that are due by then.
   */
  #comeBack(ms: number, arrive: () => void, lost: () => void = () => {}, lagMs = 0): void {
    this.world.schedule.after(ms, () => {
      if (!this.isAlive) return lost()
      const leftMs = this.stalledUntilMs - this.world.schedule.nowMs
      if (leftMs <= 0) return arrive()
      const once = () => {
        if (this.#putOff.delete(once)) this.#comeBack(lagMs, arrive, lost)
      }
      this.#putOff.add(once)
      this.world.schedule.after(leftMs, once)
    })
  }

  /** Before its time: whatever has waited for it comes to it now, in order. */
  wake(): void {
    this.stalledUntilMs = Math.min(this.stalledUntilMs, this.world.schedule.nowMs)
    for (const once of [...this.#putOff]) once()
  }

  #clock(): Clock {
    const clock: Clock = {
      now: () => this.nowMs(),
      sleep: (ms, signal) => sleepBy(clock, ms, signal),
      after: (ms, act) => {
        let isCalledOff = false
        this.#comeBack(ms, () => {
          if (!isCalledOff) act()
        })
        return () => {
          isCalledOff = true
        }
      },
    }
    return clock
  }

  #stores(): Stores {
    const wrapped = Object.entries(this.world.storesFor(this)).map(([name, member]) => {
      if (typeof member === 'function' || name === 'sightings') return [name, member]
      const methods = Object.entries(member as Record<string, (...args: unknown[]) => Promise<unknown>>)
      return [name, Object.fromEntries(methods.map(([method, run]) => [method, this.#storeCall(method, run)]))]
    })
    const stores = Object.fromEntries(wrapped) as Stores
    const { read } = stores.grants
    const { write } = stores.exchanges
    // A record lives for as long as its writer says when it sends it, counted by the server's clock and not by the writer's.
    const byServersClock = (next: Exchange): Exchange => ({
      ...next,
      expiresAtMs: next.expiresAtMs - this.nowMs() + this.world.schedule.nowMs,
    })
    const exchanges: Stores['exchanges'] = {
      ...stores.exchanges,
      write: (key, ifRevision, next) => write(key, ifRevision, next === null ? null : byServersClock(next)),
    }
    // Each may lie on a server of its own.
    const readMany = (guids: readonly string[]) => guids.map(read)
    const sightings = createSightings(this.#clock(), MOST_SIGHTINGS)
    sightings.listening()
    this.world.hearers.add(this.#hearing(sightings))
    return { ...stores, exchanges, sightings, grants: sightings.watching({ ...stores.grants, readMany }) }
  }

  /** What comes of a word: it arrives; or its connection hangs, until that is noticed, and a new one is there. */
  #hearing(sightings: SightingsKeeper): (guid: string) => void {
    const { random } = this.world
    let hangs = false
    return guid => {
      if (hangs) return
      if (!random.chance(this.world.faults.lostWord)) {
        return this.#comeBack(random.between(0, 3), () => sightings.changed(guid))
      }
      hangs = true
      this.#comeBack(random.between(0, SIGHTING_LASTS_MS - 500), () => {
        sightings.deaf()
        this.#comeBack(random.between(10, 400), () => {
          hangs = false
          sightings.listening()
        })
      })
    }
  }

  #storeCall(method: string, run: (...args: unknown[]) => Promise<unknown>) {
    const { faults, random, schedule } = this.world
    if (method === 'settled') {
      return (...args: unknown[]) => {
        const isLost = random.chance(faults.lostWord)
        const signal = args[1] as AbortSignal
        const told = isLost ? new Promise(resolve => signal.addEventListener('abort', resolve)) : run(...args)
        return new Promise<void>(resolve => void told.then(() => this.#comeBack(random.between(0, 3), resolve)))
      }
    }
    return (...args: unknown[]) =>
      new Promise<unknown>((resolve, reject) => {
        const refuse = () => reject(new StoreUnavailable('the store is away'))
        const isSlow = this.world.hits('storeSlow')
        const isTooSlow = isSlow && random.chance(0.5)
        const reachesAfterMs = this.#storeTakesMs(isSlow, isTooSlow)
        if (isTooSlow) this.#comeBack(STORE_DEADLINE_MS, refuse)
        schedule.after(reachesAfterMs, () => {
          if (this.world.isStoreAway || this.world.hits('storeRefuses')) return this.#comeBack(1, refuse)
          const isAnswerLost = method !== 'read' && method !== 'standing' && this.world.hits('storeAnswerLost')
          run(...args).then(answer => {
            this.#comeBack(isAnswerLost ? STORE_DEADLINE_MS : random.between(0, 4), () => {
              if (isAnswerLost) refuse()
              else resolve(answer)
            })
          }, reject)
        })
      })
  }

  #storeTakesMs(isSlow: boolean, isTooSlow: boolean): number {
    const { random } = this.world
    if (isTooSlow) return random.between(STORE_DEADLINE_MS, 4_000)
    return isSlow ? random.between(20, STORE_DEADLINE_MS - 20) : random.between(0, 4)
  }

  #provider(): Provider {
    const { model } = this.world
    return {
      authorizationUrl: () => 'https://provider',
      exchange: ({ code }) => {
        const text = code.reveal()
        const key = model.codes.get(text)?.guid ?? ''
        return this.#ask({ key, doubt: text, isFresh: true, work: nowMs => model.exchange(text, nowMs) })
      },
      refresh: token => {
        const row = model.rowOf(token)
        const guid = row?.guid ?? ''
        const askedAtMs = this.world.asked(this, guid, row)
        if (row !== undefined && !this.world.isReasonToRenew(row)) this.world.needless.push(row)
        const work = (nowMs: number) => {
          const outcome = model.refresh(token, nowMs)
          this.world.brings(this, outcome, askedAtMs)
          return outcome
        }
        return this.#ask<TokenAnswer>({ key: guid, work, isRefusedAnyway: row?.isAlive !== true })
      },
      createUser: ({ username, password }) =>
        this.#ask({
          key: username,
          doubt: username,
          isFresh: true,
          work: nowMs => model.createUser(username, password, nowMs),
        }),
      revoke: token => this.#ask<null>({ key: '', work: nowMs => model.revoke(token, nowMs) }),
      probe: () => this.#ask<null>({ key: '', work: () => ({ kind: 'ok', value: null }) }),
      identify: async () => ({ kind: 'ok', value: null }),
      authenticate: ({ username, password }) => {
        this.world.note(`${this.name} asks for a pair by the password of ${username}`)
        return this.#ask({ key: username, work: nowMs => model.authenticate(username, password, nowMs) })
      },
      present: token => this.#ask<boolean>({ key: '', isBearer: true, work: nowMs => model.present(token, nowMs) }),
    }
  }

  #ask<T>({
    key,
    doubt,
    isFresh = false,
    isBearer = false,
    work,
    isRefusedAnyway = false,
  }: Ask<T>): Promise<Outcome<T>> {
    const { random, schedule, world } = { ...this.world, world: this.world }
    return new Promise(resolve => {
      const isUncertain = () => {
        if (doubt !== undefined) world.doubts.add(doubt)
      }
      const back = (ms: number, outcome: Outcome<T>) => {
        if (outcome.kind === 'unknown') isUncertain()
        const lose = () => {
          isUncertain()
          world.lost(outcome, 'the process died before the answer came')
        }
        const arrive = () => {
          world.delivered(this, outcome)
          resolve(outcome)
        }
        this.#comeBack(ms, arrive, lose, random.between(0, MOST_LAG_MS))
      }
      if (world.hits('unreachable')) return back(random.between(1, 50), unreachable)
      if (isFresh && world.hits('freshConnectionDies')) return back(random.between(5, 80), unreachable)
      if (!isFresh && world.hits('keptConnectionDies')) return back(random.between(2, 40), unsettled)
      if (world.hits('lostBefore')) return back(DEADLINE_MS, unsettled)
      const isSlow = world.hits('providerSlow') || world.dawdles.delete(key)
      const reachesMs = random.between(2, 60)
      // The provider is slow, or its answer is.
      const isAnswerSlow = isSlow && random.chance(0.5)
      const takesMs = isSlow && !isAnswerSlow ? random.between(500, 1_800) : random.between(2, 80)
      const returnsMs = isAnswerSlow ? random.between(500, 1_800) : random.between(2, 60)
      schedule.after(reachesMs, () => {
        const trouble = world.providerTrouble
        if (trouble === 'hangs') return back(DEADLINE_MS - reachesMs, unsettled)
        if (trouble === 'fails' || world.hits('failsBefore')) return back(5, failed500)
        if (trouble === 'refusesClient' && !isBearer) return back(5, isRefusedAnyway ? rejected : clientRefused)
        if (trouble === 'busy' || world.hits('busy')) {
          return back(5, { kind: 'unavailable', upstream: { status: 429 }, retryAfterSeconds: random.between(1, 4) })
        }
        schedule.after(takesMs, () => {
          const outcome = work(schedule.nowMs)
          if (outcome.kind === 'ok' && world.hits('answerLost')) {
            world.lost(outcome, 'the answer was lost')
            return back(random.chance(0.5) ? 5 : DEADLINE_MS - reachesMs - takesMs, unsettled)
          }
          if (outcome.kind === 'ok' && world.hits('failsAfter')) {
            world.lost(outcome, 'a 500 came after the commit')
            return back(5, failed500)
          }
          back(returnsMs, outcome)
        })
      })
    })
  }

  #journal(): Journal {
    const key = (rotation: Rotation) => `${rotation.guid} ${rotation.replacesVersion} ${rotation.spentFingerprint}`
    const onDisk = <T>(work: () => T): Promise<T> => {
      if (!this.isAlive) return never
      return new Promise(resolve => {
        const done = work()
        this.#comeBack(2, () => resolve(done))
      })
    }
    return {
      prepare: () => onDisk(() => {}),
      put: rotation => onDisk(() => void this.disk.set(key(rotation), rotation)),
      remove: rotation => onDisk(() => void this.disk.delete(key(rotation))),
      count: () => onDisk(() => this.disk.size),
      entries: () => onDisk(() => [...this.disk.values()]),
    }
  }
}
