import type { ProblemCode } from '../errors.ts'
import type { UnreadableReason } from './store.ts'

/** What happened to a grant: for logs, metrics and audit. Never a token, code or password. */
export type BrokerEvent =
  | { readonly type: 'grant.stored'; readonly guid: string; readonly version: number; readonly origin: string }
  | { readonly type: 'grant.renewed'; readonly guid: string; readonly version: number; readonly late: boolean }
  /** A renewal begins: lease and intent are written. */
  | { readonly type: 'grant.attempted'; readonly guid: string; readonly version: number }
  | {
      readonly type: 'grant.renewal_failed'
      readonly guid: string
      readonly version: number
      readonly code: ProblemCode
      readonly retryAtMs: number
    }
  /** The answer, if there was one, is lost: the refresh token may be spent. */
  | { readonly type: 'grant.in_doubt'; readonly guid: string; readonly version: number; readonly retryAtMs: number }
  /** Its refresh has failed `attempts` times in a row, the last time with `code`. Emitted once per row of failures. */
  | {
      readonly type: 'grant.needs_attention'
      readonly guid: string
      readonly version: number
      readonly code: ProblemCode
      readonly attempts: number
    }
  /** Nobody has asked for its token for long: it is renewed when somebody does. */
  | { readonly type: 'grant.rested'; readonly guid: string; readonly version: number }
  /** The store had lost our last write of it (a fail-over): it was written again. */
  | {
      readonly type: 'grant.restored'
      readonly guid: string
      readonly version: number
      readonly wentBackTo: number
    }
  /** `afterDoubt`: an answer had been lost before, so it may have ended by that; else it ended at the provider. */
  | { readonly type: 'grant.ended'; readonly guid: string; readonly version: number; readonly afterDoubt: boolean }
  /** The refresh token was refused, and the stored password has brought a new pair. It is stored next, as `version`. */
  | { readonly type: 'grant.password_used'; readonly guid: string; readonly version: number }
  | { readonly type: 'grant.revoking'; readonly guid: string; readonly version: number }
  | { readonly type: 'grant.revoked'; readonly guid: string; readonly version: number }
  /**
   * A renewal brought a pair, as `version`, that cannot be stored: `rotated_twice`: another renewal, of the same pair, was
   * stored first; `authorized`: the person has authorized anew meanwhile; `deleted`: the grant is gone; `replayed`: it comes
   * from the journal, and something newer stands. It is revoked next.
   */
  | {
      readonly type: 'pair.discarded'
      readonly guid: string
      readonly version: number
      readonly because: 'rotated_twice' | 'authorized' | 'deleted' | 'replayed'
    }
  /** A pair that nobody needs any more was, or could not be, revoked at the provider. */
  | { readonly type: 'pair.revoked'; readonly guid: string; readonly confirmed: boolean }
  /** A new pair could not be written down yet; it is in the journal, if there is one, and is tried again. */
  | { readonly type: 'commit.delayed'; readonly guid: string; readonly version: number; readonly journaled: boolean }
  /** The provider does not work; and does again. `reason`: as in `Outcome`, of the last failure; null: not known. */
  | { readonly type: 'provider.unavailable'; readonly reason: string | null }
  | { readonly type: 'provider.available' }
  /** The provider asks for patience. */
  | { readonly type: 'provider.paused'; readonly untilMs: number }
  /** The provider refuses our credentials: an operator has to mend them; and takes them again. */
  | { readonly type: 'client.refused' }
  | { readonly type: 'client.accepted' }
  /** A grant's record was met that does not open; told each time. `keyId` null: it does not say what it is sealed with. */
  | {
      readonly type: 'record.unreadable'
      readonly guid: string
      readonly reason: UnreadableReason
      readonly keyId: string | null
    }
  /** The background loop could not do its work; it goes on. */
  | { readonly type: 'refresher.failed'; readonly reason: string }

export interface Events {
  emit(event: BrokerEvent): void
}
