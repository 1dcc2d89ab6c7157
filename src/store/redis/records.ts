import type { Clock } from '../../ports/clock.ts'
import {
  REMOVAL_REMEMBERED_MS,
  type RecordStore,
  RecordUnreadable,
  type Stored,
  type Written,
} from '../../ports/store.ts'
import type { Codec } from '../codec.ts'
import { nextRevision } from '../revision.ts'
import type { RedisClient } from './connection.ts'
import type { Notices } from './notices.ts'
import { ask, type Scripts } from './scripts.ts'

export interface RedisShared {
  readonly client: RedisClient
  readonly scripts: Scripts
  readonly notices: Notices
  readonly codec: Codec
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

/** `<revision>:<json>`, sealed for its key and revision: it opens nowhere else, and with no other revision before it. */
export function parseRecord<T>(codec: Codec, key: string, text: string): Stored<T> {
  const colon = text.indexOf(':')
  const revision = revisionOf(text.slice(0, colon))
  return { revision, record: codec.decode(text.slice(colon + 1), placeOf(key, revision)) as T }
}

/** The json of a record that is to be written under this key, at this revision. */
export function formatRecord(codec: Codec, key: string, revision: number, record: unknown): string {
  return codec.encode(record, placeOf(key, revision))
}

/** A record's text, sealed with the key that seals now; null: it is so already. Throws `RecordUnreadable`. */
export function resealRecord(codec: Codec, key: string, text: string): string | null {
  const colon = text.indexOf(':')
  const revision = revisionOf(text.slice(0, colon))
  const json = codec.reseal(text.slice(colon + 1), placeOf(key, revision))
  return json === null ? null : `${revision}:${json}`
}

function placeOf(key: string, revision: number): string {
  return `${revision}:${key}`
}

function revisionOf(text: string): number {
  const revision = /^[1-9]\d*$/.test(text) ? Number(text) : Number.NaN
  if (Number.isSafeInteger(revision)) return revision
  throw new RecordUnreadable('altered')
}

/** As the write script tells it: '' where nothing stands, '<revision>:' where something did. */
export function parseStanding<T>(codec: Codec, key: string, text: string): Stored<T | null> | null {
  if (text === '') return null
  return text.endsWith(':')
    ? { revision: revisionOf(text.slice(0, -1)), record: null }
    : parseRecord<T>(codec, key, text)
}

export function createRedisRecordStore<T>(options: RecordStoreOptions<T>): RecordStore<T> {
  const { client, clock, codec, keyOf, notices, scripts } = options

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
      const text = await ask(client, 'get', () => client.get(key))
      return text === null ? null : unlessExpired(parseRecord<T>(codec, key, text))
    },

    async write(name, ifRevision, next): Promise<Written<T>> {
      const key = keyOf(name)
      const revision = nextRevision(ifRevision, clock)
      const json = next === null ? '' : formatRecord(codec, key, revision, next)
      const ttl = next === null ? String(REMOVAL_REMEMBERED_MS) : ttlOf(next)
      const channel = next === null || !options.isUnderWay(next) ? notices.channel : ''
      const names = [key, options.goneKeyOf(key)]
      const args = [String(ifRevision), String(revision), json, ttl, channel]
      const [ok, current = ''] = await scripts.writeRecord(names, args)
      return ok === 1 ? { ok: true, revision } : { ok: false, current: parseStanding<T>(codec, key, current) }
    },

    settled: (name, signal) => notices.wait(keyOf(name), signal),
  }
}
