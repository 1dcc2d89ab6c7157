/** What every store tells of all its grants together. */
import t, { type Test } from 'tap'
import type { GrantSketch, Inventory } from '../../src/ports/inventory.ts'
import { type Stores, StoreUnavailable } from '../../src/ports/store.ts'
import { createMemoryStores } from '../../src/store/memory.ts'
import { createKeys } from '../../src/store/redis/keys.ts'
import { ManualClock } from '../support/clock.ts'
import { startRedis } from '../support/redis.ts'
import { inBatches } from './patience.ts'
import { grantOf, guidOf } from './records.ts'
import { openRedisStores } from './redis-stores.ts'

const CALM = { attempt: null, lastError: null }

async function walked(inventory: Inventory): Promise<GrantSketch[]> {
  const sketches: GrantSketch[] = []
  for await (const batch of inventory.walk()) sketches.push(...batch)
  return sketches.sort((first, second) => first.accessTokenExpiresAtMs - second.accessTokenExpiresAtMs)
}

async function inventorySuite(t: Test, { grants, inventory }: Stores, clock: ManualClock): Promise<void> {
  const nowMs = clock.now()
  t.strictSame(await walked(inventory), [])
  t.strictSame(await inventory.backlog(nowMs), { due: 0, oldestAtMs: null })

  // Names that look like fields: what is told of a grant is not what somebody has called themselves.
  const username =
    '","status":"revoking","dueAtMs":1,"attempt":null,"lastRefreshedAtMs":1,"lastError":{"code":"a","atMs":1,"attempts":3},"accessTokenExpiresAtMs":2,"'
  const stored = [
    grantOf(guidOf(1), nowMs, { accessTokenExpiresAtMs: nowMs + 1, dueAtMs: nowMs - 7_000, ...CALM }),
    grantOf(guidOf(2), nowMs, { accessTokenExpiresAtMs: nowMs + 2, dueAtMs: nowMs, status: 'in_doubt', username }),
    grantOf(guidOf(3), nowMs, { accessTokenExpiresAtMs: nowMs + 3, dueAtMs: null, ...CALM, username }),
    grantOf(guidOf(4), nowMs, {
      accessTokenExpiresAtMs: nowMs + 4,
      status: 'revoking',
      attempt: null,
      lastRefreshedAtMs: null,
    }),
    grantOf(guidOf(5), nowMs, { accessTokenExpiresAtMs: nowMs + 5, status: 'reauthorization_required', dueAtMs: null }),
    grantOf(guidOf(6), nowMs, { accessTokenExpiresAtMs: nowMs + 6, lastError: null, dueAtMs: nowMs + 1 }),
  ]
  for (const grant of stored) await grants.write(grant.guid, 0, grant)
  t.strictSame(
    await walked(inventory),
    stored.map(grant => {
      const { guid, status, accessTokenExpiresAtMs, dueAtMs, attempt, lastRefreshedAtMs, lastError } = grant
      const isTroubled = attempt !== null || lastError !== null
      const failed = lastError === null ? null : { code: lastError.code, attempts: lastError.attempts }
      return { guid, status, accessTokenExpiresAtMs, dueAtMs, isTroubled, lastRefreshedAtMs, lastError: failed }
    }),
  )
  t.strictSame(await inventory.backlog(nowMs), { due: 2, oldestAtMs: nowMs - 7_000 })
  await grants.claimDue({ nowMs, untilMs: nowMs + 15_000, limit: 1 })
  t.strictSame(await inventory.backlog(nowMs), { due: 1, oldestAtMs: nowMs }, 'what is claimed is taken up')
}

t.test('memory', t => {
  const clock = new ManualClock()
  return inventorySuite(t, createMemoryStores(clock), clock)
})

for (const cluster of [false, true]) {
  t.test(cluster ? 'a cluster' : 'one server', async t => {
    const server = await startRedis({ cluster })
    t.teardown(() => server.stop())
    const clock = new ManualClock()
    const stores = openRedisStores(server, clock)
    t.teardown(() => stores.close())
    await inventorySuite(t, stores, clock)
    await server.kill('SIGKILL')
    await t.rejects(stores.inventory.backlog(clock.now()), StoreUnavailable)
    await t.rejects(walked(stores.inventory), StoreUnavailable)
  })
}

t.test('a shard of many grants is walked in steps', async t => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const clock = new ManualClock()
  const { grants, inventory, close } = openRedisStores(server, clock)
  t.teardown(close)
  const { shards, shardOf } = createKeys('htgw')
  const guids = Array.from({ length: 40_000 }, (_, index) => guidOf(index)).filter(guid => shardOf(guid) === shards[0])
  const write = (guid: string, index: number) =>
    grants.write(guid, 0, grantOf(guid, clock.now(), { accessTokenExpiresAtMs: index }))
  await inBatches(guids, write)
  let largest = 0
  let told: number[] = []
  for await (const batch of inventory.walk()) {
    largest = Math.max(largest, batch.length)
    told.push(...batch.map(({ accessTokenExpiresAtMs }) => accessTokenExpiresAtMs))
  }
  t.strictSame(
    told.sort((first, second) => first - second),
    guids.map((_, index) => index),
  )
  t.ok(guids.length > 500 && largest < 200, `${guids.length} in steps of ${largest} at most`)

  // Most of them go in the middle of it.
  told = []
  const staying = Math.floor(guids.length / 50)
  const remove = async (guid: string) => grants.write(guid, (await grants.read(guid))?.revision ?? 0, null)
  for await (const batch of inventory.walk()) {
    if (told.length === 0) await Promise.all(guids.slice(staying).map(remove))
    told.push(...batch.map(({ accessTokenExpiresAtMs }) => accessTokenExpiresAtMs))
  }
  for (let index = 0; index < staying; index += 1) t.ok(told.includes(index), 'who stays is told')
  t.ok(told.length < guids.length, 'and who has gone is not')
})
