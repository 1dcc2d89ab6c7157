/** What holds for Redis alone: what can be read in it, what happens to a damaged record, and to a server that is gone. */
import { readFile } from 'node:fs/promises'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { RecordUnreadable, type Stores, StoreUnavailable } from '../../src/ports/store.ts'
import { createKeys } from '../../src/store/redis/keys.ts'
import { ManualClock } from '../support/clock.ts'
import { newKey } from '../support/keys.ts'
import { type RedisServer, startRedis } from '../support/redis.ts'
import { authorizationOf, exchangeOf, grantOf, guidOf, provisioningOf, SECRETS, told } from './records.ts'
import { KEY, openRedisStores, type StoreOptions } from './redis-stores.ts'

const MINUTE_MS = 60_000
const keys = createKeys('htgw')
const ada = guidOf('ada')
const bob = guidOf('bob')

async function open(t: Test, options: StoreOptions = {}) {
  const server = await startRedis()
  const clock = new ManualClock()
  const stores = openRedisStores(server, clock, options)
  const raw = new Redis(server.url)
  t.teardown(async () => {
    raw.disconnect()
    await stores.close()
    await server.stop()
  })
  return { server, clock, stores, raw }
}

/** Everything that a thief of the server's memory would find. */
async function dump(raw: Redis): Promise<string> {
  const names = await raw.keys('*')
  const texts = names.map(async name => {
    const type = await raw.type(name)
    if (type === 'zset') return `${name} ${await raw.zrange(name, '0', '-1', 'WITHSCORES')}`
    const bytes = (await raw.getBuffer(name)) ?? Buffer.alloc(0)
    return [name, ...(['utf8', 'latin1', 'hex'] as const).map(encoding => bytes.toString(encoding))].join('\n')
  })
  return (await Promise.all(texts)).join('\n')
}

function encodings(secret: string): string[] {
  const bytes = [Buffer.from(secret), ...(/^[0-9a-f]{64}$/.test(secret) ? [Buffer.from(secret, 'hex')] : [])]
  return [secret, ...bytes.flatMap(each => [each.toString('hex'), each.toString('base64url'), each.toString('base64')])]
}

t.test('no secret can be read in the server', async t => {
  const { clock, stores, raw } = await open(t)
  const now = clock.now()
  const user = 'ada@example.com'
  await stores.grants.write(ada, 0, grantOf(ada, now))
  await stores.authorizations.write('st-1', 0, authorizationOf('st-1', now + MINUTE_MS))
  await stores.exchanges.write('code-1', 0, exchangeOf(now + MINUTE_MS))
  await stores.provisionings.write(user, 0, provisioningOf(now))
  await stores.provisionings.write('bob', 0, { status: 'answered', grant: grantOf(bob, now) })
  const found = (await dump(raw)).toLowerCase()
  t.match(found, ada, 'the records are there')
  t.equal((await raw.keys('*')).filter(name => !name.endsWith(':due')).length, 5)
  for (const [name, secret] of Object.entries(SECRETS)) {
    for (const text of encodings(secret)) t.notOk(found.includes(text.toLowerCase()), `${name} is not to be found`)
  }
  t.notMatch((await raw.keys('*')).join('\n'), user, 'nor is a username in the name of a key')
})

t.test('what may be forgotten has a time to live, and what may not has none', async t => {
  const { clock, stores, raw } = await open(t)
  const now = clock.now()
  await stores.grants.write(ada, 0, grantOf(ada, now))
  await stores.provisionings.write('ada', 0, provisioningOf(now))
  await stores.authorizations.write('st-1', 0, authorizationOf('st-1', now + MINUTE_MS))
  await stores.exchanges.write('code-1', 0, exchangeOf(now + MINUTE_MS))
  for (const key of [keys.grant(ada), keys.due(keys.shardOf(ada)), keys.username('ada')]) {
    t.equal(await raw.pttl(key), -1, key)
  }
  const state = await raw.pttl(keys.state('st-1'))
  t.ok(state > 10 * MINUTE_MS && state <= 11 * MINUTE_MS, `the state: ${state} ms`)
  const code = await raw.pttl(keys.code('code-1'))
  t.ok(code > 0 && code <= MINUTE_MS, `the code: ${code} ms`)
})

