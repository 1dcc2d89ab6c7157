/**
 * Several gateways, one store, a provider that fails, and chance: `npm run simulate -- --seeds 200 --from 1`, or
 * `-- --steps 1000000` for as many seeds as it takes. Exits 1 at the first violation, and says how to see it again. With
 * `--twice` each seed runs twice, and has to give the same: what happens depends on nothing but the seed.
 */
import { parseArgs } from 'node:util'
import { planOf } from '../test/simulation/plan.ts'
import { simulate } from '../test/simulation/run.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '200' },
    from: { type: 'string', default: '1' },
    steps: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    twice: { type: 'boolean', default: false },
    trace: { type: 'string', default: '60' },
  },
})
const from = Number(values.from)
const leastSteps = values.steps === undefined ? 0 : Number(values.steps)
const last = values.steps === undefined ? from + Number(values.seeds) - 1 : Number.POSITIVE_INFINITY

const total = { seeds: 0, steps: 0, reads: 0, rotations: 0, refreshes: 0, spentTwice: 0, lostPairs: 0, ended: 0 }
const hit: Record<string, number> = {}
for (let seed = from; seed <= last && (leastSteps === 0 || total.steps < leastSteps); seed += 1) {
  const first = await simulate(planOf(seed), Number(values.trace))
  const isSame = !values.twice || (await simulate(planOf(seed), 0)).digest === first.digest
  const report = isSame ? first : { ...first, violation: first.violation ?? 'the same seed ran differently' }
  total.seeds += 1
  total.steps += report.steps
  total.reads += report.counts.reads
  total.rotations += report.counts.rotations
  total.refreshes += report.refreshes
  total.spentTwice += report.spentTwice
  total.lostPairs += report.lostPairs
  total.ended += report.counts.ended
  for (const [kind, times] of Object.entries(report.hit)) hit[kind] = (hit[kind] ?? 0) + times
  if (report.violation !== null || values.verbose) {
    for (const line of report.trace) print(`  ${line}`)
    print(JSON.stringify({ ...report.plan, hit: report.hit }))
  }
  if (report.violation !== null) {
    print(`VIOLATION at seed ${seed}: ${report.violation}`)
    print(`again: npm run simulate -- --seeds 1 --from ${seed}`)
    process.exitCode = 1
    break
  }
}
print(JSON.stringify({ total, hit }, null, 2))

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
