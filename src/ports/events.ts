import type { ProblemCode } from '../errors.ts'

/** What happened to a grant: for logs, metrics and audit. Never a token, code or password. */
export type BrokerEvent =
  | { readonly type: 'grant.stored'; readonly guid: string; readonly version: number; readonly origin: string }
  | { readonly type: 'grant.renewed'; readonly guid: string; readonly version: number; readonly late: boolean }
  | {
      readonly type: 'grant.renewal_failed'
      readonly guid: string
      readonly version: number
      readonly code: ProblemCode
      readonly retryAtMs: number
      readonly inDoubt: boolean
    }
  | { readonly type: 'grant.ended'; readonly guid: string; readonly version: number }
  | { readonly type: 'grant.revoking'; readonly guid: string; readonly version: number }
  | { readonly type: 'grant.revoked'; readonly guid: string; readonly version: number }
  /** A pair that nobody needs any more was, or could not be, revoked at the provider. */
  | { readonly type: 'pair.revoked'; readonly guid: string; readonly confirmed: boolean }
  /** A new pair could not be written down yet; it is in the journal, if there is one, and is tried again. */
  | { readonly type: 'commit.delayed'; readonly guid: string; readonly version: number; readonly journaled: boolean }
  /** The background loop could not do its work; it goes on. */
  | { readonly type: 'refresher.failed'; readonly reason: string }

export interface Events {
  emit(event: BrokerEvent): void
}