t.test('a record and its place in the schedule lie on one slot', async t => {
  for (const guid of [ada, bob]) {
    const [tag] = /\{s\d{3}\}/.exec(keys.grant(guid)) ?? []
    t.equal(tag, keys.shardOf(guid))
    t.ok(keys.due(keys.shardOf(guid)).includes(String(tag)))
  }
  t.equal(new Set(keys.shards).size, 64)
})

t.test('a record that was copied to another place does not open there', async t => {
  const { clock, stores, raw } = await open(t)
  await stores.grants.write(ada, 0, grantOf(ada, clock.now()))
  await raw.copy(keys.grant(ada), keys.grant(bob))
  await t.rejects(stores.grants.read(bob), RecordUnreadable, 'under another guid')
})

t.test('a damaged record says so, is left as it is, and keeps no other from being served', async t => {
  const met: RecordUnreadable[] = []
  const { clock, stores, raw } = await open(t, { onUnreadable: error => met.push(error) })
  const now = clock.now()
  await stores.grants.write(bob, 0, grantOf(bob, now, { dueAtMs: now }))
  await stores.grants.write(ada, 0, grantOf(ada, now, { dueAtMs: now }))
  const good = (await raw.getBuffer(keys.grant(ada))) ?? Buffer.alloc(0)
  const front = good.indexOf(':') + 1
  const altered = (index: number, byte: number) =>
    Buffer.concat([good.subarray(0, index), Buffer.of(byte), good.subarray(index + 1)])
  const keyId = front + 25
  const damaged: readonly Buffer[] = [
    altered(good.length - 9, (good.at(-9) ?? 0) ^ 1),
    altered(keyId + 1, '2'.charCodeAt(0)),
    altered(keyId - 1, 0),
    altered(keyId - 1, 255),
    altered(front, 3),
    good.subarray(0, keyId + 2),
    good.subarray(0, -5),
    good.subarray(front),
    Buffer.concat([Buffer.from('0'), good.subarray(front - 1)]),
    Buffer.from('nonsense'),
    Buffer.alloc(0),
  ]
  for (const [index, bytes] of damaged.entries()) {
    t.notOk(bytes.equals(good))
    await raw.set(keys.grant(ada), bytes)
    await t.rejects(stores.grants.read(ada), RecordUnreadable, `damaged: ${index}`)
    t.ok(bytes.equals((await raw.getBuffer(keys.grant(ada))) ?? good))
    const told = bytes === damaged[1] ? { reason: 'unknown_key', keyId: 'k2' } : { reason: 'altered' }
    t.match(met.splice(0), [{ guid: ada, ...told }], 'it is told once')
  }
  await raw.set(keys.grant(ada), damaged[0] ?? good)
  await t.rejects(stores.grants.write(ada, 1, grantOf(ada, now)), RecordUnreadable, 'a writer who loses is told too')
  t.match(await Promise.allSettled(stores.grants.readMany([ada, bob])), [
    { reason: { name: 'RecordUnreadable', guid: ada } },
    { value: { record: { guid: bob } } },
  ])
  const page = await stores.grants.list({ limit: 10 })
  t.strictSame(
    page?.grants.map(grant => grant.guid),
    [bob],
  )
  const claimed = await stores.grants.claimDue({ nowMs: now, untilMs: now + 500, limit: 10 })
  t.strictSame(
    claimed.map(stored => stored.record.guid),
    [bob],
  )
  t.match(met, Array(4).fill({ guid: ada, reason: 'altered' }), 'by the writer, who reads many, the listing, the claim')
  t.strictSame(await raw.getBuffer(keys.grant(ada)), damaged[0])
})

