/**
 * Plans of the simulation with the records on a real Redis: its scripts, its formats and its encryption take the place of the
 * memory store. Time is simulated all the same. Published words come when they come, so a run is not repeatable; what has to
 * hold is the same.
 */
import type { Test } from 'tap'
import { openRedisStores } from '../contract/redis-stores.ts'
import { startRedis } from '../support/redis.ts'
import { serverBackend } from './backend.ts'
import { planOf } from './plan.ts'
import { simulate } from './run.ts'
import { Schedule } from './schedule.ts'

/** Less than in memory: each step waits for the server. */
const FAULTY_FOR_MS = 45_000

export async function checkOnRedis(t: Test, seeds: readonly number[]): Promise<void> {
  const server = await startRedis()
  t.teardown(() => server.stop())
  for (const seed of seeds) {
    const schedule = new Schedule()
    const backend = serverBackend(schedule, clock => openRedisStores(server, clock, { prefix: `seed${seed}` }))
    const report = await simulate({ ...planOf(seed), faultyForMs: FAULTY_FOR_MS }, 60, schedule, backend)
    await backend.close()
    if (report.violation !== null) t.comment(report.trace.join('\n'))
    t.equal(report.violation, null, `seed ${seed}`)
    t.ok(report.counts.reads > 100, `${report.counts.reads} reads`)
  }
}
