/** Sealing every record anew while others go on reading and writing, on Redis in each way that it is run. */
import { readFile } from 'node:fs/promises'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { PROVIDER, type Stores } from '../../src/ports/store.ts'
import { closeRedis, connectRedis, parseRedisAddress } from '../../src/store/redis/connection.ts'
import { createKeys } from '../../src/store/redis/keys.ts'
import { resealRecords } from '../../src/store/redis/reseal.ts'
import { createSealer, type EncryptionKeys } from '../../src/store/sealing.ts'
import { createStoredForm } from '../../src/store/stored-form.ts'
import { Tally } from '../../src/store/tally.ts'
import { ManualClock } from '../support/clock.ts'
import { newKey } from '../support/keys.ts'
import { startRedis } from '../support/redis.ts'
import { startCluster, startSentinels } from '../support/redis-deployments.ts'
import { authorizationOf, exchangeOf, grantOf, guidOf, provisioningOf, told } from './records.ts'
import { openRedisStores } from './redis-stores.ts'

const [oldKey, key, otherKey] = [newKey('old'), newKey('new'), newKey('other')]
const MINUTE_MS = 60_000
const keys = createKeys('htgw')
const ada = guidOf('ada')
const LUA = new URL('../../src/store/redis/lua/', import.meta.url)

interface Server {
  readonly url: string
  stop(): Promise<void>
}

async function open(t: Test, start: () => Promise<Server> = startRedis) {
  const server = await start()
  t.teardown(() => server.stop())
  const clock = new ManualClock()
  const opened = (sealedWith: EncryptionKeys) => {
    const stores = openRedisStores(server, clock, { keys: sealedWith })
    t.teardown(() => stores.close())
    return stores
  }
  const address = parseRedisAddress(server.url)
  if (address === null) throw new Error('an address')
  const client = connectRedis(address)
  client.on('error', () => {})
  t.teardown(() => closeRedis(client))
  async function walk(sealedWith: EncryptionKeys = [key, oldKey], onProgress = () => {}) {
    const tally = new Tally()
    const form = createStoredForm(createSealer(sealedWith))
    const isWhole = await resealRecords({ client, keys, form, tally, onProgress })
    return { tally, isWhole }
  }
  return { server, client, clock, opened, walk }
}

/** One record of each kind, and some more grants. */
async function fill(stores: Stores, clock: ManualClock): Promise<number> {
  const now = clock.now()
  const guids = Array.from({ length: 40 }, (_, index) => guidOf(index))
  for (const guid of guids) await stores.grants.write(guid, 0, grantOf(guid, now))
  await stores.authorizations.write('pending', 0, authorizationOf('pending', now + MINUTE_MS))
  const spent = { ...authorizationOf('spent', now + MINUTE_MS), codeVerifier: null, guid: ada } as const
  await stores.authorizations.write('spent', 0, { ...spent, status: 'connected' })
  await stores.exchanges.write('code', 0, exchangeOf(now + MINUTE_MS))
  await stores.provisionings.write('under way', 0, provisioningOf(now))
  await stores.provisionings.write('answered', 0, { status: 'answered', grant: grantOf(ada, now) })
  await stores.provisionings.write('done', 0, { status: 'done', guid: ada })
  await stores.pauses.write(PROVIDER, 0, { untilMs: now + MINUTE_MS })
  return guids.length + 7
}

/** Everything that can be read, secrets told. */
async function all(stores: Stores): Promise<unknown> {
  const names = ['under way', 'answered', 'done']
  return told({
    grants: await Promise.all(Array.from({ length: 40 }, (_, index) => stores.grants.read(guidOf(index)))),
    authorizations: [await stores.authorizations.read('pending'), await stores.authorizations.read('spent')],
    exchange: await stores.exchanges.read('code'),
    provisionings: await Promise.all(names.map(name => stores.provisionings.read(name))),
    pause: await stores.pauses.read(PROVIDER),
  })
}

