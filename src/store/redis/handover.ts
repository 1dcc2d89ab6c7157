/** Records that leave one store for another: grants, and what is known of usernames. All else lives for minutes. */
import { readFileSync } from 'node:fs'
import type { Redis } from 'ioredis'
import type { Clock } from '../../ports/clock.ts'
import type { Grant, Provisioning } from '../../ports/records.ts'
import { REMOVAL_REMEMBERED_MS, RecordUnreadable, type Stored } from '../../ports/store.ts'
import { nextRevision } from '../revision.ts'
import type { StoredForm } from '../stored-form.ts'
import type { Tally } from '../tally.ts'
import type { RedisClient } from './connection.ts'
import type { Keys } from './keys.ts'
import { formatRecord, parseRecord } from './records.ts'
import { orUnavailable, type Scripts } from './scripts.ts'
import { keysOn, onEachMaster, pipelined, recordKeysOn, storedUnder } from './walk.ts'

export interface HandoverStore {
  readonly client: RedisClient
  readonly keys: Keys
  readonly form: StoredForm
  readonly clock: Clock
}

/** A record that may leave, as it was found. */
export interface Leaving {
  readonly key: string
  readonly kind: 'grant' | 'username'
  readonly bytes: Buffer
  readonly stored: Stored<Grant | Provisioning>
}

/** How long the copy of a record stays that was taken out: by then its tokens are of no use. */
const COPIES_STAY_MS = 30 * 86_400_000

/**
 * Gives `visit` every record that may leave, some at a time, with the master that they lie on. What does not open is
 * counted in `tally`, and stays. Answers whether it can have seen all. Throws `StoreUnavailable`.
 */
export async function visitLeaving(
  { client, form, keys }: HandoverStore,
  tally: Tally,
  visit: (found: readonly Leaving[], master: Redis) => Promise<void>,
): Promise<boolean> {
  return await onEachMaster({ client, keys }, async master => {
    for await (const names of recordKeysOn(master, keys)) {
      const ours = names.filter(key => leavingKind(keys, key) !== null)
      const stored = await storedUnder(master, ours)
      const found = ours.flatMap((key, index) => leavingFrom(key, stored[index] ?? null))
      if (found.length > 0) await visit(found, master)
    }
  })

  function leavingFrom(key: string, bytes: Buffer | null): Leaving[] {
    const kind = leavingKind(keys, key)
    if (bytes === null || kind === null) return []
    try {
      return [{ key, kind, bytes, stored: parseRecord(form, key, bytes) }]
    } catch (error) {
      if (!(error instanceof RecordUnreadable)) throw error
      tally.doesNotOpen(error, kind === 'grant' ? `grant ${keys.recordUnder(key)?.name}` : 'a username record')
      return []
    }
  }
}

function leavingKind(keys: Keys, key: string): Leaving['kind'] | null {
  const kind = keys.recordUnder(key)?.kind
  return kind === 'grant' || kind === 'username' ? kind : null
}

/** Whether somebody is at it at this moment: what it is going to bring has to come along. */
export function isUnderWay({ stored: { record } }: Leaving, nowMs: number): boolean {
  if ('pair' in record) return record.attempt !== null && record.attempt.leaseUntilMs > nowMs
  return record.status === 'under_way' && record.leaseUntilMs > nowMs
}

/** How many grants there are, those that do not open included. Throws `StoreUnavailable`. */
export async function countGrants({ client, keys }: HandoverStore): Promise<number> {
  const counts = await Promise.all(keys.shards.map(shard => orUnavailable(() => client.zcard(keys.due(shard)))))
  return counts.reduce((sum, count) => sum + count, 0)
}

