/** Fills the store, or reads and claims in it, through the gateway's own store. */

import { guidOf, POLICY } from '../engine/grants.ts'
import { fill, openStores } from '../engine/store.ts'
import { percentile } from '../statistics.ts'

/** What it is told, as its one argument, in JSON. */
export interface StoreTask {
  readonly redisUrl: string
  readonly keys: string
  /** Grants `from` … `to` - 1 are written first. */
  readonly from: number
  readonly to: number
  /** How many of the `to` are read after that, one after the other; 0: none, and nothing is claimed. */
  readonly times: number
}

/** What it prints. */
export interface StoreTimes {
  readonly fillSeconds: number
  readonly readMs: { readonly p50: number; readonly p99: number }
  readonly claimMs: readonly number[]
}

/** Claimed as by the background loop, and due by then. */
const CLAIMED = 32
const CLAIMS = 100
const WARM_UP_CLAIMS = 20

const task: StoreTask = JSON.parse(process.argv[2] ?? '{}')
const stores = openStores(task.redisUrl, task.keys)
await stores.ping()

const begun = performance.now()
await fill(stores.grants, task.from, task.to)
const fillSeconds = (performance.now() - begun) / 1000

const reads: number[] = []
// One third more, for the beginning.
for (let time = -task.times / 3; time < task.times; time += 1) {
  const guid = guidOf(Math.floor(Math.random() * task.to))
  const took = await timed(() => stores.grants.read(guid))
  if (time >= 0) reads.push(took)
}

const claimMs: number[] = []
for (let time = -WARM_UP_CLAIMS; task.times > 0 && time < CLAIMS; time += 1) {
  await makeDue()
  const nowMs = Date.now()
  const took = await timed(() => stores.grants.claimDue({ nowMs, untilMs: nowMs + POLICY.leaseMs, limit: CLAIMED }))
  if (time >= 0) claimMs.push(took)
}
await stores.close()
const times: StoreTimes = {
  fillSeconds,
  readMs: { p50: percentile(reads, 50), p99: percentile(reads, 99) },
  claimMs,
}
process.stdout.write(`${JSON.stringify(times)}\n`)

async function timed(run: () => Promise<unknown>): Promise<number> {
  const from = performance.now()
  await run()
  return performance.now() - from
}

/** As many as are claimed at once. */
async function makeDue(): Promise<void> {
  const dueAtMs = Date.now() - 1
  const some = Array.from({ length: CLAIMED }, () => guidOf(Math.floor(Math.random() * task.to)))
  await Promise.all(
    [...new Set(some)].map(async guid => {
      const stored = await stores.grants.read(guid)
      if (stored !== null) await stores.grants.write(guid, stored.revision, { ...stored.record, dueAtMs })
    }),
  )
}