for (const [name, start] of Object.entries({
  'a server': startRedis,
  sentinels: startSentinels,
  'a cluster': startCluster,
})) {
  t.test(`${name}: afterwards the old key is needed for nothing, and nothing else has changed`, async t => {
    const { clock, opened, walk } = await open(t, start)
    const count = await fill(opened([oldKey]), clock)
    const [before, onlyNew] = [opened([key, oldKey]), opened([key])]
    const records = await all(before)
    await t.rejects(onlyNew.grants.read(guidOf(0)), { name: 'RecordUnreadable', reason: 'unknown_key' })
    await t.rejects(onlyNew.provisionings.read('done'), { name: 'RecordUnreadable' })

    const first = await walk()
    t.match(first, { isWhole: true, tally: { resealed: count, already: 0, overtaken: 0, unreadableCount: 0 } })
    t.equal(first.tally.neededBy('old'), count)
    t.strictSame(await all(onlyNew), records, 'the very same records, at the same revisions')
    const again = await walk()
    t.match(again, { isWhole: true, tally: { resealed: 0, already: count, isSettled: true } })
    t.equal(again.tally.neededBy('old'), 0)
    t.equal(again.tally.neededBy('new'), count)
  })
}

t.test('schedule, revisions and times to live stay, and whoever has read before goes on', async t => {
  const { server, clock, opened, walk } = await open(t)
  const raw = new Redis(server.url)
  t.teardown(() => raw.disconnect())
  const stores = opened([key, oldKey])
  await fill(opened([oldKey]), clock)
  const schedule = () => raw.zrange(keys.due(keys.shardOf(guidOf(0))), '0', '-1', 'WITHSCORES')
  const scores = await schedule()
  const read = await stores.grants.read(guidOf(0))
  const [state, code] = [await raw.pttl(keys.state('pending')), await raw.pttl(keys.code('code'))]
  const texts = await Promise.all([raw.get(keys.grant(guidOf(0))), raw.get(keys.state('spent'))])

  await walk()
  t.notSame(await Promise.all([raw.get(keys.grant(guidOf(0))), raw.get(keys.state('spent'))]), texts)
  t.strictSame(await schedule(), scores)
  const lives = [
    await raw.pttl(keys.state('pending')),
    await raw.pttl(keys.code('code')),
    await raw.pttl(keys.pause(PROVIDER)),
  ]
  t.ok(
    lives.every((ttl, index) => ttl > 0 && ttl <= ([state, code, MINUTE_MS][index] ?? 0)),
    `${lives} of ${state}, ${code}`,
  )
  t.equal(await raw.pttl(keys.grant(guidOf(0))), -1)
  const next = grantOf(guidOf(0), clock.now(), { version: 2 })
  t.match(await stores.grants.write(guidOf(0), read?.revision ?? 0, next), { ok: true })
})

t.test('writers and the walk do not lose each other anything', async t => {
  const { clock, opened, walk } = await open(t)
  const [one, two] = [opened([key, oldKey]), opened([oldKey, key])]
  await one.grants.write(ada, 0, grantOf(ada, clock.now(), { version: 0 }))
  let isWriting = true
  const walks = (async () => {
    let resealed = 0
    while (isWriting) {
      // Now with one key, now with the other, so that there is always something to do.
      resealed += (await walk([key, oldKey])).tally.resealed + (await walk([oldKey, key])).tally.resealed
    }
    return resealed
  })()
  const grow = async (stores: Stores) => {
    for (let times = 0; times < 150; ) {
      const current = await stores.grants.read(ada)
      const version = (current?.record.version ?? 0) + 1
      const written = await stores.grants.write(ada, current?.revision ?? 0, grantOf(ada, clock.now(), { version }))
      if (written.ok) times += 1
    }
  }
  await Promise.all([grow(one), grow(two)])
  isWriting = false
  t.ok((await walks) > 0, 'it was sealed anew between the writes')
  t.equal((await one.grants.read(ada))?.record.version, 300, 'each write grew what was there')
})

t.test('the script: only what was read is replaced', async t => {
  const server = await startRedis()
  const raw = new Redis(server.url)
  t.teardown(async () => {
    raw.disconnect()
    await server.stop()
  })
  const [reseal, write] = await Promise.all(
    ['reseal_record', 'write_record'].map(name => readFile(new URL(`${name}.lua`, LUA), 'utf8')),
  )
  await raw.set('r', '7:a', 'PX', MINUTE_MS)
  t.equal(await raw.eval(reseal ?? '', 1, 'r', '7:b', '7:c'), 0)
  t.equal(await raw.eval(reseal ?? '', 1, 'none', '7:a', '7:c'), 0)
  t.equal(await raw.exists('none'), 0, 'nothing is made')
  t.equal(await raw.eval(reseal ?? '', 1, 'r', '7:a', '7:c'), 1)
  t.equal(await raw.get('r'), '7:c')
  t.ok((await raw.pttl('r')) > 0)
  // A write whose answer was lost, and that comes again when it has been sealed anew in between.
  const again = () => raw.eval(write ?? '', 2, 'w', 'gone', '0', '7', 'a', '', '')
  t.strictSame(await again(), [1])
  t.equal(await raw.eval(reseal ?? '', 1, 'w', '7:a', '7:c'), 1)
  t.strictSame(await again(), [0, '7:c'], 'it is shown its own record, at its own revision')
})

