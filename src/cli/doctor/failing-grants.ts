import { needsAttention } from '../../broker/attention.ts'
import type { GrantSketch } from '../../ports/inventory.ts'
import type { RedisClient } from '../../store/redis/connection.ts'
import { createRedisInventory } from '../../store/redis/inventory.ts'
import type { Keys } from '../../store/redis/keys.ts'
import { defineScripts } from '../../store/redis/scripts.ts'
import { type Check, counted, named, ok, warning } from './check.ts'

export const ATTENTION = 'grants needing attention'
/** Some ten seconds of reading. A larger store is watched by `htgw_grants_needing_attention`. */
const MOST_LOOKED_AT = 100_000
const MOST_NAMED = 5

/** Reads the unencrypted fields of grants, as the count of all grants does. Nothing is written. Throws `StoreUnavailable`. */
export async function attentionChecks(client: RedisClient, keys: Keys): Promise<readonly Check[]> {
  const inventory = createRedisInventory({ client, keys, scripts: defineScripts(client) })
  let looked = 0
  const failing: GrantSketch[] = []
  for await (const sketches of inventory.walk()) {
    looked += sketches.length
    failing.push(...sketches.filter(needsAttention))
    if (looked >= MOST_LOOKED_AT) break
  }
  const lines = failing.length === 0 ? [] : [warning(textOf(failing))]
  return named(ATTENTION, lines, ok(`none of ${counted(looked, 'grant')}`))
}

function textOf(failing: readonly GrantSketch[]): string {
  const distinct = [...new Map(failing.map(sketch => [sketch.guid, sketch])).values()]
  const worstFirst = distinct.sort((first, second) => attemptsOf(second) - attemptsOf(first))
  const told = worstFirst.slice(0, MOST_NAMED).map(sketch => {
    const { guid, lastError, lastRefreshedAtMs } = sketch
    const since = lastRefreshedAtMs === null ? 'never refreshed' : `last refreshed ${timeOf(lastRefreshedAtMs)}`
    return `${guid} (${lastError?.code}, ${counted(attemptsOf(sketch), 'failure')} in a row, ${since})`
  })
  const more = distinct.length > told.length ? [`${distinct.length - told.length} more`] : []
  return `${[...told, ...more].join(', ')}: see GrantsNeedAttention in docs/metrics.md`
}

function attemptsOf({ lastError }: GrantSketch): number {
  return lastError?.attempts ?? 0
}

function timeOf(atMs: number): string {
  return new Date(atMs).toISOString().replace(/\.\d+Z$/, 'Z')
}
