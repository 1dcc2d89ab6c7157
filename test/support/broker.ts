import { type Broker, createBroker } from '../../src/broker/broker.ts'
import type { RefreshPolicy } from '../../src/broker/policy.ts'
import type { BrokerEvent } from '../../src/ports/events.ts'
import type { Journal, Rotation } from '../../src/ports/journal.ts'
import type { Meter } from '../../src/ports/meter.ts'
import type { Stores } from '../../src/ports/store.ts'
import { noTracing } from '../../src/ports/tracing.ts'
import { createMemoryStores } from '../../src/store/memory.ts'
import { systemRandom } from '../../src/system/random.ts'
import { createSlots } from '../../src/system/slots.ts'
import { ManualClock } from './clock.ts'
import { ScriptedProvider } from './provider.ts'

/** A journal in memory, to look into. */
export class MemoryJournal implements Journal {
  readonly kept = new Map<string, Rotation>()

  async prepare(): Promise<void> {}

  async put(rotation: Rotation): Promise<void> {
    this.kept.set(`${rotation.guid} ${rotation.replacesVersion}`, rotation)
  }

  async remove(rotation: Rotation): Promise<void> {
    this.kept.delete(`${rotation.guid} ${rotation.replacesVersion}`)
  }

  async count(): Promise<number> {
    return this.kept.size
  }

  async entries(): Promise<readonly Rotation[]> {
    return [...this.kept.values()]
  }
}

export interface World {
  readonly clock: ManualClock
  readonly provider: ScriptedProvider
  readonly stores: Stores
  readonly journal: MemoryJournal
  readonly events: BrokerEvent[]
  /** What all replicas have counted, in order. */
  readonly served: Parameters<Meter['served']>[]
  readonly refreshed: Parameters<Meter['refreshed']>[]
  /** Another replica on the same clock and provider; and, unless it is given another way to it, on the same store. */
  replica(stores?: Stores, concurrency?: number): Broker
}

export const LEASE_MS = 15_000

export function createWorld(
  options: { stores?: Stores; policy?: Partial<RefreshPolicy>; passwordGrant?: boolean } = {},
): World {
  const clock = new ManualClock()
  const provider = new ScriptedProvider()
  const journal = new MemoryJournal()
  const events: BrokerEvent[] = []
  const served: World['served'] = []
  const refreshed: World['refreshed'] = []
  const stores = options.stores ?? createMemoryStores(clock)
  const world = { clock, provider, stores, journal, events, served, refreshed }
  const policy = {
    marginMs: 600_000,
    marginRatio: 0.2,
    minTtlMs: 30_000,
    defaultLifetimeMs: 3_600_000,
    leaseMs: LEASE_MS,
    sendWithinMs: 2_500,
    idleAfterMs: 0,
    ...options.policy,
  }
  const client = {
    redirectUris: ['https://app.example/cb'],
    scopes: ['profile_read'],
    returnToOrigins: [],
    pkce: true,
    requireState: false,
    passwordGrant: options.passwordGrant ?? false,
  }
  return {
    ...world,
    replica: (stores = world.stores, concurrency = 8) =>
      createBroker(
        { policy, client, backgroundConcurrency: concurrency },
        {
          ...world,
          stores,
          random: systemRandom,
          slots: createSlots(concurrency),
          events: { emit: event => events.push(event) },
          tracing: noTracing,
          meter: {
            served: (...facts) => served.push(facts),
            refreshed: (...facts) => refreshed.push(facts),
          },
        },
      ),
  }
}
