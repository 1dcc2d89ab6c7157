/** Claiming and committing, and what a grant takes in Redis, against a job queue. */
import { print } from '../../scripts/processes.ts'
import { output } from '../children.ts'
import type { Options } from '../options.ts'
import { nodeOf } from '../pinned.ts'
import { startRedis, withRedis } from '../redis.ts'
import { atLeast, atMost, type Findings, inDigits } from '../report.ts'
import { median, ratio } from '../statistics.ts'
import { withDirectory } from '../temporary.ts'
import type { Done, Task } from './window.ts'

/** How many are taken at once. */
const BATCH = 256
/** Due at a time where it goes its usual way. */
const FEW = 512

const SITUATIONS = { few: `${FEW} due at a time`, all: 'all due, as after an outage' } as const
const PROGRAMS = { store: 'our store', bullmq: 'BullMQ' } as const
type Situation = keyof typeof SITUATIONS
type Program = keyof typeof PROGRAMS
type Name = `${Program} ${Situation}`

const CONTENDERS = (Object.keys(SITUATIONS) as Situation[]).flatMap(situation =>
  (Object.keys(PROGRAMS) as Program[]).map(program => ({
    program,
    situation,
    name: `${program} ${situation}` as Name,
  })),
)

export async function cycles({ grants, rounds, seconds }: Options): Promise<Findings> {
  const done: Record<Name, Done[]> = { 'store few': [], 'store all': [], 'bullmq few': [], 'bullmq all': [] }
  await withDirectory(async directory => {
    const redis = await startRedis(directory, { isKept: true })
    for (let round = 1; round <= rounds; round += 1) {
      for (const { name, program, situation } of CONTENDERS) {
        await withRedis(redis.url, client => client.flushall())
        const due = situation === 'few' ? Math.min(FEW, grants) : grants
        const task: Task = { redisUrl: redis.url, redisPid: redis.pid, grants, due, seconds, batch: BATCH }
        const command = nodeOf(`bench/engine/${program}-cycles`, JSON.stringify(task))
        done[name].push(JSON.parse(await output('measured', command)))
      }
      print(`  engine: round ${round} of ${rounds}`)
    }
    await redis.stop()
  })

  const all = (name: Name, what: keyof Done) => done[name].map(one => one[what])
  const times = (situation: Situation) =>
    ratio(all(`store ${situation}`, 'perSecond'), all(`bullmq ${situation}`, 'perSecond'))
  const middle = (name: Name, what: keyof Done) => inDigits(median(all(name, what)))
  return {
    tables: [
      {
        title: `Claim and commit, ${inDigits(grants)} grants, ${BATCH} at once`,
        columns: ['', 'cycles/s', 'of BullMQ', 'CPU µs', 'CPU µs in Redis', 'bytes a grant'],
        rows: CONTENDERS.map(({ name, program, situation }) => [
          `${PROGRAMS[program]}, ${SITUATIONS[situation]}`,
          middle(name, 'perSecond'),
          program === 'bullmq' ? '1.00' : times(situation).toFixed(2),
          middle(name, 'cpuMicros'),
          middle(name, 'redisCpuMicros'),
          middle(name, 'bytes'),
        ]),
        notes: [
          "CPU: of a cycle. BullMQ's bytes are those of a job that names its grant: tokens not included. Ours are those of a provisioned person, password and all.",
        ],
      },
    ],
    goals: [
      atLeast(`claim and commit, of BullMQ's cycles, ${SITUATIONS.few}`, 4, times('few')),
      atLeast(`claim and commit, of BullMQ's cycles, ${SITUATIONS.all}`, 4, times('all')),
      atMost('bytes a grant, all included', 600, median(all('store few', 'bytes'))),
    ],
    figures: { cycles: done },
  }
}
