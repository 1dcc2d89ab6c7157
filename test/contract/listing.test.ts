import t from 'tap'
import { createKeys } from '../../src/store/redis/keys.ts'
import { ManualClock } from '../support/clock.ts'
import { startRedis } from '../support/redis.ts'
import { inBatches } from './patience.ts'
import { grantOf, guidOf } from './records.ts'
import { openRedisStores } from './redis-stores.ts'

t.test('Redis: a grant that stays is listed, whoever goes meanwhile', async t => {
  const server = await startRedis()
  const clock = new ManualClock()
  const { grants, close } = openRedisStores(server, clock)
  t.teardown(async () => {
    await close()
    await server.stop()
  })
  const { shards, shardOf } = createKeys('htgw')
  const guids = Array.from({ length: 40_000 }, (_, index) => guidOf(index)).filter(guid => shardOf(guid) === shards[0])
  await inBatches(guids, guid => grants.write(guid, 0, grantOf(guid, clock.now())))
  const seen = new Set<string>()
  let cursor: string | null = null
  do {
    const page = await grants.list({ limit: 50, ...(cursor === null ? {} : { cursor }) })
    if (page === null) return t.fail('a cursor that was given out is not known')
    for (const { guid } of page.grants) seen.add(guid)
    // Only what was shown already is removed: everybody else stays through the whole listing.
    for (const { guid } of page.grants.slice(0, 20)) {
      await grants.write(guid, (await grants.read(guid))?.revision ?? 0, null)
    }
    cursor = page.nextCursor
  } while (cursor !== null)
  t.strictSame([...seen].sort(), guids.sort())
  const forged = Buffer.from('0 99999999999999999999  ').toString('base64url')
  t.equal(await grants.list({ limit: 5, cursor: forged }), null)
})
