/** Records that leave a Redis, and come into another: on a single server, and on a cluster with several masters. */
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { Grant } from '../../src/ports/records.ts'
import { RecordUnreadable } from '../../src/ports/store.ts'
import { closeRedis, connectRedis, parseRedisAddress } from '../../src/store/redis/connection.ts'
import {
  countGrants,
  isUnderWay,
  type Leaving,
  place,
  putBackAll,
  takeOut,
  visitLeaving,
} from '../../src/store/redis/handover.ts'
import { createKeys } from '../../src/store/redis/keys.ts'
import { defineScripts } from '../../src/store/redis/scripts.ts'
import { createSealer } from '../../src/store/sealing.ts'
import { createStoredForm } from '../../src/store/stored-form.ts'
import { Tally } from '../../src/store/tally.ts'
import { ManualClock } from '../support/clock.ts'
import { knownGrant, putKnown } from '../support/key-drill.ts'
import { newKey } from '../support/keys.ts'
import { startRedis } from '../support/redis.ts'
import { startCluster } from '../support/redis-deployments.ts'
import { guidOf, provisioningOf, told } from './records.ts'
import { KEY, openRedisStores } from './redis-stores.ts'

const single = await startRedis()
t.teardown(() => single.stop())

function open(t: Test, server: { readonly url: string }, prefix: string) {
  const clock = new ManualClock()
  const stores = openRedisStores(server, clock, { prefix })
  const address = parseRedisAddress(server.url)
  if (address === null) throw new Error('an address')
  const client = connectRedis(address)
  client.on('error', () => {})
  t.teardown(async () => {
    closeRedis(client)
    await stores.close()
  })
  const store = { client, keys: createKeys(prefix), form: createStoredForm(createSealer([KEY])), clock }
  const put = async (guid: string) => await stores.grants.write(guid, 0, knownGrant(guid, clock.now()))
  return { clock, stores, store, put, placing: { ...store, scripts: defineScripts(client) } }
}

type Opened = ReturnType<typeof open>

/** Everything that may leave; `visit` may change it meanwhile. */
async function takeAll({ store }: Opened, visit: (found: readonly Leaving[]) => Promise<void> = async () => {}) {
  const left = new Map<string, Leaving>()
  const tally = new Tally()
  const isWhole = await visitLeaving(store, tally, async (found, master) => {
    await visit(found)
    await takeOut(store, found, master)
    for (const each of found) left.set(store.keys.nameOf(each.key), each)
  })
  return { left, tally, isWhole }
}

for (const [name, start] of [
  ['a single server', async () => ({ url: single.url, stop: async () => {} })],
  ['a cluster', startCluster],
] as const) {
  t.test(`out of ${name}, and into another; back again`, async t => {
    const server = await start()
    t.teardown(() => server.stop())
    const [source, target] = [open(t, server, 'source'), open(t, server, 'target')]
    const guids = Array.from({ length: 600 }, (_, index) => guidOf(index))
    await putKnown(source.stores, guids, source.clock.now())
    await source.stores.provisionings.write('ada', 0, { status: 'done', guid: guids[0] ?? '' })
    t.equal(await countGrants(source.store), 600)

    const { isWhole, left, tally } = await takeAll(source)
    t.strictSame([isWhole, left.size, tally.unreadableCount], [true, 601, 0])
    t.equal(await countGrants(source.store), 0, 'none is in the schedule')
    t.equal((await source.stores.grants.list({ limit: 500 }))?.grants.length, 0)
    t.equal(await source.stores.grants.read(guids[0] ?? ''), null)
    t.equal(await source.stores.provisionings.read('ada'), null)
    t.equal((await takeAll(source)).left.size, 0, 'and nothing is found by a second walk')

    for (const [name, { stored }] of left) {
      t.equal(await place(target.placing, target.store.keys.named(name), stored.record), null)
    }
    const there = await target.stores.grants.read(guids[7] ?? '')
    t.strictSame(told(there?.record), told(knownGrant(guids[7] ?? '', source.clock.now())))
    t.match(await target.stores.provisionings.read('ada'), { record: { guid: guids[0] } })
    const claim = { nowMs: Number.MAX_SAFE_INTEGER, untilMs: Number.MAX_SAFE_INTEGER, limit: 1_000 }
    t.equal((await target.stores.grants.claimDue(claim)).length, 600, 'all are in the schedule')

    t.match(await putBackAll(source.store), { back: 601, overtaken: 0, isWhole: true })
    t.equal(await countGrants(source.store), 600)
    const back = await source.stores.grants.read(guids[7] ?? '')
    t.strictSame(told(back), told(left.get(source.store.keys.nameOf(source.store.keys.grant(guids[7] ?? '')))?.stored))
    t.equal((await source.stores.grants.claimDue(claim)).length, 600)
    t.match(await putBackAll(source.store), { back: 0, overtaken: 0 })
  })
}

