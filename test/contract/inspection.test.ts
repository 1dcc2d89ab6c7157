/** What the gateway says about a Redis that may lose grants: at its start, and in `doctor`. */
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { Secret } from '../../src/ports/secret.ts'
import { connectRedis, parseRedisAddress } from '../../src/store/redis/connection.ts'
import { createRedisStores } from '../../src/store/redis/index.ts'
import { type Finding, inspectRedis } from '../../src/store/redis/inspection.ts'
import { createSealer } from '../../src/store/sealing.ts'
import { ManualClock } from '../support/clock.ts'
import { ask, freePort, startRedis } from '../support/redis.ts'
import { startCluster } from '../support/redis-deployments.ts'
import { KEY } from './redis-stores.ts'

async function serve(t: Test, args: readonly string[] = []): Promise<string> {
  const server = await startRedis({ args })
  t.teardown(server.stop)
  return server.url
}

async function inspect(url: string): Promise<readonly Finding[]> {
  const client = connectRedis({ kind: 'single', url: new Secret(url) })
  client.on('error', () => {})
  try {
    return await inspectRedis(client)
  } finally {
    client.disconnect()
  }
}

async function wrongWith(url: string): Promise<string[]> {
  return (await inspect(url)).flatMap(({ about, ok }) => (ok ? [] : [about]))
}

t.test('what is wrong is found, and nothing else', async t => {
  const appendOnly = ['--appendonly', 'yes']
  t.strictSame(await wrongWith(await serve(t, appendOnly)), [])
  t.strictSame(await wrongWith(await serve(t, ['--save', '60 1'])), [])
  t.strictSame(await wrongWith(await serve(t)), ['persistence'])
  const evicting = [...appendOnly, '--maxmemory-policy', 'allkeys-lru']
  t.strictSame(await wrongWith(await serve(t, evicting)), ['eviction'])
})

t.test('a server that does not let itself be asked: that is said, and is no failure', async t => {
  const url = await serve(t, ['--save', '60 1'])
  const admin = new Redis(url)
  await admin.call('ACL', 'SETUSER', 'app', 'on', '>password', '~*', '&*', '+@all', '-config')
  await admin.call('ACL', 'SETUSER', 'less', 'on', '>password', '~*', '&*', '+@all', '-config', '-info')
  admin.disconnect()
  const [version, eviction, persistence] = await inspect(url.replace('redis://', 'redis://app:password@'))
  t.match([version, eviction], [{ ok: true }, { ok: true }])
  t.match(persistence, { about: 'persistence', ok: null, text: /refuses CONFIG/ })
  const less = await inspect(url.replace('redis://', 'redis://less:password@'))
  t.match(less, [{ ok: null }, { ok: null }, { ok: null }])
})

t.test('a server that is away', async t => {
  await t.rejects(inspect(`redis://127.0.0.1:${await freePort()}`))
})

t.test('of a cluster each master is asked', async t => {
  const cluster = await startCluster()
  t.teardown(cluster.stop)
  const address = parseRedisAddress(cluster.url)
  if (address === null) throw new Error('an address')
  await Promise.all(cluster.servers.map(({ port }) => ask(port, 'CONFIG SET appendonly yes')))
  await ask(cluster.servers[1]?.port ?? 0, 'CONFIG SET maxmemory-policy allkeys-lru')
  const client = connectRedis(address)
  t.teardown(() => client.disconnect())
  await client.exists('any')
  t.match(await inspectRedis(client), [
    { ok: true },
    { about: 'eviction', ok: false, text: /^allkeys-lru/ },
    { ok: true },
  ])
})

t.test('a start tells once what is wrong, and waits for nobody', async t => {
  const url = await serve(t)
  const findings: Finding[] = []
  const clock = new ManualClock()
  const isTold = new Promise<void>(resolve => {
    const stores = createRedisStores({
      address: { kind: 'single', url: new Secret(url) },
      prefix: 'htgw',
      sealer: createSealer([KEY]),
      clock,
      onConnectionError() {},
      onUnreadable() {},
      onFinding(finding) {
        findings.push(finding)
        resolve()
      },
    })
    t.teardown(() => stores.close())
  })
  await isTold
  t.match(findings, [{ about: 'persistence', text: /appendonly yes/ }])
})
