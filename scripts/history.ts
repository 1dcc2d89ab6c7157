/**
 * Three real gateways, a real Redis, the sandbox, twelve clients that make every call, and faults: `npm run history -- --seed 1
 * --minutes 3`. Writes a history of who asked what and when, and judges it at rest by the invariants in
 * scripts/history/invariants. Exits 1 where one is violated, and keeps the history then. `--check FILE` judges a kept one again.
 * `--mutant NAME` (or a part of it, or `all`) runs gateways with a deliberate fault, and exits 1 where it is not caught.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { readHistory } from './history/history.ts'
import { type HistoryMutant, historyMutants } from './history/mutants.ts'
import { Recorder } from './history/recorder.ts'
import { type Judgement, judge, told } from './history/report.ts'
import { run } from './history/run.ts'
import { withCopy } from './mutated-copy.ts'
import { print } from './processes.ts'

type Mode = 'instant' | 'on_use'

/** What a gateway is built from. */
const NEEDED = ['src', 'plugins', 'routes', 'sandbox', 'console', 'scripts/build.js']
const BUILD = ['package.json', 'tsconfig.json', 'tsconfig.build.json']

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 100_000) },
    minutes: { type: 'string' },
    rotation: { type: 'string', default: 'both' },
    'password-grant': { type: 'boolean', default: false },
    mutant: { type: 'string' },
    check: { type: 'string' },
  },
})
const { seed, rotation } = values
const passwordGrant = values['password-grant']
const minutes = values.minutes ?? (values.mutant === undefined ? '3' : '1')
if (!['instant', 'on_use', 'both'].includes(rotation))
  throw new Error(`--rotation ${rotation}: instant, on_use or both`)

if (values.check !== undefined) tell(values.check, judge(readHistory(values.check)))
else if (values.mutant !== undefined) await tryMutants(values.mutant)
else for (const mode of rotation === 'both' ? (['instant', 'on_use'] as const) : [rotation as Mode]) await runOnce(mode)
process.exit()

async function runOnce(mode: Mode): Promise<void> {
  const recorder = new Recorder()
  const judgement = await runWith(recorder, mode, 'dist/src/main.js')
  tell(recorder.file, judgement)
  if (judgement.violations.size === 0) return recorder.discard()
  const flag = passwordGrant ? ' --password-grant' : ''
  print(`again: npm run history -- --seed ${seed} --minutes ${minutes} --rotation ${mode}${flag}`)
}

async function runWith(recorder: Recorder, mode: Mode, program: string): Promise<Judgement> {
  print(`seed ${seed}, ${mode}, ${minutes} min${passwordGrant ? ', password grant' : ''}: ${recorder.file}`)
  const options = { rotation: mode, passwordGrant, program, seed: Number(seed), minutes: Number(minutes) }
  const lateMs = await run(recorder, options)
  print(`this process was late by ${lateMs} ms at most`)
  return judge(recorder.history)
}

function tell(file: string, judgement: Judgement): void {
  print(JSON.stringify(judgement.figures, null, 2))
  const lines = readFileSync(file, 'utf8').split('\n')
  for (const line of told(judgement, number => lines[number - 1] ?? '')) print(line)
  if (judgement.violations.size === 0) return
  print(`the history is kept: ${file}`)
  process.exitCode = 1
}

async function tryMutants(part: string): Promise<void> {
  const chosen = historyMutants.filter(({ name }) => part === 'all' || name.includes(part))
  if (chosen.length === 0) throw new Error(`no mutant: ${historyMutants.map(({ name }) => name).join('; ')}`)
  // What is wrong without any of them would seem to catch them all.
  const anyway = await violationsOf([])
  for (const name of anyway.keys()) print(`violated anyway: ${name}`)
  for (const { edits, name, violates } of chosen) {
    const violation = anyway.has(violates) ? null : ((await violationsOf(edits)).get(violates)?.[0]?.what ?? null)
    if (violation === null) process.exitCode = 1
    const verdict = violation === null ? (anyway.has(violates) ? 'NOT TOLD' : 'SURVIVED') : 'caught  '
    print(`${verdict}  ${name.padEnd(50)} ${violation ?? violates}`)
  }
}

/** What a run with these deliberate faults violates. */
async function violationsOf(edits: HistoryMutant['edits']): Promise<Judgement['violations']> {
  return await withCopy([...NEEDED, ...BUILD], edits, async copy => {
    execFileSync(process.execPath, [join('scripts', 'build.js')], { cwd: copy, stdio: 'inherit' })
    const recorder = new Recorder()
    const mode = rotation === 'on_use' ? 'on_use' : 'instant'
    const { violations } = await runWith(recorder, mode, join(copy, 'dist/src/main.js'))
    recorder.discard()
    return violations
  })
}