t.test('something else that stands in the place of a record keeps no other from being renewed', async t => {
  const { clock, stores, raw } = await open(t)
  const now = clock.now()
  const { shardOf } = keys
  const neighbour = Array.from({ length: 1_000 }, (_, index) => guidOf(`n${index}`)).find(
    guid => shardOf(guid) === shardOf(ada),
  )
  for (const guid of [ada, neighbour ?? '']) await stores.grants.write(guid, 0, grantOf(guid, now, { dueAtMs: now }))
  await raw.del(keys.grant(ada))
  await raw.lpush(keys.grant(ada), 'something')
  for (const untilMs of [now + 500, now + 1_000]) {
    const claimed = await stores.grants.claimDue({ nowMs: untilMs - 500, untilMs, limit: 10 })
    t.strictSame(
      claimed.map(({ record }) => record.guid),
      [neighbour],
    )
  }
})

t.test('the soonest are taken, also where most of them lie in one shard', async t => {
  const { clock, stores } = await open(t)
  const now = clock.now()
  const names = Array.from({ length: 6_000 }, (_, index) => guidOf(index))
  const crowded = names.filter(guid => keys.shardOf(guid) === keys.shardOf(ada)).slice(0, 60)
  const others = names.filter(guid => keys.shardOf(guid) !== keys.shardOf(ada)).slice(0, 60)
  t.strictSame([crowded.length, others.length], [60, 60])
  // 50 of the shard, then one of the others by turns with one of the shard.
  const byTurns = others.flatMap((guid, index) => [guid, ...crowded.slice(50 + index, 51 + index)])
  const guids = [...crowded.slice(0, 50), ...byTurns]
  await Promise.all(
    guids.map((guid, index) => stores.grants.write(guid, 0, grantOf(guid, now, { dueAtMs: now - 1_000 + index }))),
  )
  let taken = 0
  for (const limit of [1, 20, 40, 59]) {
    const claimed = await stores.grants.claimDue({ nowMs: now, untilMs: now + 500, limit })
    t.strictSame(claimed.map(({ record }) => record.guid).sort(), guids.slice(taken, taken + limit).sort(), `${limit}`)
    taken += limit
  }
  t.equal(taken, guids.length)
})

t.test('a revision that was left by a removed record, and is none, is told too', async t => {
  const { clock, stores, raw } = await open(t)
  const written = await stores.grants.write(ada, 0, grantOf(ada, clock.now()))
  await stores.grants.write(ada, written.ok ? written.revision : 0, null)
  await raw.set(keys.gone(keys.grant(ada)), 'nonsense')
  await t.rejects(stores.grants.standing(ada), RecordUnreadable)
  await t.rejects(stores.grants.write(ada, 5, grantOf(ada, clock.now())), RecordUnreadable)
})

t.test('keys are changed by putting the new one in front', async t => {
  const { server, clock, stores } = await open(t)
  await stores.grants.write(ada, 0, grantOf(ada, clock.now()))
  const next = newKey('k2')
  const changed = openRedisStores(server, clock, { keys: [next, KEY] })
  const onlyNew = openRedisStores(server, clock, { keys: [next] })
  t.teardown(() => Promise.all([changed.close(), onlyNew.close()]))
  await t.rejects(onlyNew.grants.read(ada), RecordUnreadable, 'the old key is still needed')
  const read = await changed.grants.read(ada)
  t.strictSame(told(read?.record), told(grantOf(ada, clock.now())))
  await changed.grants.write(ada, read?.revision ?? 0, grantOf(ada, clock.now(), { version: 2 }))
  t.equal((await onlyNew.grants.read(ada))?.record.version, 2, 'each write seals with the new one')
  await t.rejects(stores.grants.read(ada), RecordUnreadable)
})

