/** Grants that an operator has to look at: their refresh fails again and again, and time alone will not mend that. */
import type { GrantStatus } from '../ports/records.ts'
import { ATTENTION_AFTER_ATTEMPTS } from './policy.ts'

interface Failing {
  readonly status: GrantStatus
  /** null: the last refresh succeeded, or there was none. */
  readonly lastError: { readonly attempts: number } | null
}

/** An ended grant needs its person, and a revoking one the provider: both are counted by their status. */
export function needsAttention({ status, lastError }: Failing): boolean {
  if (status !== 'active' && status !== 'in_doubt') return false
  return lastError !== null && lastError.attempts >= ATTENTION_AFTER_ATTEMPTS
}
