/**
 * The same with BullMQ: a delayed job for each grant, which is due at once, is processed, and is delayed again. Of the ways to do
 * that, `moveToDelayed` is the one that costs least.
 */
import { DelayedError, Queue, Worker } from 'bullmq'
import { usedBytes, withRedis } from '../redis.ts'
import { guidOf } from './grants.ts'
import { type Done, observed, readTask, tellDone } from './window.ts'

const ADDED_AT_ONCE = 1000
const HOURS_MS = 2 * 3_600_000

const task = readTask()
const { hostname: host, port } = new URL(task.redisUrl)
const connection = { host, port: Number(port) }
const queue = new Queue('grants', { connection })
await queue.waitUntilReady()
const before = await usedBytes(task.redisUrl)
await add(0, task.grants, HOURS_MS)
const bytes = ((await usedBytes(task.redisUrl)) - before) / task.grants
await withRedis(task.redisUrl, client => client.flushall())
await add(task.due, task.grants, HOURS_MS)
await add(0, task.due, 1)

let cycles = 0
const worker = new Worker(
  'grants',
  async (job, token) => {
    await job.moveToDelayed(Date.now() + 1, token)
    cycles += 1
    throw new DelayedError()
  },
  { connection, concurrency: task.batch },
)
const done: Done = { bytes, ...(await observed(task, () => cycles)) }
await worker.close(true)
await queue.close()
tellDone(done)

async function add(from: number, to: number, delay: number): Promise<void> {
  for (let first = from; first < to; first += ADDED_AT_ONCE) {
    const jobs = Array.from({ length: Math.min(ADDED_AT_ONCE, to - first) }, (_, index) => {
      return { name: 'renew', data: { guid: guidOf(first + index) }, opts: { delay, removeOnComplete: true } }
    })
    await queue.addBulk(jobs)
  }
}
