import type { FaultKind, Operation } from './faults.ts'

/** How often something was done for one person. `refreshes` are successful rotations, whether the answer arrived or not. */
export interface GrantCounts {
  exchanges: number
  refreshes: number
  refreshes_refused: number
  revocations: number
  me_ok: number
  me_refused: number
  users: number
}

/**
 * `totals`: how often each outcome of each operation came about. An outcome is `ok`, an OAuth error code, why a
 * request had no effect, or the kind of the fault that kept it from being looked at. `faults`: how often each struck.
 */
export interface CountsReport {
  readonly totals: Partial<Record<Operation, Record<string, number>>>
  readonly faults: Partial<Record<FaultKind, number>>
  readonly grants: Record<string, GrantCounts>
  /** The most token requests that were ever under way at once. */
  readonly peak_concurrency: number
}

type Field = keyof GrantCounts

const WHEN_OK: Partial<Record<Operation, Field>> = {
  exchange: 'exchanges',
  refresh: 'refreshes',
  revoke: 'revocations',
  users: 'users',
  me: 'me_ok',
}
const WHEN_REFUSED: Partial<Record<Operation, Field>> = { refresh: 'refreshes_refused', me: 'me_refused' }

/** What the sandbox was asked and what became of it, so that a test can tell what its subject really did. */
export class Counts {
  #totals: CountsReport['totals'] = {}
  #faults: CountsReport['faults'] = {}
  #grants = new Map<string, GrantCounts>()
  #underWay = 0
  #peakConcurrency = 0

  /** `guid`: undefined where the request did not lead to anybody. */
  record(operation: Operation, outcome: string, guid: string | undefined): void {
    this.#addToTotals(operation, outcome)
    const field = outcome === 'ok' ? WHEN_OK[operation] : WHEN_REFUSED[operation]
    if (guid !== undefined && field) this.#grant(guid)[field] += 1
  }

  /** A request that a fault kept from being looked at: nobody's, and its outcome is the fault. */
  recordPreempted(operation: Operation, kind: FaultKind): void {
    this.#addToTotals(operation, kind)
  }

  recordFault(kind: FaultKind): void {
    this.#faults[kind] = (this.#faults[kind] ?? 0) + 1
  }

  /** Runs `work` as one more token request under way. */
  async duringTokenRequest(work: () => Promise<void>): Promise<void> {
    this.#underWay += 1
    this.#peakConcurrency = Math.max(this.#peakConcurrency, this.#underWay)
    try {
      await work()
    } finally {
      this.#underWay -= 1
    }
  }

  report(): CountsReport {
    return {
      totals: this.#totals,
      faults: this.#faults,
      grants: Object.fromEntries(this.#grants),
      peak_concurrency: this.#peakConcurrency,
    }
  }

  /** Requests under way stay counted as such: they are not over. */
  reset(): void {
    this.#totals = {}
    this.#faults = {}
    this.#grants = new Map()
    this.#peakConcurrency = this.#underWay
  }

  #addToTotals(operation: Operation, outcome: string): void {
    const totals = this.#totals[operation] ?? {}
    totals[outcome] = (totals[outcome] ?? 0) + 1
    this.#totals[operation] = totals
  }

  #grant(guid: string): GrantCounts {
    const known = this.#grants.get(guid)
    if (known) return known
    const fresh = {
      exchanges: 0,
      refreshes: 0,
      refreshes_refused: 0,
      revocations: 0,
      me_ok: 0,
      me_refused: 0,
      users: 0,
    }
    this.#grants.set(guid, fresh)
    return fresh
  }
}