t.test('what changes between being read and being taken out stays, and is found again', async t => {
  const opened = open(t, single, 'changing')
  await opened.put('ada')
  await opened.put('bob')
  const { left } = await takeAll(opened, async () => {
    const { record, revision } = (await opened.stores.grants.read('ada')) ?? { revision: 0, record: {} as Grant }
    t.match(await opened.stores.grants.write('ada', revision, { ...record, version: 2 }), { ok: true })
  })
  t.equal(left.size, 2)
  t.match(await opened.stores.grants.read('ada'), { record: { version: 2 } })
  t.equal(await opened.stores.grants.read('bob'), null)
  const again = await takeAll(opened)
  t.match([...again.left.values()], [{ kind: 'grant', stored: { record: { guid: 'ada', version: 2 } } }])
})

t.test('a write that was decided on before, and comes late, is refused', async t => {
  const opened = open(t, single, 'late')
  await opened.put('ada')
  const before = await opened.stores.grants.read('ada')
  await takeAll(opened)
  const late = await opened.stores.grants.write('ada', before?.revision ?? 0, knownGrant('ada', 1))
  t.match(late, { ok: false, current: { record: null } })
  t.match(await opened.stores.grants.write('ada', 0, knownGrant('ada', 1)), { ok: false }, 'nor is it made anew')
})

t.test('what stands is never written over', async t => {
  const opened = open(t, single, 'standing')
  await opened.put('ada')
  const key = opened.store.keys.grant('ada')
  const other: Grant = { ...knownGrant('ada', 5), version: 9 }
  t.match(await place(opened.placing, key, other), { version: 1 })
  t.match(await opened.stores.grants.read('ada'), { record: { version: 1 } })
  await takeAll(opened)
  t.equal(await place(opened.placing, key, other), null, 'where something was taken out, it may come back')
  t.match(await opened.stores.grants.read('ada'), { record: { version: 9 } })
  t.match(await putBackAll(opened.store), { back: 0, overtaken: 1 })
  t.match(await opened.stores.grants.read('ada'), { record: { version: 9 } })
  const raw = new Redis(single.url)
  t.teardown(() => raw.disconnect())
  await raw.set(key, '1:nonsense')
  await t.rejects(place(opened.placing, key, other), RecordUnreadable)
})

t.test('copies go by themselves, and rotate-keys and doctor do not take them for records', async t => {
  const opened = open(t, single, 'copies')
  await opened.put('ada')
  const key = opened.store.keys.grant('ada')
  await takeAll(opened)
  const copy = opened.store.keys.exported(key)
  t.match(copy, /^copies:\{s\d{3}\}:exported:grant:ada$/)
  t.equal(opened.store.keys.exportedFrom(copy), key)
  t.strictSame([key, 'other:{s001}:exported:grant:ada'].map(opened.store.keys.exportedFrom), [null, null])
  t.equal(opened.store.keys.recordUnder(copy), null)
  const raw = new Redis(single.url)
  t.teardown(() => raw.disconnect())
  const days = (await raw.pttl(copy)) / 86_400_000
  t.ok(days > 29 && days <= 30)
  await putBackAll(opened.store)
  t.equal(await raw.pttl(key), -1, 'and what is back stays')
})

t.test('what does not open stays, and is told', async t => {
  const opened = open(t, single, 'closed')
  await opened.put('ada')
  const strange = openRedisStores(single, opened.clock, { prefix: 'closed', keys: [newKey('k0')] })
  t.teardown(() => strange.close())
  await strange.grants.write('bob', 0, knownGrant('bob', 1))
  const { left, tally } = await takeAll(opened)
  t.equal(left.size, 1)
  t.match(tally.unreadable, [{ reason: 'unknown_key', keyId: 'k0', names: ['grant bob'] }])
  t.match(await strange.grants.read('bob'), { record: { guid: 'bob' } })
})

t.test('who is at it', async t => {
  const leaving = (record: Leaving['stored']['record']) =>
    ({ key: '', kind: 'grant', bytes: Buffer.alloc(0), stored: { revision: 1, record } }) as const
  const attempt = { owner: 'x', startedAtMs: 0, leaseUntilMs: 100, refreshTokenFingerprint: '' }
  t.notOk(isUnderWay(leaving(knownGrant('ada', 0)), 50))
  t.ok(isUnderWay(leaving({ ...knownGrant('ada', 0), attempt }), 50))
  t.notOk(isUnderWay(leaving({ ...knownGrant('ada', 0), attempt }), 100), 'it never came back')
  t.ok(isUnderWay(leaving(provisioningOf(0)), 50))
  t.notOk(isUnderWay(leaving(provisioningOf(0)), 15_000))
  t.notOk(isUnderWay(leaving({ status: 'done', guid: 'ada' }), 0))
})