/** Takes these out of service, those of them that are as they were found. Throws `StoreUnavailable`: some may be out then. */
export async function takeOut({ clock, keys }: HandoverStore, found: readonly Leaving[], master: Redis): Promise<void> {
  define(master, 'take_out', 3)
  define(master, 'take_out_scheduled', 4, 'take_out')
  const commands = found.map(({ bytes, key, kind, stored }) => {
    const names = [key, keys.gone(key), keys.exported(key)]
    const revision = String(nextRevision(stored.revision, clock))
    const args = [bytes, revision, String(REMOVAL_REMEMBERED_MS), String(COPIES_STAY_MS)]
    if (kind === 'username') return ['take_out', ...names, ...args]
    const guid = keys.recordUnder(key)?.name ?? ''
    return ['take_out_scheduled', ...names, keys.due(keys.shardOf(guid)), ...args, guid]
  })
  await pipelined(master, commands)
}

/** What became of the copies. */
export interface PutBack {
  back: number
  /** Something else stands under their names by now. */
  overtaken: number
}

/** Puts everything back that was taken out, as it was. Throws `StoreUnavailable`; what was done until then is done. */
export async function putBackAll(store: HandoverStore): Promise<PutBack & { readonly isWhole: boolean }> {
  const { client, keys } = store
  const done: PutBack = { back: 0, overtaken: 0 }
  const isWhole = await onEachMaster({ client, keys }, async master => {
    define(master, 'put_back', 3)
    define(master, 'put_back_scheduled', 4, 'put_back')
    for await (const copies of keysOn(master, keys, key => keys.exportedFrom(key) !== null)) {
      const stored = await storedUnder(master, copies)
      const commands = copies.map((copy, index) => putBackCommand(store, copy, stored[index] ?? null))
      for (const answer of await pipelined(master, commands)) {
        if (answer === 1) done.back += 1
        if (answer === -1) done.overtaken += 1
      }
    }
  })
  return { ...done, isWhole }
}

function putBackCommand({ form, keys }: HandoverStore, copy: string, stored: Buffer | null): readonly string[] {
  const key = keys.exportedFrom(copy) ?? ''
  const record = keys.recordUnder(key)
  const names = [key, keys.gone(key), copy]
  if (record?.kind !== 'grant') return ['put_back', ...names]
  return ['put_back_scheduled', ...names, keys.due(keys.shardOf(record.name)), record.name, dueAt()]

  function dueAt(): string {
    try {
      const dueAtMs = stored === null ? 0 : parseRecord<Grant>(form, key, stored).record.dueAtMs
      return dueAtMs === null ? '+inf' : String(dueAtMs)
    } catch (error) {
      if (!(error instanceof RecordUnreadable)) throw error
      // Whoever looks at it next says so.
      return '0'
    }
  }
}

/** Puts a record from elsewhere under this key, if nothing stands there; else answers what does. Throws `StoreUnavailable`, `RecordUnreadable`. */
export async function place(
  store: HandoverStore & { readonly scripts: Scripts },
  key: string,
  record: Grant | Provisioning,
): Promise<Grant | Provisioning | null> {
  const { client, clock, form, keys, scripts } = store
  const [stored, gone] = await orUnavailable(() => client.mgetBuffer(key, keys.gone(key)))
  if (stored != null) return parseRecord<Grant | Provisioning>(form, key, stored).record
  const revision = gone == null ? 0 : Number(gone)
  const next = nextRevision(revision, clock)
  const isGrant = 'pair' in record
  const names = [key, keys.gone(key), ...(isGrant ? [keys.due(keys.shardOf(record.guid))] : [])]
  const dueAt = isGrant && record.dueAtMs !== null ? String(record.dueAtMs) : '+inf'
  const bytes = formatRecord(form, key, next, record)
  const args = [String(revision), String(next), bytes, '', keys.channel, ...(isGrant ? [record.guid, dueAt] : [])]
  const refused = await scripts.writeRecord(names, args)
  // Somebody else has written, or removed, in between.
  return refused === null ? null : await place(store, key, record)
}

function define(master: Redis, name: string, numberOfKeys: number, file = name): void {
  const lua = readFileSync(new URL(`./lua/${file}.lua`, import.meta.url), 'utf8')
  master.defineCommand(name, { lua, numberOfKeys })
}
