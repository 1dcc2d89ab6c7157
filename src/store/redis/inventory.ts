import type { Backlog, GrantSketch, Inventory } from '../../ports/inventory.ts'
import type { GrantStatus } from '../../ports/records.ts'
import { CODES, STATUSES } from '../packed-grant.ts'
import type { RedisClient } from './connection.ts'
import type { Keys } from './keys.ts'
import { ask, type Scripts } from './scripts.ts'

/** Some tenths of a millisecond of a server's time. */
const SCAN_COUNT = 100
const LISTS = [STATUSES.join(','), CODES.map(code => code ?? '').join(',')]
const FIELDS = 8

export function createRedisInventory(options: { client: RedisClient; keys: Keys; scripts: Scripts }): Inventory {
  const { client, keys, scripts } = options

  async function backlogOf(shard: string, nowMs: number): Promise<Backlog> {
    const key = keys.due(shard)
    const [due, oldest] = await Promise.all([
      client.zcount(key, '-inf', nowMs),
      client.zrangebyscore(key, '-inf', nowMs, 'WITHSCORES', 'LIMIT', 0, 1),
    ])
    return { due, oldestAtMs: oldest[1] === undefined ? null : Number(oldest[1]) }
  }

  async function* walkShard(shard: string): AsyncIterable<readonly GrantSketch[]> {
    let cursor = '0'
    do {
      const at = cursor
      const [following, flat] = await ask(client, 'zscan', () => client.zscan(keys.due(shard), at, 'COUNT', SCAN_COUNT))
      const guids = flat.filter((_, index) => index % 2 === 0)
      if (guids.length > 0) yield sketchesIn(await scripts.sketchGrants(guids.map(keys.grant), [...LISTS, ...guids]))
      cursor = following
    } while (cursor !== '0')
  }

  return {
    async backlog(nowMs) {
      const shards = await ask(client, 'backlog', () => Promise.all(keys.shards.map(shard => backlogOf(shard, nowMs))))
      const oldest = Math.min(...shards.map(({ oldestAtMs }) => oldestAtMs ?? Number.POSITIVE_INFINITY))
      return {
        due: shards.reduce((sum, { due }) => sum + due, 0),
        oldestAtMs: Number.isFinite(oldest) ? oldest : null,
      }
    },

    async *walk() {
      for (const shard of keys.shards) yield* walkShard(shard)
    },
  }
}

function sketchesIn(told: readonly string[]): readonly GrantSketch[] {
  return Array.from({ length: told.length / FIELDS }, (_, index) => {
    const fields = told.slice(FIELDS * index, FIELDS * (index + 1))
    const [guid = '', status, expiresAt, dueAt, isTroubled, refreshedAt, code = '', attempts] = fields
    return {
      guid,
      status: status as GrantStatus,
      accessTokenExpiresAtMs: Number(expiresAt),
      dueAtMs: timeIn(dueAt),
      isTroubled: isTroubled === '1',
      lastRefreshedAtMs: timeIn(refreshedAt),
      lastError: code === '' ? null : { code, attempts: Number(attempts) },
    }
  })
}

function timeIn(text: string | undefined): number | null {
  return text === 'null' ? null : Number(text)
}
