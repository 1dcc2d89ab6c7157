/** Servers that are away, or there and not able: calls end in time, and nothing is carried out once it was reported failed. */
import t, { type Test } from 'tap'
import { type Stores, StoreUnavailable } from '../../src/ports/store.ts'
import { ManualClock } from '../support/clock.ts'
import { pending } from '../support/pending.ts'
import { answers, ask, type RedisOptions, type RedisServer, startRedis } from '../support/redis.ts'
import { startSentinels } from '../support/redis-deployments.ts'
import { startProxy } from '../support/tcp-proxy.ts'
import { failsFor, inTheEnd, shortly, write } from './patience.ts'
import { grantOf, guidOf } from './records.ts'
import { openRedisStores } from './redis-stores.ts'

const ada = guidOf('ada')

async function open(t: Test, options: RedisOptions = {}) {
  const server = await startRedis(options)
  const clock = new ManualClock()
  const stores = openRedisStores(server, clock)
  t.teardown(async () => {
    await stores.close()
    await server.stop()
  })
  return { server, clock, stores }
}

/** Writes again and again, for longer than a call may take; all of it has to fail. */
async function writesInVain(t: Test, stores: Stores, clock: ManualClock): Promise<void> {
  const errors: Promise<unknown>[] = []
  const beganAt = performance.now()
  while (performance.now() - beganAt < 3_000) {
    const guid = guidOf(`vain ${errors.length}`)
    errors.push(stores.grants.write(guid, 0, grantOf(guid, clock.now())).catch((error: unknown) => error))
    await shortly()
  }
  const ends = await Promise.all(errors)
  t.ok(
    ends.every(end => end instanceof StoreUnavailable),
    `${ends.length} writes fail`,
  )
}

async function firstKeys(server: RedisServer): Promise<string> {
  return (await ask(server.port, 'DBSIZE')).split('\r\n')[0] ?? ''
}

for (const cluster of [false, true]) {
  t.test(`${cluster ? 'a cluster' : 'a server'} that was away does not get what was reported failed`, async t => {
    const { server, clock, stores } = await open(t, { cluster })
    await stores.ping()
    await server.kill('SIGKILL')
    await writesInVain(t, stores, clock)
    const again = await startRedis({ cluster, port: server.port })
    t.teardown(again.stop)
    await inTheEnd(t, () => stores.ping())
    t.equal(await firstKeys(again), ':0')
  })
}

t.test('nor does a master whose sentinels were away', async t => {
  const deployment = await startSentinels()
  const clock = new ManualClock()
  const stores = openRedisStores(deployment, clock)
  t.teardown(async () => {
    await stores.close()
    await deployment.stop()
  })
  await stores.ping()
  const [master] = deployment.servers as [RedisServer]
  for (const sentinel of deployment.sentinels) await sentinel.kill('SIGSTOP')
  // One is on its way when the connection breaks.
  await ask(master.port, 'CLIENT PAUSE 1000 WRITE')
  const asked = t.rejects(stores.grants.write(ada, 0, grantOf(ada, clock.now())), StoreUnavailable, 'it fails')
  await answers(master.port, 'CLIENT LIST', /name=htgw:gateway [^\n]*flags=b/)
  await ask(master.port, 'CLIENT KILL TYPE normal')
  await writesInVain(t, stores, clock)
  await asked
  for (const sentinel of deployment.sentinels) await sentinel.kill('SIGCONT')
  await inTheEnd(t, () => stores.ping())
  t.equal(await firstKeys(master), ':0')
})

t.test('a fail-over announced while a client is still asking who the master is', async t => {
  const deployment = await startSentinels()
  const clock = new ManualClock()
  const stores = openRedisStores(deployment, clock)
  t.teardown(async () => {
    await stores.close()
    await deployment.stop()
  })
  await write(t, stores, clock, ada, 1)
  const [master] = deployment.servers as [RedisServer]
  const [silent, other] = deployment.sentinels as [RedisServer, RedisServer]
  await silent.kill('SIGSTOP')
  await ask(other.port, 'SENTINEL FAILOVER healthtap')
  await ask(master.port, 'CLIENT KILL TYPE normal')
  await answers(master.port, 'ROLE', /slave/)
  await write(t, stores, clock, ada, 2)
})

