/**
 * Everything side by side, in one run: `npm run bench`. Prints tables, and writes every round to `bench/results`.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { endAll, print } from '../scripts/processes.ts'
import { cycles } from './engine/cycles.ts'
import { growth } from './growth/growth.ts'
import { reads } from './http/reads.ts'
import { renewed } from './http/renewed.ts'
import { type Machine, machine } from './machine.ts'
import { type Options, type PartName, readOptions, USAGE } from './options.ts'
import { stayAround } from './pinned.ts'
import { addedTime } from './provider/added-time.ts'
import { refreshes } from './provider/refreshes.ts'
import { type Findings, type Goal, inDigits, tableText } from './report.ts'
import { staleness } from './staleness/staleness.ts'

const MEASURES: Readonly<Record<PartName, readonly ((options: Options) => Promise<Findings>)[]>> = {
  http: [reads, renewed],
  engine: [cycles],
  provider: [refreshes, addedTime],
  growth: [growth],
  staleness: [staleness],
}

async function main(): Promise<void> {
  const options = optionsOrUsage()
  const where = machine()
  stayAround()
  const began = new Date()
  for (const [name, value] of Object.entries(where)) print(`${name}: ${value}`)
  const found: Findings[] = []
  let file = ''
  for (const part of options.parts) {
    print(`\n## ${part}\n`)
    for (const measure of MEASURES[part]) {
      const findings = await measure(options)
      for (const table of findings.tables) print(`\n${tableText(table)}`)
      found.push(findings)
      // What has been found is not lost with a part that fails.
      file = save(began, where, options, found)
    }
  }
  print(`\n${tableText(goalsTable(found.flatMap(({ goals }) => goals)))}`)
  print(`load at the end: ${inDigits(loadavg()[0] ?? Number.NaN)}; ${secondsSince(began)} s; every round: ${file}`)
}

function optionsOrUsage(): Options {
  try {
    return readOptions(process.argv.slice(2))
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n${USAGE}\n`)
    process.exit(2)
  }
}

function goalsTable(goals: readonly Goal[]) {
  return {
    title: 'Goals',
    columns: ['', 'wanted', 'measured', ''],
    rows: goals.map(({ what, wanted, measured, met }) => [what, wanted, measured, met ? 'met' : 'MISSED']),
  }
}

function save(began: Date, where: Machine, options: Options, found: readonly Findings[]): string {
  const directory = join('bench', 'results')
  mkdirSync(directory, { recursive: true })
  const file = join(
    directory,
    `${began
      .toISOString()
      .replace(/\.\d+Z$/, 'Z')
      .replaceAll(':', '-')}.json`,
  )
  const [goals, figures] = [found.flatMap(findings => findings.goals), found.map(findings => findings.figures)]
  const result = { began, tookSeconds: secondsSince(began), machine: where, options, goals, figures }
  writeFileSync(file, `${JSON.stringify(result, null, 1)}\n`)
  return file
}

function secondsSince(began: Date): number {
  return Math.round((Date.now() - began.getTime()) / 1000)
}

try {
  await main()
} finally {
  await endAll()
}
