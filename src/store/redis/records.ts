import type { Clock } from '../../ports/clock.ts'
import {
  REMOVAL_REMEMBERED_MS,
  type RecordStore,
  RecordUnreadable,
  type Stored,
  type Written,
} from '../../ports/store.ts'
import { nextRevision } from '../revision.ts'
import { keyIdsOf, type StoredForm } from '../stored-form.ts'
import type { RedisClient } from './connection.ts'
import type { Notices } from './notices.ts'
import { ask, type Scripts } from './scripts.ts'

export interface RedisShared {
  readonly client: RedisClient
  readonly scripts: Scripts
  readonly notices: Notices
  readonly form: StoredForm
  readonly clock: Clock
}

interface RecordStoreOptions<T> extends RedisShared {
  readonly keyOf: (name: string) => string
  /** Where the revision of a removed record is kept, by the record's key. */
  readonly goneKeyOf: (key: string) => string
  readonly expiresAtMs: (record: T) => number | null
  /** Whether somebody is still at it: then there is nothing to tell those who wait. */
  readonly isUnderWay: (record: T) => boolean
}

/** `<revision>:<record>`, sealed for its key and revision: it opens nowhere else, and with no other revision before it. */
export function parseRecord<T>(form: StoredForm, key: string, stored: Buffer): Stored<T> {
  const { revision, record } = parted(stored)
  return { revision, record: form.decode(record, placeOf(key, revision)) as T }
}

/** A record's bytes that are to be written under this key, at this revision. */
export function formatRecord(form: StoredForm, key: string, revision: number, record: unknown): Buffer {
  return form.encode(record, placeOf(key, revision))
}

/** What stands under a key, sealed with the key that seals now; null: it is so already. Throws `RecordUnreadable`. */
export function resealRecord(form: StoredForm, key: string, stored: Buffer): Buffer | null {
  const { revision, record } = parted(stored)
  const resealed = form.reseal(record, placeOf(key, revision))
  return resealed === null ? null : Buffer.concat([Buffer.from(`${revision}:`), resealed])
}

/** The ids of the keys that what stands under a key says it is sealed with. */
export function keysNeededBy(stored: Buffer): ReadonlySet<string> {
  return keyIdsOf(stored.subarray(stored.indexOf(COLON) + 1))
}

function placeOf(key: string, revision: number): string {
  return `${revision}:${key}`
}

const COLON = 0x3a

function parted(stored: Buffer): { revision: number; record: Buffer } {
  const colon = stored.indexOf(COLON)
  const text = stored.toString('latin1', 0, colon)
  const revision = /^[1-9]\d*$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(revision)) throw new RecordUnreadable('altered')
  return { revision, record: stored.subarray(colon + 1) }
}

/** As the write script tells it: nothing where nothing stands, '<revision>:' where something did. */
export function parseStanding<T>(form: StoredForm, key: string, stored: Buffer): Stored<T | null> | null {
  if (stored.length === 0) return null
  if (stored.at(-1) !== COLON || stored.indexOf(COLON) !== stored.length - 1) return parseRecord<T>(form, key, stored)
  return { revision: parted(stored).revision, record: null }
}

export function createRedisRecordStore<T>(options: RecordStoreOptions<T>): RecordStore<T> {
  const { client, clock, form, keyOf, notices, scripts } = options

  function unlessExpired(stored: Stored<T>): Stored<T> | null {
    const expiresAtMs = options.expiresAtMs(stored.record)
    return expiresAtMs !== null && expiresAtMs <= clock.now() ? null : stored
  }

  function ttlOf(record: T): string {
    const expiresAtMs = options.expiresAtMs(record)
    return expiresAtMs === null ? '' : String(Math.max(1, Math.ceil(expiresAtMs - clock.now())))
  }

  return {
    async read(name) {
      const key = keyOf(name)
      const stored = await ask(client, 'get', () => client.getBuffer(key))
      return stored === null ? null : unlessExpired(parseRecord<T>(form, key, stored))
    },

    async write(name, ifRevision, next): Promise<Written<T>> {
      const key = keyOf(name)
      const revision = nextRevision(ifRevision, clock)
      const record = next === null ? '' : formatRecord(form, key, revision, next)
      const ttl = next === null ? String(REMOVAL_REMEMBERED_MS) : ttlOf(next)
      const channel = next === null || !options.isUnderWay(next) ? notices.channel : ''
      const names = [key, options.goneKeyOf(key)]
      const args = [String(ifRevision), String(revision), record, ttl, channel]
      const refused = await scripts.writeRecord(names, args)
      return refused === null
        ? { ok: true, revision }
        : { ok: false, current: parseStanding<T>(form, key, refused.current) }
    },

    settled: (name, signal) => notices.wait(keyOf(name), signal),
  }
}
