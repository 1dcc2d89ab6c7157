/**
 * Claims what is due, and writes each of it back renewed and due again, as fast as it goes: the engine's work without the
 * provider.
 */
import { usedBytes } from '../redis.ts'
import { POLICY, renewed } from './grants.ts'
import { fill, openStores } from './store.ts'
import { type Done, observed, readTask, tellDone } from './window.ts'

const task = readTask()
const stores = openStores(task.redisUrl)
await stores.ping()
const before = await usedBytes(task.redisUrl)
await fill(stores.grants, task.due, task.grants)
await fill(stores.grants, 0, task.due, Date.now())
const bytes = ((await usedBytes(task.redisUrl)) - before) / task.grants
let cycles = 0
let isOver = false

// The next claim is under way while the one before is written.
const lanes = [lane(), lane()]
const done: Done = { bytes, ...(await observed(task, () => cycles)) }
isOver = true
await Promise.all(lanes)
await stores.close()
tellDone(done)

async function lane(): Promise<void> {
  while (!isOver) {
    const nowMs = Date.now()
    const claimed = await stores.grants.claimDue({ nowMs, untilMs: nowMs + POLICY.leaseMs, limit: task.batch })
    await Promise.all(
      claimed.map(async ({ record, revision }) => {
        const written = await stores.grants.write(record.guid, revision, { ...renewed(record, nowMs), dueAtMs: nowMs })
        if (written.ok) cycles += 1
      }),
    )
  }
}
