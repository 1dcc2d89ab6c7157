/** What a run has shown: figures, pairs that were lost and why, and violations with the lines that show them. */
import type { History, Violation } from './history.ts'
import { causeOfEnd } from './invariants/ends-have-causes.ts'
import { INVARIANTS } from './invariants/index.ts'
import { orphans } from './invariants/no-orphans.ts'

const SHOWN = 6

export interface Judgement {
  readonly figures: object
  readonly violations: ReadonlyMap<string, readonly Violation[]>
}

export function judge(history: History): Judgement {
  const violations = new Map<string, readonly Violation[]>()
  for (const [name, invariant] of Object.entries(INVARIANTS)) {
    const found = invariant(history)
    if (found.length > 0) violations.set(name, found)
  }
  const restless = notAtRest(history)
  if (restless.length > 0) violations.set('everything comes to rest', restless)
  return { figures: figures(history), violations }
}

function notAtRest({ rest }: History): Violation[] {
  return rest
    .filter(({ status }) => status !== null && status !== 'active' && status !== 'reauthorization_required')
    .map(({ guid, line, status }) => ({ what: `${guid.slice(0, 8)} is ${status} at rest`, lines: [line] }))
}

function figures(history: History): object {
  const { calls, faults, pairs, presentations, requests, rest } = history
  const outcome = ({ code, status }: History['calls'][number]) =>
    status === null ? 'no answer' : `${status}${code === null ? '' : ` ${code}`}`
  const lost = rest.filter(({ status }) => status === 'reauthorization_required')
  return {
    mode: history.setup.rotation,
    calls: counted(calls.map(call => `${call.operation} ${outcome(call)}`)),
    presentations: counted(presentations.map(({ status }) => String(status))),
    faults: counted(faults.map(({ name }) => name)),
    'requests at the provider': counted(
      requests.map(({ answer, operation, outcome: result }) => `${operation} ${result ?? 'not looked at'}, ${answer}`),
    ),
    pairs: pairs.length,
    rotations: pairs.filter(({ parent }) => parent !== null).length,
    'grants at rest': counted(rest.map(({ status }) => status ?? 'deleted')),
    'grants lost, by cause': counted(
      lost.map(({ guid }) => causeOfEnd(history, guid, Number.POSITIVE_INFINITY) ?? 'none'),
    ),
    'pairs orphaned, by cause': counted(orphans(history).map(({ cause }) => cause ?? 'none')),
  }
}

function counted(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names.toSorted()) counts[name] = (counts[name] ?? 0) + 1
  return counts
}

/** The violations as text, each with its lines of the history. */
export function told({ violations }: Judgement, lineOf: (line: number) => string): string[] {
  return [...violations].flatMap(([name, found]) => [
    `VIOLATION ${name}: ${found.length} times`,
    ...found.slice(0, SHOWN).flatMap(({ lines, what }) => [
      `  ${what}`,
      ...lines
        .filter(line => line > 0)
        .slice(0, 5)
        .map(line => `    ${line}: ${lineOf(line)}`),
    ]),
    ...(found.length > SHOWN ? [`  … and ${found.length - SHOWN} more`] : []),
  ])
}
