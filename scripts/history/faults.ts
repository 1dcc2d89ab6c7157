/** What is done to the gateways, to Redis and to the provider. Each fault heals before the next one of its kind begins. */
import { setTimeout as sleep } from 'node:timers/promises'
import { SeededRandom } from '../../test/simulation/random.ts'
import { LEASE_MS, TIMEOUT_MS } from '../gateway-process.ts'
import type { Fleet } from './fleet.ts'
import type { FaultKind } from './history.ts'
import { CONNECTIONS_REFUSED } from './invariants/no-orphans.ts'
import { now } from './recorder.ts'

interface Way {
  readonly name: string
  readonly fault: FaultKind
  /** How often it is chosen, beside the others of its row; absent: 3. */
  readonly weight?: number
  /** null: it concerns all gateways. */
  readonly strike: (fleet: Fleet, random: SeededRandom) => Promise<number | null>
}

const any = (fleet: Fleet, random: SeededRandom): number => random.between(0, fleet.members.length - 1)

async function stopFor(fleet: Fleet, random: SeededRandom, ms: number): Promise<number> {
  const index = any(fleet, random)
  const { child } = fleet.member(index).gateway
  child.kill('SIGSTOP')
  await sleep(ms)
  child.kill('SIGCONT')
  return index
}

async function killAndStart(fleet: Fleet, random: SeededRandom, indexes: readonly number[]): Promise<void> {
  await Promise.all(indexes.map(index => fleet.kill(index)))
  await sleep(random.between(100, 1_000))
  await Promise.all(indexes.map(index => fleet.startAgain(index)))
}

const MACHINES: readonly Way[] = [
  {
    name: 'SIGKILL',
    fault: 'kill',
    async strike(fleet, random) {
      const index = any(fleet, random)
      await killAndStart(fleet, random, [index])
      return index
    },
  },
  {
    name: 'SIGKILL of all',
    fault: 'kill',
    weight: 1,
    async strike(fleet, random) {
      await killAndStart(fleet, random, [...fleet.members.keys()])
      return null
    },
  },
  {
    name: 'SIGTERM',
    fault: 'terminate',
    async strike(fleet, random) {
      const index = any(fleet, random)
      await fleet.terminate(index)
      await fleet.startAgain(index)
      return index
    },
  },
  {
    name: 'SIGSTOP beyond the deadline',
    fault: 'stop',
    strike: (fleet, random) => stopFor(fleet, random, TIMEOUT_MS + random.between(300, 1_500)),
  },
  {
    name: 'SIGSTOP beyond the lease',
    fault: 'stop',
    strike: (fleet, random) => stopFor(fleet, random, LEASE_MS + random.between(500, 2_000)),
  },
  {
    name: 'Redis cut from one gateway',
    fault: 'redis',
    async strike(fleet, random) {
      const index = any(fleet, random)
      const { redisWire } = fleet.member(index)
      redisWire.cut()
      await sleep(random.between(500, 5_000))
      await redisWire.heal()
      return index
    },
  },
  {
    name: 'Redis silent to one gateway',
    fault: 'redis',
    async strike(fleet, random) {
      const index = any(fleet, random)
      const { redisWire } = fleet.member(index)
      redisWire.hold()
      await sleep(random.between(500, 5_000))
      await redisWire.heal()
      return index
    },
  },
  {
    name: 'Redis paused',
    fault: 'redis',
    async strike(fleet, random) {
      fleet.redis.signal('SIGSTOP')
      await sleep(random.between(500, 4_000))
      fleet.redis.signal('SIGCONT')
      return null
    },
  },
  {
    name: 'Redis killed',
    fault: 'redis',
    async strike(fleet, random) {
      await fleet.redis.end('SIGKILL')
      await sleep(random.between(200, 1_500))
      await fleet.redis.start()
      return null
    },
  },
]

const OPERATIONS = ['exchange', 'refresh', 'refresh', 'users', 'revoke'] as const

type ProviderFault = Parameters<Fleet['sandbox']['addFault']>[0]

/** A fault at the provider that hits so many requests, or those of so long. */
function provider(name: string, fault: (random: SeededRandom) => Omit<ProviderFault, 'operation'>): Way {
  return {
    name,
    fault: 'provider',
    async strike(fleet, random) {
      await fleet.sandbox.addFault({ operation: random.pick(OPERATIONS), ...fault(random) })
      await sleep(random.between(1_000, 3_000))
      await fleet.sandbox.clearFaults()
      return null
    },
  }
}

const PROVIDER: readonly Way[] = [
  provider('slow', random => ({ kind: 'latency', latency_ms: random.between(100, 600) })),
  provider('slower than the deadline', () => ({ kind: 'latency', latency_ms: TIMEOUT_MS + 500, times: 2 })),
  provider('503 before the commit', () => ({ kind: 'status_before', status: 503 })),
  provider('500 after the commit', () => ({ kind: 'status_after', status: 500, times: 1 })),
  provider('dropped before the commit', random => ({ kind: 'drop_before', times: random.between(1, 6) })),
  provider('dropped after the commit', () => ({ kind: 'drop_after', times: 1 })),
  provider('too many requests', () => ({ kind: 'rate_limited', retry_after: 1, times: 3 })),
  {
    name: 'idle connections closed',
    fault: 'provider',
    async strike(fleet, random) {
      for (let times = random.between(3, 10); times > 0; times -= 1) {
        for (const { providerWire } of fleet.members) providerWire.closeIdle()
        await sleep(random.between(20, 200))
      }
      return null
    },
  },
  {
    name: CONNECTIONS_REFUSED,
    fault: 'provider',
    async strike(fleet, random) {
      const index = any(fleet, random)
      const { providerWire } = fleet.member(index)
      providerWire.refuse()
      await sleep(random.between(500, 2_500))
      await providerWire.heal()
      return index
    },
  },
]

/** Two rows of faults side by side, one of the machines and one of the provider, until `isOver` says so. */
export async function strikeUntil(fleet: Fleet, seed: number, isOver: () => boolean): Promise<void> {
  async function row(ways: readonly Way[], random: SeededRandom, quietAtMostMs: number): Promise<void> {
    const drawn = ways.flatMap(way => Array.from({ length: way.weight ?? 3 }, () => way))
    while (!isOver()) {
      const way = random.pick(drawn)
      const beganMs = now()
      const gateway = await way.strike(fleet, random)
      fleet.recordFault(way.fault, way.name, gateway, beganMs)
      await sleep(random.between(200, quietAtMostMs))
    }
  }
  await Promise.all([
    row(MACHINES, new SeededRandom(seed * 7 + 1), 2_500),
    row(PROVIDER, new SeededRandom(seed * 7 + 2), 1_500),
  ])
}
