/** The schedule in Redis, seen from outside: what makes all grants due at one moment, and when they have been renewed. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createKeys } from '../../src/store/redis/keys.ts'
import { openStores } from '../engine/store.ts'
import { withRedis } from '../redis.ts'
import type { World } from '../world.ts'

const PREFIX = 'htgw'
const POLL_EVERY_MS = 10
/** As long as one takes to be due again, at least: renewed ones are due much later. */
const MUCH_LATER_MS = 600_000
/** For each grant, to be written. */
const WRITING_MS = 2

/** Makes them due at one moment in the near future, and returns that moment. */
export async function dueTogether({ redisUrl, settings }: World, guids: readonly string[]): Promise<number> {
  const stores = openStores(redisUrl, settings.ENCRYPTION_KEYS)
  const dueAtMs = Date.now() + 2_000 + WRITING_MS * guids.length
  for (const guid of guids) {
    const stored = await stores.grants.read(guid)
    if (stored === null) throw new Error('a grant is missing')
    await stores.grants.write(guid, stored.revision, { ...stored.record, dueAtMs })
  }
  await stores.close()
  if (Date.now() > dueAtMs) throw new Error('this machine is too busy to write them in time')
  return dueAtMs
}

/** Resolves when all have been renewed, with the seconds since the first was. */
export async function secondsUntilRenewed({ redisUrl }: World, count: number, dueAtMs: number): Promise<number> {
  const keys = createKeys(PREFIX)
  return await withRedis(redisUrl, async client => {
    const renewed = async () => {
      const asked = client.pipeline()
      for (const shard of keys.shards) asked.zcount(keys.due(shard), dueAtMs + MUCH_LATER_MS, '+inf')
      return ((await asked.exec()) ?? []).reduce((sum, [, answer]) => sum + Number(answer), 0)
    }
    while ((await renewed()) === 0) await sleep(POLL_EVERY_MS)
    const begun = performance.now()
    while ((await renewed()) < count) await sleep(POLL_EVERY_MS)
    return (performance.now() - begun) / 1000
  })
}
