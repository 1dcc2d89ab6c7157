import type { Grant } from '../../ports/records.ts'
import { type GrantPage, type GrantStore, RecordUnreadable, type Stored, type Written } from '../../ports/store.ts'
import { nextRevision } from '../revision.ts'
import type { Keys } from './keys.ts'
import { parseRecord, type RedisShared } from './records.ts'
import { orUnavailable } from './scripts.ts'

/** How many names one step of a listing asks Redis for. */
const SCAN_COUNT = '200'

export function createRedisGrantStore(options: RedisShared & { readonly keys: Keys }): GrantStore {
  const { client, clock, codec, keys, scripts } = options

  function parse(guid: string, text: string): Stored<Grant> {
    return parseRecord<Grant>(codec, keys.grant(guid), text)
  }

  /** One record that does not open must not keep the others from being served: its own reader is told. */
  function parseIfReadable(guid: string, text: string | null | undefined): Stored<Grant>[] {
    if (text == null) return []
    try {
      return [parse(guid, text)]
    } catch (error) {
      if (error instanceof RecordUnreadable) return []
      throw error
    }
  }

  async function dueIn(shard: string, nowMs: number, limit: number) {
    const flat = await orUnavailable(() =>
      client.zrangebyscore(keys.due(shard), '-inf', nowMs, 'WITHSCORES', 'LIMIT', 0, limit),
    )
    return Array.from({ length: flat.length / 2 }, (_, index) => {
      return { shard, guid: flat[2 * index] ?? '', atMs: Number(flat[2 * index + 1]) }
    })
  }

  async function claimIn(shard: string, guids: readonly string[], nowMs: number, untilMs: number) {
    const names = [keys.due(shard), ...guids.map(keys.grant)]
    const taken = await scripts.claimDue(names, [String(nowMs), String(untilMs), ...guids])
    return Array.from({ length: taken.length / 2 }, (_, index) => {
      return parseIfReadable(taken[2 * index] ?? '', taken[2 * index + 1])
    }).flat()
  }

  /** One step through a shard's names: those after `after`, in order, with the cursor of the step that follows. */
  async function scan(shard: string, cursor: string, after: string) {
    const [following, flat] = await orUnavailable(() => client.zscan(keys.due(shard), cursor, 'COUNT', SCAN_COUNT))
    const names = new Set(flat.filter((_, index) => index % 2 === 0))
    const guids = [...names].filter(guid => guid > after).sort()
    const texts = guids.length === 0 ? [] : await orUnavailable(() => client.mget(guids.map(keys.grant)))
    return { following, found: guids.flatMap((guid, index) => parseIfReadable(guid, texts[index])) }
  }

  return {
    async read(guid) {
      const text = await orUnavailable(() => client.get(keys.grant(guid)))
      return text === null ? null : parse(guid, text)
    },

    async write(guid, ifRevision, next): Promise<Written<Grant>> {
      const key = keys.grant(guid)
      const revision = nextRevision(ifRevision, clock)
      const text = next === null ? '' : `${revision}:${codec.encode(next, key)}`
      const dueAt = next?.dueAtMs == null ? '+inf' : String(next.dueAtMs)
      const names = [key, keys.due(keys.shardOf(guid))]
      const [ok, current] = await scripts.writeRecord(names, [String(ifRevision), text, '', guid, dueAt])
      if (ok === 1) return { ok: true, revision }
      return { ok: false, current: current ? parse(guid, current) : null }
    },

    async claimDue({ nowMs, untilMs, limit }) {
      const due = (await Promise.all(keys.shards.map(shard => dueIn(shard, nowMs, limit)))).flat()
      const soonest = due.sort((first, second) => first.atMs - second.atMs).slice(0, limit)
      const shards = [...new Set(soonest.map(candidate => candidate.shard))]
      const claims = shards.map(shard => {
        const guids = soonest.filter(candidate => candidate.shard === shard).map(candidate => candidate.guid)
        return claimIn(shard, guids, nowMs, untilMs)
      })
      return (await Promise.all(claims)).flat()
    },

    async list({ status, limit, cursor }): Promise<GrantPage | null> {
      const start = cursor === undefined ? { index: 0, scan: '0', after: '' } : parseCursor(cursor, keys.shards.length)
      if (start === null) return null
      const grants: Grant[] = []
      let { index, scan: scanCursor, after } = start
      for (; index < keys.shards.length; index += 1) {
        const shard = keys.shards[index] ?? ''
        do {
          const step = await scan(shard, scanCursor, after)
          for (const { record } of step.found) {
            if (grants.length === limit) return { grants, nextCursor: formatCursor(index, scanCursor, after) }
            after = record.guid
            if (status === undefined || record.status === status) grants.push(record)
          }
          scanCursor = step.following
          after = ''
        } while (scanCursor !== '0')
      }
      return { grants, nextCursor: null }
    },
  }
}

/** Where a listing goes on: the shard, Redis's own cursor in it, and the last name that was shown of that step. */
function formatCursor(index: number, scanCursor: string, after: string): string {
  return Buffer.from(`${index} ${scanCursor} ${after}`).toString('base64url')
}

function parseCursor(cursor: string, shardCount: number) {
  const [, index, scan, after] = /^(\d{1,4}) (\d{1,20}) (.*)$/.exec(Buffer.from(cursor, 'base64url').toString()) ?? []
  if (index === undefined || scan === undefined || Number(index) >= shardCount) return null
  return { index: Number(index), scan, after: after ?? '' }
}
