/** What more grants cost: the same questions to a store of ten thousand, a hundred thousand, and a million. */
import { print } from '../../scripts/processes.ts'
import { newEncryptionKey } from '../../src/cli/keys.ts'
import { output } from '../children.ts'
import type { Options } from '../options.ts'
import { nodeOf } from '../pinned.ts'
import { usedBytes, withRedis } from '../redis.ts'
import { atMost, type Findings, inDigits } from '../report.ts'
import { median, ratio } from '../statistics.ts'
import { residentMib } from '../usage.ts'
import { startWorld, type World } from '../world.ts'
import type { StoreTask, StoreTimes } from './store-times.ts'

/** What was found at one size. */
interface Size {
  readonly grants: number
  readonly fillSeconds: number
  readonly redisMib: number
  readonly bytesAGrant: number
  readonly store: StoreTimes
  readonly startMs: readonly number[]
  readonly gatewayMib: number
  readonly rotationSeconds: number
}

const SMALLEST = 10_000
const STEP = 10

export async function growth({ growth: largest, rounds }: Options): Promise<Findings> {
  const world = await startWorld({ isKept: false })
  const sizes: Size[] = []
  let keys = world.settings.ENCRYPTION_KEYS ?? ''
  const empty = await usedBytes(world.redisUrl)
  for (let grants = Math.min(SMALLEST, largest); grants <= largest; grants *= STEP) {
    const have = sizes.at(-1)?.grants ?? 0
    const fill: StoreTask = { redisUrl: world.redisUrl, keys, from: have, to: grants, times: 0 }
    const { fillSeconds } = await storeTimes(fill)
    const bytes = (await usedBytes(world.redisUrl)) - empty
    const store = await storeTimes({ ...fill, from: grants, times: READS })
    const { gatewayMib, startMs } = await starts(world, keys, rounds)
    keys = `${newEncryptionKey()},${keys}`
    const rotationSeconds = await rotateKeys(world, keys)
    keys = keys.split(',')[0] ?? ''
    const measured = { store, startMs, gatewayMib, rotationSeconds }
    sizes.push({ grants, fillSeconds, redisMib: bytes / 2 ** 20, bytesAGrant: bytes / grants, ...measured })
    print(`  growth: ${inDigits(grants)} grants`)
  }
  await withRedis(world.redisUrl, client => client.flushall())
  await world.close()
  return findings(sizes)
}

const READS = 5_000

async function storeTimes(task: StoreTask): Promise<StoreTimes & { readonly fillSeconds: number }> {
  return JSON.parse(await output('measured', nodeOf('bench/growth/store-times', JSON.stringify(task))))
}

/** From the start of the process until it says that it is ready; and what it takes then. */
async function starts(world: World, keys: string, times: number) {
  const startMs: number[] = []
  let gatewayMib = Number.NaN
  for (let time = 0; time < times; time += 1) {
    const gateway = await world.gateway({ ENCRYPTION_KEYS: keys })
    startMs.push(gateway.readyAfterMs)
    gatewayMib = residentMib(gateway.pid)
    await gateway.stop()
  }
  return { startMs, gatewayMib }
}

async function rotateKeys({ settings }: World, keys: string): Promise<number> {
  const begun = performance.now()
  await output('measured', nodeOf('src/main', 'rotate-keys'), { ...settings, ENCRYPTION_KEYS: keys })
  return (performance.now() - begun) / 1000
}

function findings(sizes: readonly Size[]): Findings {
  const [first, last] = [sizes[0], sizes.at(-1)]
  const goals =
    first === undefined || last === undefined || first === last
      ? []
      : [
          atMost(
            `claim time, ${inDigits(last.grants)} grants, of ${inDigits(first.grants)}'s`,
            1.5,
            ratio([median(last.store.claimMs)], [median(first.store.claimMs)]),
          ),
          atMost(
            `read latency (p50), ${inDigits(last.grants)} grants, of ${inDigits(first.grants)}'s: unchanged`,
            1.1,
            last.store.readMs.p50 / first.store.readMs.p50,
          ),
        ]
  return {
    tables: [
      {
        title: 'Growth',
        columns: ['grants', ...sizes.map(({ grants }) => inDigits(grants))],
        rows: [
          ['read through the store, p50 ms', ...sizes.map(({ store }) => inDigits(store.readMs.p50))],
          ['… p99 ms', ...sizes.map(({ store }) => inDigits(store.readMs.p99))],
          ['claim of 32 due, median ms', ...sizes.map(({ store }) => inDigits(median(store.claimMs)))],
          ['Redis, MiB', ...sizes.map(({ redisMib }) => inDigits(redisMib))],
          ['… bytes a grant', ...sizes.map(({ bytesAGrant }) => inDigits(bytesAGrant))],
          ['gateway ready after, median ms', ...sizes.map(({ startMs }) => inDigits(median(startMs)))],
          ['… its RSS then, MiB', ...sizes.map(({ gatewayMib }) => inDigits(gatewayMib))],
          ['rotate-keys, s', ...sizes.map(({ rotationSeconds }) => inDigits(rotationSeconds))],
          ['filled in, s', ...sizes.map(({ fillSeconds }) => inDigits(fillSeconds))],
        ],
        notes: ['Redis keeps nothing on the disk here; reads are one after the other, on one connection.'],
      },
    ],
    goals,
    figures: { growth: sizes },
  }
}
