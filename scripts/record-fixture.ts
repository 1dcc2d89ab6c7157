/**
 * Writes down how records lie in Redis today: `npx tsx scripts/record-fixture.ts NAME`. Run once for each form that differs
 * from those in test/fixtures; `test/contract/formats.test.ts` reads all of them for good.
 */
import { writeFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import { encryptionKeys } from '../src/settings/forms.ts'
import { openRedisStores } from '../test/contract/redis-stores.ts'
import { ManualClock } from '../test/support/clock.ts'
import { KEPT_AT_MS, KEPT_KEY, KEPT_PREFIX, type KeptKind, keptRecords, storeOf } from '../test/support/kept-records.ts'
import { startRedis } from '../test/support/redis.ts'

const [, , name = ''] = process.argv
if (!/^\d+\.\d+\.\d+[\w-]*$/.test(name)) throw new Error('which version is this? e.g. 0.1.0, or 0.1.0-packed')
const server = await startRedis()
const stores = openRedisStores(server, new ManualClock(KEPT_AT_MS), {
  prefix: KEPT_PREFIX,
  keys: encryptionKeys(KEPT_KEY),
})
const client = new Redis(server.url)
try {
  for (const [kind, records] of Object.entries(keptRecords())) {
    for (const [key, record] of Object.entries(records)) await storeOf(stores, kind as KeptKind).write(key, 0, record)
  }
  const base64: Record<string, string> = {}
  const schedules: Record<string, string[]> = {}
  for (const key of (await client.keys(`${KEPT_PREFIX}:*`)).sort()) {
    if ((await client.type(key)) === 'string') base64[key] = (await client.getBuffer(key))?.toString('base64') ?? ''
    else schedules[key] = await client.zrange(key, '0', '-1', 'WITHSCORES')
  }
  const file = `test/fixtures/redis-${name}.json`
  writeFileSync(file, `${JSON.stringify({ base64, schedules }, null, 2)}\n`)
  process.stdout.write(`${Object.keys(base64).length} records are in ${file}\n`)
} finally {
  client.disconnect()
  await stores.close()
  await server.stop()
}
