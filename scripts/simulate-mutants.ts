/**
 * Shows that the simulation can fail: deliberate faults in the engine, one at a time, in a copy of it, each of which it has
 * to catch. Exits 1 where one survives. `npm run simulate:mutants`, or `-- --only <part of a name>`.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { type Mutant, mutants } from './mutants.ts'
import { withCopy } from './mutated-copy.ts'

const SEEDS = 3_000
const NEEDED = ['src', 'test/simulation', 'test/support', 'scripts/simulate.ts', 'package.json', 'tsconfig.json']
const AT_ONCE = 2

const { values } = parseArgs({ options: { only: { type: 'string', default: '' } } })
const chosen = mutants.filter(mutant => mutant.name.includes(values.only))
const queue = [...chosen]
let survivors = 0

// What is wrong without any of them would seem to catch them all.
const wrongAnyway = await simulate(null)
if (wrongAnyway !== null) throw new Error(`the engine as it is: ${wrongAnyway}`)
print(`passes    the engine as it is, ${SEEDS} seeds`)

await Promise.all(Array.from({ length: AT_ONCE }, work))
print(`${chosen.length} deliberate faults, ${chosen.length - survivors} caught`)
process.exitCode = survivors > 0 ? 1 : 0

async function work(): Promise<void> {
  for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
    const found = await simulate(mutant)
    if (found === null) survivors += 1
    print(`${found === null ? 'SURVIVED' : 'caught  '}  ${mutant.name.padEnd(62)} ${found ?? ''}`)
  }
}

/** The violation that gave it away; null: none in all seeds. */
async function simulate(mutant: Mutant | null): Promise<string | null> {
  return await withCopy(NEEDED, mutant === null ? [] : [mutant], async copy => {
    const output = await run(copy)
    const violation = /^VIOLATION at (seed \d+: .*)$/m.exec(output)?.[1]
    if (violation !== undefined) return violation
    if (output.includes('"total"')) return null
    throw new Error(`${mutant?.name ?? 'the engine as it is'}: the simulation did not run:\n${output.slice(-2_000)}`)
  })
}

async function run(copy: string): Promise<string> {
  const args = ['--import', 'tsx', 'scripts/simulate.ts', '--seeds', String(SEEDS)]
  const child = spawn(process.execPath, args, { cwd: copy, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', chunk => {
      output += String(chunk)
    })
  }
  await once(child, 'close')
  return output
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
