/** What is made of all grants, seen one after the other: how many there are of which kind, and when their time comes. */
import { PROBLEMS, type ProblemCode } from '../errors.ts'
import type { GrantSketch } from '../ports/inventory.ts'
import type { LapsingWithin } from '../ports/records.ts'
import { needsAttention } from './attention.ts'
import { beginningOf, countingByTime } from './histogram.ts'
import { keepingSoonest } from './soonest.ts'
import type { AttentionCount, Counted, EndedCount } from './survey.ts'

export interface GrantCounting {
  /** `nowMs`: when it was looked at. The same grant may come twice, seldom; then it counts twice. */
  add(sketch: GrantSketch, nowMs: number): void
  counted(): Counted
}

const MINUTE_MS = 60_000
const RENEWED = { everyMs: 5 * MINUTE_MS, size: 24 }
const DUE = { everyMs: 15 * MINUTE_MS, size: 24 }
/** More than are shown, since some are renewed between the count and the look. */
const SOONEST = 60
/** As many again, for the same reason. */
const ATTENTION = 60

const WITHIN: readonly LapsingWithin[] = ['0', '60', '300']

/** `atMs`: when the count begins. It says where "before" ends and "after" begins, for all of them. */
export function countingFrom(atMs: number): GrantCounting {
  const byStatus = { active: 0, in_doubt: 0, reauthorization_required: 0, revoking: 0 }
  const lapsing = { '0': 0, '60': 0, '300': 0 }
  const renewedFromMs = beginningOf(atMs, RENEWED.everyMs) - (RENEWED.size - 1) * RENEWED.everyMs
  const renewed = countingByTime({ ...RENEWED, fromMs: renewedFromMs })
  const due = countingByTime({ ...DUE, fromMs: beginningOf(atMs, DUE.everyMs) })
  const soonest = keepingSoonest(SOONEST)
  const ended = countingEnds()
  const attention = countingAttention()
  let overdue = 0

  function addKeptAlive({ guid, accessTokenExpiresAtMs, dueAtMs }: GrantSketch, nowMs: number): void {
    for (const within of WITHIN) {
      if (accessTokenExpiresAtMs <= nowMs + Number(within) * 1000) lapsing[within] += 1
    }
    soonest.add({ guid, accessTokenExpiresAtMs })
    if (dueAtMs !== null && dueAtMs <= atMs) overdue += 1
    else if (dueAtMs !== null) due.add(dueAtMs)
  }

  return {
    add(sketch, nowMs) {
      const { status, lastRefreshedAtMs } = sketch
      if (status in byStatus) byStatus[status] += 1
      // While it is counted some are renewed: as if that had been when the count began.
      if (lastRefreshedAtMs !== null) renewed.add(Math.min(lastRefreshedAtMs, atMs))
      if (isKeptAlive(sketch)) addKeptAlive(sketch, nowMs)
      if (status === 'reauthorization_required') ended.add(sketch)
      if (needsAttention(sketch)) attention.add(sketch.guid)
    },
    counted: () => ({
      atMs,
      byStatus,
      lapsing,
      survey: {
        renewed: renewed.counted(),
        due: due.counted(),
        overdue,
        soonest: soonest.soonest(),
        ended: ended.counts(),
        attention: attention.counted(),
      },
    }),
  }
}

/** Grants at rest lapse, and are not missed. */
function isKeptAlive({ status, accessTokenExpiresAtMs, dueAtMs, isTroubled }: GrantSketch): boolean {
  const isAtRest = !isTroubled && (dueAtMs === null || dueAtMs >= accessTokenExpiresAtMs)
  return (status === 'active' || status === 'in_doubt') && !isAtRest
}

function countingEnds() {
  const counts = new Map<string, EndedCount>()
  return {
    add({ lastError }: GrantSketch): void {
      const code = lastError !== null && isKnown(lastError.code) ? lastError.code : null
      const isAfterFailures = lastError !== null && lastError.attempts > 1
      const name = `${code} ${isAfterFailures}`
      counts.set(name, { code, isAfterFailures, count: (counts.get(name)?.count ?? 0) + 1 })
    },
    counts: (): readonly EndedCount[] => [...counts.values()].sort((first, second) => second.count - first.count),
  }
}

function countingAttention() {
  const guids = new Set<string>()
  let count = 0
  return {
    add(guid: string): void {
      count += 1
      if (guids.size < ATTENTION) guids.add(guid)
    },
    counted: (): AttentionCount => ({ count, guids: [...guids] }),
  }
}

/** Nothing else gets on: what is told of a record may have been put there by anybody. */
function isKnown(code: string): code is ProblemCode {
  return Object.hasOwn(PROBLEMS, code)
}