t.test('a schedule entry without a record goes away by itself', async t => {
  const { clock, stores, raw } = await open(t)
  await stores.grants.write(ada, 0, grantOf(ada, clock.now(), { dueAtMs: clock.now() }))
  await raw.del(keys.grant(ada))
  const claim = { nowMs: clock.now(), untilMs: clock.now() + 500, limit: 10 }
  t.strictSame(await stores.grants.claimDue(claim), [])
  t.equal(await raw.zcard(keys.due(keys.shardOf(ada))), 0)
})

t.test('a shard that does not answer keeps the others from nobody', async t => {
  const { server, clock, stores, raw } = await open(t)
  for (const guid of [ada, bob]) {
    await stores.grants.write(guid, 0, grantOf(guid, clock.now(), { dueAtMs: clock.now() }))
  }
  const well = keys.shards.filter(shard => shard !== keys.shardOf(bob))
  await raw.call('ACL', 'SETUSER', 'gateway', 'on', '>pw', '+@all', '&*', ...well.map(shard => `~htgw:${shard}:*`))
  const url = server.url.replace('redis://', 'redis://gateway:pw@')
  const partial = openRedisStores({ ...server, url }, clock)
  t.teardown(() => partial.close())
  const claim = { nowMs: clock.now(), untilMs: clock.now() + 500, limit: 10 }
  t.strictSame(
    (await partial.grants.claimDue(claim)).map(({ record }) => record.guid),
    [ada],
  )
  t.match(await Promise.allSettled(partial.grants.readMany([ada, bob])), [
    { value: { record: { guid: ada } } },
    { reason: { name: 'StoreUnavailable' } },
  ])
  await raw.call('ACL', 'SETUSER', 'gateway', 'resetkeys')
  await t.rejects(partial.grants.claimDue(claim), StoreUnavailable)
})

/** The same text again is a write whose answer was lost: the script sees it by the text. */
t.test('many grants cost one command for each shard that they lie in', async t => {
  const { clock, stores, raw } = await open(t)
  const guids = Array.from({ length: 500 }, (_, index) => guidOf(index))
  for (const guid of guids.slice(0, 50)) await stores.grants.write(guid, 0, grantOf(guid, clock.now()))
  for (const count of [500, 20, 1]) {
    const asked = guids.slice(0, count)
    await raw.config('RESETSTAT')
    const found = await Promise.all(stores.grants.readMany(asked))
    t.equal(found.filter(stored => stored !== null).length, Math.min(50, count))
    const told = [...(await raw.info('commandstats')).matchAll(/^cmdstat_(\w+):calls=(\d+)/gm)]
    const calls = Object.fromEntries(told.map(([, name = '', times]) => [name, Number(times)]))
    const shards = new Set(asked.map(keys.shardOf)).size
    t.match(calls, { mget: shards }, `${count} guids in ${shards} shards`)
    t.strictSame([calls.get, calls.evalsha], [undefined, undefined])
  }
})

t.test('a script that is sent again succeeds again', async t => {
  const { raw } = await open(t)
  const lua = await readFile(new URL('../../src/store/redis/lua/write_record.lua', import.meta.url), 'utf8')
  const write = (ifRevision: string, revision: string, json: string) =>
    raw.eval(lua, 3, 'r', 'gone', 'due', ifRevision, revision, json, json === '' ? '1000' : '', '', 'ada', '5')
  t.strictSame(await write('0', '7', '{}'), [1])
  t.strictSame(await write('0', '7', '{}'), [1])
  t.strictSame(await write('0', '7', '{"other":1}'), [0, '7:{}'])
  t.strictSame(await write('7', '8', '{}'), [1])
  t.strictSame(await write('7', '8', '{}'), [1])
  t.strictSame(await write('8', '9', ''), [1])
  t.strictSame(await write('8', '9', ''), [1], 'so does a removal')
  t.strictSame(await write('0', '7', '{}'), [0, '9:'], 'but not what was sent before it')
  t.equal(await raw.zcard('due'), 0)
})

