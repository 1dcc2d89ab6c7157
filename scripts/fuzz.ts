/**
 * Every route from its own schema, and what no schema has: `npm run fuzz`, or `-- --seed 7 --cases 1000`. Exits 1 at the
 * first violation, with the smallest sequence that shows it and the command to see it again.
 */
import { parseArgs } from 'node:util'
import { growth } from '../test/fuzz/growth.ts'
import { fuzz } from '../test/fuzz/run.ts'
import { startWorld } from '../test/fuzz/world.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    cases: { type: 'string', default: '100000' },
  },
})
const [seed, cases] = [Number(values.seed), Number(values.cases)]
const PROGRESS_EVERY = 10_000

print(`npm run fuzz -- --seed ${seed} --cases ${cases}`)
const startedAtMs = Date.now()
const world = await startWorld()
let told = 0
try {
  const report = await fuzz(world, {
    seed,
    cases,
    onRound(done) {
      if (done < told + PROGRESS_EVERY) return
      told = done
      print(`${done} cases after ${seconds()} s`)
    },
  })
  print(JSON.stringify({ ...report, seconds: seconds() }, null, 2))
  const violation = report.violation ?? growth(report.figures, seed)
  if (violation !== null) {
    print(`VIOLATION at seed ${violation.seed}: ${violation.text}`)
    print(`again: npm run fuzz -- --seed ${violation.seed} --cases 1`)
    process.exitCode = 1
  }
} finally {
  await world.close()
}

function seconds(): number {
  return Math.round((Date.now() - startedAtMs) / 1000)
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
