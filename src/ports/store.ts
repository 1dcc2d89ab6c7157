import type { Inventory } from './inventory.ts'
import type { Authorization, Census, Exchange, Grant, GrantStatus, Pause, Provisioning } from './records.ts'
import type { Sightings } from './sightings.ts'

/** A record with its revision, which grows with every write of it. */
export interface Stored<T> {
  readonly revision: number
  readonly record: T
}

/** The revision of a key under which nothing stands, and nothing has stood lately. */
export const ABSENT = 0
/** How long a removed record's revision is remembered: longer than any write is under way. */
export const REMOVAL_REMEMBERED_MS = 300_000

export type Written<T> =
  | { readonly ok: true; readonly revision: number }
  /**
   * Somebody else wrote first: what stands there now, to decide anew from. `record` null: nothing, but something did until
   * lately, and its revision is gone on from; so a write that was sent before the removal, and comes late, is refused.
   */
  | {
      readonly ok: false
      readonly current: Stored<T | null> | null
      /** The revision was right, and the pair that was to be written is retired (`PairMarks`). */
      readonly isRetired?: true
    }

/** How long a retired pair is refused, at least. */
export const RETIRED_FOR_MS = 30 * 86_400_000
/** Imported pairs are known outside of the gateway: a replaced one is refused for as long as a grant may live. */
export const IMPORT_RETIRED_FOR_MS = 10 * 365 * 86_400_000

/** What a write of a grant says about pairs. Each pair is named by the fingerprint of its refresh token (`broker/grant.ts`). */
export interface PairMarks {
  /** Pairs whose authorization was replaced or revoked. They stay retired for `RETIRED_FOR_MS`, also when the grant is gone. */
  readonly retires?: readonly string[]
  /** Instead of `RETIRED_FOR_MS`. */
  readonly retiresForMs?: number
  /** The write is refused if this pair is retired: a late repeat must not bring a dead pair back. */
  readonly unlessRetired?: string
}

/**
 * Records under compare-and-set. Every change of the gateway's state is one `write`: the caller has read a record, has
 * decided on the next one, and writes it if nothing came between. A store makes each write atomic and durable before it
 * answers. All methods throw `StoreUnavailable`, and then the write may or may not have happened: read again.
 */
export interface RecordStore<T> {
  /** null: nothing there, or expired. Throws `RecordUnreadable` where the record cannot be opened. */
  read(key: string): Promise<Stored<T> | null>
  /**
   * Writes `next` (null: removes the record) if the key's revision is still `ifRevision` (`ABSENT`: nothing there).
   * A write that is repeated because its answer was lost succeeds again.
   */
  write(key: string, ifRevision: number, next: T | null): Promise<Written<T>>
  /**
   * Resolves when what was under way with this record has ended, on any replica, or when `signal` aborts. The word may get
   * lost on its way: whoever waits looks for themselves now and then.
   */
  settled(key: string, signal: AbortSignal): Promise<void>
}

export interface GrantPage {
  readonly grants: readonly Grant[]
  /** null: this was the last page. */
  readonly nextCursor: string | null
}

/** Grants by guid. A write also moves the grant in the schedule, by its `dueAtMs`, in the same step. */
export interface GrantStore extends RecordStore<Grant> {
  /** As `RecordStore.write`, with `marks` in the same step. */
  write(guid: string, ifRevision: number, next: Grant | null, marks?: PairMarks): Promise<Written<Grant>>
  /**
   * As `read`, of many at once: one round trip for each place where they lie, all under way together. A promise for each key, in
   * the same order: what keeps one from being read keeps no other. For whoever gets them to wait for, each of them.
   */
  readMany(guids: readonly string[]): readonly Promise<Stored<Grant> | null>[]
  /** As `read`; and where nothing stands, what a write would be told: which revision was removed, if that was lately. */
  standing(guid: string): Promise<Stored<Grant | null> | null>
  /**
   * Takes up to `limit` grants due by `nowMs`, soonest first in each shard, and puts them off until `untilMs`: whoever
   * takes them and dies hands them on to the next one by that. The records themselves stay untouched.
   */
  claimDue(claim: { nowMs: number; untilMs: number; limit: number }): Promise<readonly Stored<Grant>[]>
  /**
   * A page of at most `limit` grants, in no particular order. A grant that stays through the whole listing is shown at
   * least once. `cursor` absent: from the beginning. Returns null for a cursor that was not given out here.
   */
  list(page: { status?: GrantStatus; limit: number; cursor?: string }): Promise<GrantPage | null>
}

/** The key of the one pause there is. */
export const PROVIDER = 'provider'
/** The key of the one census there is. */
export const GRANTS = 'grants'

/** What outlives a process. One object, since all of it lives and fails together. */
export interface Stores {
  readonly grants: GrantStore
  readonly authorizations: RecordStore<Authorization>
  readonly exchanges: RecordStore<Exchange>
  readonly provisionings: RecordStore<Provisioning>
  /** One record, under `PROVIDER`. */
  readonly pauses: RecordStore<Pause>
  /** One record, under `GRANTS`. */
  readonly censuses: RecordStore<Census>
  readonly inventory: Inventory
  readonly sightings: Sightings
  /** Resolves when the store answers; throws `StoreUnavailable`. */
  ping(): Promise<void>
  close(): Promise<void>
}

export class StoreUnavailable extends Error {
  override readonly name = 'StoreUnavailable'
}

/** `unknown_key`: it says that it is sealed with a key we do not have. `altered`: it is not as a gateway has written it. */
export type UnreadableReason = 'unknown_key' | 'altered'

/** A record that is there and does not open. It is left as it is: nothing is written over it, and nothing removes it. */
export class RecordUnreadable extends Error {
  override readonly name = 'RecordUnreadable'
  readonly reason: UnreadableReason
  /** The id of the key that it says it is sealed with; null: it does not say. */
  readonly keyId: string | null
  /** Whose grant it is; null: it is another kind of record. */
  readonly guid: string | null

  constructor(reason: UnreadableReason, keyId: string | null = null, guid: string | null = null) {
    super(
      reason === 'altered' ? 'A record was altered, or belongs elsewhere.' : 'A record is sealed with an unknown key.',
    )
    this.reason = reason
    this.keyId = keyId
    this.guid = guid
  }

  /** The same, where it is known whose grant it is. */
  ofGrant(guid: string): RecordUnreadable {
    return new RecordUnreadable(this.reason, this.keyId, guid)
  }
}
