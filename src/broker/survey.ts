/** What a count of all grants tells of the hours before it and after it; and how that stands in the record of a census. */
import type { ProblemCode } from '../errors.ts'
import type { GrantCounts } from '../ports/records.ts'

/** A count as it is told. */
export interface Counted extends Omit<GrantCounts, 'survey'> {
  /** null: it was counted by a replica of an earlier version. */
  readonly survey: GrantSurvey | null
}

export interface GrantSurvey {
  /** All grants that were ever renewed, by when they were renewed last. */
  readonly renewed: Histogram
  /** Those to be kept alive, by when their renewal is due. */
  readonly due: Histogram
  /** Those of them that were due already. */
  readonly overdue: number
  /** Of those to be kept alive, the first whose access tokens expire, soonest first. */
  readonly soonest: readonly Expiring[]
  /** Those that are ended, by what is known of why. */
  readonly ended: readonly EndedCount[]
  /** Those whose refresh fails again and again. null: counted by a replica of an earlier version. */
  readonly attention: AttentionCount | null
}

export interface AttentionCount {
  readonly count: number
  /** Some of them. */
  readonly guids: readonly string[]
}

/** How many things fell into each of some equal stretches of time, one after the other. */
export interface Histogram {
  readonly fromMs: number
  readonly everyMs: number
  readonly counts: readonly number[]
}

export interface Expiring {
  readonly guid: string
  readonly accessTokenExpiresAtMs: number
}

export interface EndedCount {
  /** The code of the last error; null: there is none, or none that we know. */
  readonly code: ProblemCode | null
  /** Other renewals of the same pair had failed before the one by which it ended. */
  readonly isAfterFailures: boolean
  readonly count: number
}

export function keptCounts({ survey, ...counts }: Counted): GrantCounts {
  return survey === null ? counts : { ...counts, survey: JSON.stringify(survey) }
}

export function countedIn({ survey, ...counts }: GrantCounts): Counted {
  return { ...counts, survey: survey === undefined ? null : { attention: null, ...JSON.parse(survey) } }
}