t.test('a master that falls silent, its connections open, is left for the one that takes its place', async t => {
  const deployment = await startSentinels()
  const clock = new ManualClock()
  const stores = openRedisStores(deployment, clock)
  t.teardown(async () => {
    await stores.close()
    await deployment.stop()
  })
  await write(t, stores, clock, ada, 1)
  const [old] = deployment.servers as [RedisServer]
  await old.kill('SIGSTOP')
  await write(t, stores, clock, ada, 2)
  await old.kill('SIGCONT')
  await answers(old.port, 'INFO replication', /role:slave\r\n.*\r\n.*\r\nmaster_link_status:up/)
  t.equal((await inTheEnd(t, () => stores.grants.read(ada)))?.record.version, 2, 'and what is written there stays')
})

t.test('a store that is closed while it subscribes again leaves nothing behind', async t => {
  const server = await startRedis()
  t.teardown(server.stop)
  const subscribed = pending<void>()
  let subscriptions = 0
  const port = await startProxy(t, server.port, {
    passes(chunk) {
      if (!/subscribe/i.test(chunk.toString('latin1'))) return true
      subscriptions += 1
      if (subscriptions === 2) subscribed.resolve()
      return subscriptions < 2
    },
  })
  const stores = openRedisStores({ url: `redis://127.0.0.1:${port}` }, new ManualClock())
  await answers(server.port, 'PUBSUB NUMSUB htgw:settled', /\r\n:1\r\n/)
  await ask(server.port, 'CLIENT KILL TYPE pubsub')
  await subscribed.promise
  // What it was waiting for fails with it: an error that nobody hears would end the process.
  await stores.close()
  await new Promise(resolve => setImmediate(resolve))
})

t.test('a write to a replica (READONLY) is not kept for when it is a master again', async t => {
  const { server, clock, stores } = await open(t)
  const master = await startRedis()
  t.teardown(master.stop)
  await stores.ping()
  await ask(server.port, `REPLICAOF 127.0.0.1 ${master.port}`)
  await failsFor(/READONLY/, () => stores.grants.write(ada, 0, grantOf(ada, clock.now())))
  await ask(server.port, 'REPLICAOF NO ONE')
  await inTheEnd(t, () => stores.ping())
  t.equal(await firstKeys(server), ':0')
})

t.test('a server that is still loading (LOADING)', async t => {
  const slowly = ['--enable-debug-command', 'yes', '--loading-process-events-interval-bytes', '1024']
  const { server, clock, stores } = await open(t, { args: slowly })
  for (let index = 0; index < 100; index += 1) await write(t, stores, clock, guidOf(index), 1)
  await ask(server.port, 'CONFIG SET key-load-delay 20000')
  const loaded = ask(server.port, 'DEBUG RELOAD')
  await failsFor(/LOADING/, () => stores.grants.read(guidOf(0)))
  const late = openRedisStores(server, clock)
  t.teardown(() => late.close())
  await failsFor(/NO_CONNECTION/, () => late.ping())
  await loaded
  t.equal((await inTheEnd(t, () => stores.grants.read(guidOf(99))))?.record.version, 1)
  await inTheEnd(t, () => late.ping())
})

t.test('a cluster where a slot has no master (CLUSTERDOWN), from the start on and later', async t => {
  const { server, clock, stores } = await open(t, { cluster: true })
  await write(t, stores, clock, ada, 1)
  await ask(server.port, 'CLUSTER DELSLOTSRANGE 0 16000')
  await failsFor(/Redis did not say/, () => stores.grants.read(ada))
  const late = openRedisStores(server, clock)
  t.teardown(() => late.close())
  for (let index = 0; index < 5; index += 1) await failsFor(/NO_CONNECTION/, () => late.grants.read(guidOf(index)))
  await ask(server.port, 'CLUSTER ADDSLOTSRANGE 0 16000')
  for (const each of [stores, late]) {
    t.type(await inTheEnd(t, async () => (await each.grants.list({ limit: 5 }))?.grants), Array)
    await write(t, each, clock, ada, 2)
  }
})