t.test('what does not open is counted, named, and left as it is', async t => {
  const { server, clock, opened, walk } = await open(t)
  const raw = new Redis(server.url)
  t.teardown(() => raw.disconnect())
  await opened([oldKey]).grants.write(ada, 0, grantOf(ada, clock.now()))
  const others = opened([otherKey])
  const guids = Array.from({ length: 9 }, (_, index) => guidOf(index))
  for (const guid of guids) await others.grants.write(guid, 0, grantOf(guid, clock.now()))
  await others.provisionings.write('bob', 0, { status: 'done', guid: ada })
  const bad = {
    [keys.grant('cut')]: '5:{',
    [keys.grant('bare')]: 'nonsense',
    [keys.state('made-up')]: '5:{"status":"x"}',
  }
  await raw.mset(bad)
  await raw.copy(keys.grant(ada), keys.grant('copied'))
  const copied = await raw.getBuffer(keys.grant('copied'))
  const others9 = await raw.mgetBuffer(guids.map(keys.grant))
  await raw.set('htgw:other', 'x')
  await raw.set('htgw:{s001}:rate:somebody', '7')
  await raw.set('someone:else', 'y')

  const { tally } = await walk()
  t.match(tally, { resealed: 1, already: 0, overtaken: 0, unreadableCount: 14, looked: 15 })
  const found = new Map(tally.unreadable.map(each => [`${each.reason} ${each.keyId}`, each]))
  const ofOther = found.get('unknown_key other')
  t.equal(ofOther?.count, 10)
  t.equal(ofOther?.names.length, 5)
  for (const name of ofOther?.names ?? []) t.match(name, /^grant [0-9a-f]{32}$|^a username record$/)
  t.match(found.get('altered old'), { count: 1, names: ['grant copied'] })
  t.match([...(found.get('altered null')?.names ?? [])].sort(), ['a state record', 'grant bare', 'grant cut'])
  t.equal(tally.neededBy('other'), 10)
  t.equal(tally.neededBy('old'), 2)
  for (const [name, text] of Object.entries(bad)) t.equal(await raw.get(name), text)
  t.strictSame(await raw.getBuffer(keys.grant('copied')), copied)
  t.strictSame(await raw.mgetBuffer(guids.map(keys.grant)), others9)
  t.strictSame(await raw.mget('htgw:other', 'htgw:{s001}:rate:somebody', 'someone:else'), ['x', '7', 'y'])
  t.match(await walk(), { tally: { resealed: 0, already: 1, isSettled: true } })
})

t.test('a walk whose connection was lost may have missed something, and says so', async t => {
  const { server, client, clock, opened, walk } = await open(t)
  const raw = new Redis(server.url)
  t.teardown(() => raw.disconnect())
  const stores = opened([oldKey])
  // Not all at once: a machine that is busy would not get through them before the first one's deadline.
  for (let start = 0; start < 2_000; start += 100) {
    const guids = Array.from({ length: 100 }, (_, index) => guidOf(start + index))
    await Promise.all(guids.map(guid => stores.grants.write(guid, 0, grantOf(guid, clock.now()))))
  }
  const id = await (client as Redis).client('ID')
  let isCut = false
  const cut = () => {
    if (!isCut) void raw.client('KILL', 'ID', id)
    isCut = true
  }
  const ended = await walk([key, oldKey], cut).catch((error: Error) => error)
  const isTold = ended instanceof Error ? ended.name === 'StoreUnavailable' : !ended.isWhole
  t.ok(isTold, 'either a command failed, or the walk is not whole')
  t.match(await walk(), { isWhole: true }, 'the next one is')
})

t.test('a server that does not answer', async t => {
  const { server, walk } = await open(t)
  await server.stop()
  await t.rejects(walk(), { name: 'StoreUnavailable' })
})
