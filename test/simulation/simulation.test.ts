import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { mutants } from '../../scripts/mutants.ts'
import { DISASTERS, FAULTS, planOf } from './plan.ts'
import { simulate } from './run.ts'

/** Six of each style of plan (`planOf`). */
const SEEDS = 48

t.test(`${SEEDS} seeds: whatever happens, nobody is lost who need not be`, async t => {
  const hit = new Map<string, number>()
  let steps = 0
  let rotations = 0
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const report = await simulate(planOf(seed))
    t.equal(report.violation, null, `again: npm run simulate -- --seeds 1 --from ${seed}`)
    for (const [kind, times] of Object.entries(report.hit)) hit.set(kind, (hit.get(kind) ?? 0) + times)
    steps += report.steps
    rotations += report.counts.rotations
  }
  for (const kind of [...FAULTS, ...DISASTERS]) t.ok((hit.get(kind) ?? 0) > 0, `${kind} has happened`)
  t.ok(rotations > 10 * SEEDS, `${rotations} rotations in ${steps} steps`)
})

t.test('the same seed is the same run', async t => {
  for (let seed = 1; seed <= SEEDS; seed += 9) {
    const [first, second] = [await simulate(planOf(seed)), await simulate(planOf(seed))]
    t.ok(first.steps > 1_000)
    t.equal(first.digest, second.digest, `seed ${seed}`)
  }
})

t.test('each deliberate fault still finds its place in the engine; `npm run simulate:mutants` tries them', async t => {
  t.ok(mutants.length >= 10)
  for (const { name, file, find } of mutants) {
    const text = readFileSync(join(import.meta.dirname, '../..', file), 'utf8')
    t.equal(text.split(find).length - 1, 1, name)
  }
})
