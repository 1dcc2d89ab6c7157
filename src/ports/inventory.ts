import type { GrantStatus } from './records.ts'

/** What can be told of a grant without opening its record: so nobody vouches for it, and nothing but figures is made of it. */
export interface GrantSketch {
  readonly guid: string
  readonly status: GrantStatus
  readonly accessTokenExpiresAtMs: number
  /** null: never by itself. */
  readonly dueAtMs: number | null
  /** A renewal was begun, or has failed, since its pair came. */
  readonly isTroubled: boolean
  readonly lastRefreshedAtMs: number | null
  /** As in the record; null: there is none. */
  readonly lastError: { readonly code: string; readonly attempts: number } | null
}

/** Grants that nobody has claimed although they are due. */
export interface Backlog {
  readonly due: number
  /** Since when the oldest is due; null: none is. */
  readonly oldestAtMs: number | null
}

/** All grants of the store together, for figures. Never in the way of a request. Throws `StoreUnavailable`. */
export interface Inventory {
  /** Cheap: it looks at the schedule alone. Throws where any part of it cannot be seen. */
  backlog(nowMs: number): Promise<Backlog>
  /**
   * All grants, a batch at a time, each at least once; one that comes or goes meanwhile may be missed, and where many go, a few
   * others may be told twice.
   */
  walk(): AsyncIterable<readonly GrantSketch[]>
}
