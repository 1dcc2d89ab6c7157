/** Records as earlier versions wrote them: the next version reads them, renews them, and seals them anew. */
import { readdirSync, readFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import t from 'tap'
import type { GrantSketch } from '../../src/ports/inventory.ts'
import type { Grant } from '../../src/ports/records.ts'
import { encryptionKeys } from '../../src/settings/forms.ts'
import { ManualClock } from '../support/clock.ts'
import { KEPT_AT_MS, KEPT_KEY, KEPT_PREFIX, type KeptKind, keptRecords, storeOf } from '../support/kept-records.ts'
import { startRedis } from '../support/redis.ts'
import { told } from './records.ts'
import { openRedisStores } from './redis-stores.ts'

const FIXTURES = 'test/fixtures'
const files = readdirSync(FIXTURES).filter(name => /^redis-.*\.json$/.test(name))
t.ok(files.length > 0)

for (const file of files) {
  t.test(file, async t => {
    const server = await startRedis()
    t.teardown(() => server.stop())
    const { texts = {}, base64 = {}, schedules } = JSON.parse(readFileSync(`${FIXTURES}/${file}`, 'utf8'))
    const client = new Redis(server.url)
    t.teardown(() => client.disconnect())
    for (const [key, text] of Object.entries<string>(texts)) await client.set(key, text)
    for (const [key, bytes] of Object.entries<string>(base64)) await client.set(key, Buffer.from(bytes, 'base64'))
    for (const [key, entries] of Object.entries<string[]>(schedules)) {
      for (let index = 0; index < entries.length; index += 2) {
        await client.zadd(key, entries[index + 1] ?? '', entries[index] ?? '')
      }
    }
    const clock = new ManualClock(KEPT_AT_MS)
    const stores = openRedisStores(server, clock, { prefix: KEPT_PREFIX, keys: encryptionKeys(KEPT_KEY) })
    t.teardown(() => stores.close())

    for (const [kind, records] of Object.entries(keptRecords())) {
      for (const [key, record] of Object.entries(records)) {
        const read = await storeOf(stores, kind as KeptKind).read(key)
        t.strictSame(told(read?.record), told(record), `${kind} ${key}`)
      }
    }
    const sketches: GrantSketch[] = []
    for await (const batch of stores.inventory.walk()) sketches.push(...batch)
    const sketched = sketches.toSorted((one, other) => (one.guid < other.guid ? -1 : 1))
    t.strictSame(
      sketched,
      Object.values(keptRecords().grants as Record<string, Grant>).map(grant => {
        const { guid, status, accessTokenExpiresAtMs, dueAtMs, lastRefreshedAtMs, lastError } = grant
        const failed = lastError && { code: lastError.code, attempts: lastError.attempts }
        return { guid, status, accessTokenExpiresAtMs, dueAtMs, isTroubled: true, lastRefreshedAtMs, lastError: failed }
      }),
      'and is counted without being opened',
    )
    const page = await stores.grants.list({ limit: 500 })
    t.equal(page?.grants.length, Object.keys(keptRecords().grants).length)
    clock.jump(2 * 3_600_000)
    const due = await stores.grants.claimDue({ nowMs: clock.now(), untilMs: clock.now() + 15_000, limit: 10 })
    t.strictSame(due.map(({ record }) => record.status).sort(), ['active', 'in_doubt', 'revoking'])

    const stands = await stores.grants.read('guid-active')
    const next: Grant = { ...(stands?.record as Grant), version: 8 }
    t.match(await stores.grants.write('guid-active', stands?.revision ?? 0, next), { ok: true })
    t.match(await stores.grants.read('guid-active'), { record: { version: 8 } })
  })
}