async function everythingFails(t: Test, stores: Stores, clock: ManualClock): Promise<void> {
  const claim = { nowMs: clock.now(), untilMs: clock.now() + 500, limit: 5 }
  const asked = {
    ping: stores.ping(),
    read: stores.grants.read(ada),
    write: stores.grants.write(bob, 0, grantOf(bob, clock.now())),
    claimDue: stores.grants.claimDue(claim),
    list: stores.grants.list({ limit: 5 }),
    'read of another kind': stores.authorizations.read('st-1'),
    'write of another kind': stores.exchanges.write('code-1', 0, exchangeOf(clock.now() + MINUTE_MS)),
  }
  const ends = await Promise.allSettled(Object.values(asked))
  for (const [index, name] of Object.keys(asked).entries()) {
    const end = ends[index]
    t.ok(end?.status === 'rejected' && end.reason instanceof StoreUnavailable, `${name} throws StoreUnavailable`)
  }
}

/** Asks until it answers; the store reconnects by itself, so that each try takes a moment of its own. */
async function answersAgain(stores: Stores, tries = 200): Promise<void> {
  for (let left = tries; left > 0; left -= 1) {
    const error = await stores.ping().then(
      () => null,
      (error: unknown) => error,
    )
    if (error === null) return
    if (!(error instanceof StoreUnavailable)) throw error
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  throw new Error('the store does not answer again')
}

for (const cluster of [false, true]) {
  t.test(`${cluster ? 'a cluster' : 'a server'} that dies and comes back`, async t => {
    const servers: RedisServer[] = [await startRedis({ cluster })]
    const clock = new ManualClock()
    const [server] = servers as [RedisServer]
    const stores = openRedisStores(server, clock)
    t.teardown(async () => {
      await stores.close()
      for (const each of servers) await each.stop()
    })
    await stores.grants.write(ada, 0, grantOf(ada, clock.now()))
    await server.kill('SIGKILL')
    await everythingFails(t, stores, clock)
    servers.push(await startRedis({ cluster, port: server.port }))
    await answersAgain(stores)
    t.equal(await stores.grants.read(ada), null, 'this server keeps nothing on disk')
    t.equal((await stores.grants.write(ada, 0, grantOf(ada, clock.now()))).ok, true)
    t.strictSame(told((await stores.grants.read(ada))?.record), told(grantOf(ada, clock.now())))
  })
}

t.test('a server that is there and refuses is not there either', async t => {
  const { clock, stores, raw } = await open(t)
  await stores.grants.write(ada, 0, grantOf(ada, clock.now()))
  await raw.config('SET', 'maxmemory', '1')
  const refused = stores.grants.write(bob, 0, grantOf(bob, clock.now()))
  await t.rejects(refused, { name: 'StoreUnavailable', message: /OOM/ })
  t.equal((await stores.grants.read(ada))?.record.guid, ada, 'reading goes on')
  await raw.config('SET', 'maxmemory', '0')
  t.equal((await stores.grants.write(bob, 0, grantOf(bob, clock.now()))).ok, true)
})

t.test('an error of the store quotes no key and no value', async t => {
  const { clock, stores, raw } = await open(t)
  await raw.lpush(keys.grant(ada), 'x')
  const error = await stores.grants.write(ada, 0, grantOf(ada, clock.now())).then(
    () => null,
    (error: Error) => error,
  )
  t.ok(error instanceof StoreUnavailable)
  t.notMatch(String(error?.stack), ada)
  t.notMatch(String(error?.stack), 'sealed')
})

t.test('without redis-server the tests say how to get one', async t => {
  const { PATH } = process.env
  process.env.PATH = '/nowhere'
  t.teardown(() => {
    process.env.PATH = PATH
  })
  await t.rejects(startRedis(), { message: /redis-server was not found.*apt-get install redis-server/ })
})
