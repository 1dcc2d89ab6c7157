import type { Clock } from '../../ports/clock.ts'
import { type RecordStore, RecordUnreadable, type Stored, type Written } from '../../ports/store.ts'
import type { Codec } from '../codec.ts'
import { nextRevision } from '../revision.ts'
import type { RedisClient } from './connection.ts'
import type { Notices } from './notices.ts'
import { orUnavailable, type Scripts } from './scripts.ts'

export interface RedisShared {
  readonly client: RedisClient
  readonly scripts: Scripts
  readonly notices: Notices
  readonly codec: Codec
  readonly clock: Clock
}

interface RecordStoreOptions<T> extends RedisShared {
  readonly keyOf: (name: string) => string
  readonly expiresAtMs: (record: T) => number | null
  /** Whether somebody is still at it: then there is nothing to tell those who wait. */
  readonly isUnderWay: (record: T) => boolean
}

/** `<revision>:<json>`; the place it is sealed for is its key, so that it opens nowhere else. */
export function parseRecord<T>(codec: Codec, key: string, text: string): Stored<T> {
  const colon = text.indexOf(':')
  const revision = Number(text.slice(0, colon))
  if (!Number.isSafeInteger(revision) || revision < 1) {
    throw new RecordUnreadable('A record is not what this gateway writes.')
  }
  return { revision, record: codec.decode(text.slice(colon + 1), key) as T }
}

export function createRedisRecordStore<T>(options: RecordStoreOptions<T>): RecordStore<T> {
  const { client, clock, codec, keyOf, notices, scripts } = options

  function unlessExpired(stored: Stored<T>): Stored<T> | null {
    const expiresAtMs = options.expiresAtMs(stored.record)
    return expiresAtMs !== null && expiresAtMs <= clock.now() ? null : stored
  }

  return {
    async read(name) {
      const key = keyOf(name)
      const text = await orUnavailable(() => client.get(key))
      return text === null ? null : unlessExpired(parseRecord<T>(codec, key, text))
    },

    async write(name, ifRevision, next): Promise<Written<T>> {
      const key = keyOf(name)
      const revision = nextRevision(ifRevision, clock)
      const expiresAtMs = next === null ? null : options.expiresAtMs(next)
      const ttl = expiresAtMs === null ? '' : String(Math.max(1, Math.ceil(expiresAtMs - clock.now())))
      const text = next === null ? '' : `${revision}:${codec.encode(next, key)}`
      const channel = next === null || !options.isUnderWay(next) ? notices.channel : ''
      const [ok, current] = await scripts.writeRecord([key], [String(ifRevision), text, ttl, channel])
      if (ok === 1) return { ok: true, revision }
      return { ok: false, current: current ? parseRecord<T>(codec, key, current) : null }
    },

    settled: (name, signal) => notices.wait(keyOf(name), signal),
  }
}
