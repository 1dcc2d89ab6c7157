/** The same store on Redis as it is run in earnest, and what its clients see of a fail-over. */
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { ManualClock } from '../support/clock.ts'
import { ask, freePort, startRedis } from '../support/redis.ts'
import { type Deployment, startCluster, startSentinels } from '../support/redis-deployments.ts'
import { inTheEnd, LONGEST_CALL_MS, write } from './patience.ts'
import { grantOf, guidOf } from './records.ts'
import { openRedisStores } from './redis-stores.ts'

const GUIDS = Array.from({ length: 30 }, (_, index) => guidOf(index))

async function outlivesFailOver(t: Test, start: () => Promise<Deployment>): Promise<void> {
  const deployment = await start()
  const clock = new ManualClock()
  const [stores, other] = [openRedisStores(deployment, clock), openRedisStores(deployment, clock)]
  t.teardown(async () => {
    await stores.close()
    await other.close()
    await deployment.stop()
  })
  await Promise.all(GUIDS.map(guid => write(t, stores, clock, guid, 1)))
  t.strictSame((await stores.grants.list({ limit: 100 }))?.grants.length, GUIDS.length)

  const heard = new AbortController()
  const settled = other.grants.settled(GUIDS[0] as string, heard.signal).then(() => !heard.signal.aborted)
  await other.ping()
  await write(t, stores, clock, GUIDS[0] as string, 2)
  t.equal(await settled, true, 'another client is told of the write')

  const early = await stores.grants.claimDue({ nowMs: Number.MAX_SAFE_INTEGER, untilMs: 0, limit: 100 })
  t.equal(early.length, GUIDS.length, 'the schedule is claimed, all shards at once')

  const failingOver = deployment.failOver()
  for (const guid of GUIDS) await write(t, stores, clock, guid, 3)
  await failingOver
  // What was written last before the old master died may have died with it.
  for (const guid of GUIDS) await write(t, stores, clock, guid, 4)
  for (const guid of GUIDS) {
    const version = await inTheEnd(t, async () => (await other.grants.read(guid))?.record.version)
    t.equal(version, 4)
  }
  const claimed = await inTheEnd(t, () =>
    stores.grants.claimDue({ nowMs: Number.MAX_SAFE_INTEGER, untilMs: Number.MAX_SAFE_INTEGER, limit: 100 }),
  )
  t.equal(claimed.length, GUIDS.length, 'and so has the schedule')
  let sketched = 0
  for await (const sketches of stores.inventory.walk()) sketched += sketches.length
  t.equal(sketched, GUIDS.length, 'all of them can be counted, wherever they lie')
  t.strictSame(await stores.inventory.backlog(clock.now()), { due: 0, oldestAtMs: null })

  const abort = new AbortController()
  const again = other.grants.settled(GUIDS[1] as string, abort.signal).then(() => !abort.signal.aborted)
  let version = 5
  let isHeard = false
  void again.then(() => {
    isHeard = true
  })
  while (!isHeard && version < 300) {
    await write(t, stores, clock, GUIDS[1] as string, version)
    version += 1
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  t.ok(isHeard, 'listeners hear again after the fail-over')
  abort.abort()
}

t.test('sentinels: a master dies', t => outlivesFailOver(t, startSentinels))

t.test('a cluster: a master dies', t => outlivesFailOver(t, startCluster))

t.test('a server that is a replica now (READONLY), and a master again', async t => {
  const [server, master] = [await startRedis(), await startRedis()]
  const clock = new ManualClock()
  const stores = openRedisStores(server, clock)
  t.teardown(async () => {
    await stores.close()
    await server.stop()
    await master.stop()
  })

  await write(t, stores, clock, GUIDS[0] as string, 1)
  await ask(server.port, `REPLICAOF 127.0.0.1 ${master.port}`)
  await t.rejects(stores.grants.write(guidOf('new'), 0, grantOf(guidOf('new'), clock.now())), {
    name: 'StoreUnavailable',
  })
  await ask(server.port, 'REPLICAOF NO ONE')
  await write(t, stores, clock, guidOf('new'), 1)
})

t.test('scripts that were flushed, and connections that were cut, are had again', async t => {
  const server = await startRedis()
  const clock = new ManualClock()
  const stores = openRedisStores(server, clock)
  t.teardown(async () => {
    await stores.close()
    await server.stop()
  })

  for (const [index, command] of ['SCRIPT FLUSH', 'CLIENT KILL TYPE normal', 'CLIENT KILL TYPE pubsub'].entries()) {
    await write(t, stores, clock, GUIDS[0] as string, 2 * index + 1)
    await ask(server.port, command)
    await write(t, stores, clock, GUIDS[0] as string, 2 * index + 2)
    t.equal((await stores.grants.read(GUIDS[0] as string))?.record.version, 2 * index + 2, `after ${command}`)
  }
})

t.test('a server that is stopped in its tracks does not hang those who ask', async t => {
  const server = await startRedis()
  const clock = new ManualClock()
  const stores = openRedisStores(server, clock)
  t.teardown(async () => {
    await stores.close()
    await server.stop()
  })
  await write(t, stores, clock, GUIDS[0] as string, 1)
  await server.kill('SIGSTOP')
  const beganAt = performance.now()
  await t.rejects(stores.grants.read(GUIDS[0] as string), { name: 'StoreUnavailable' })
  t.ok(performance.now() - beganAt < LONGEST_CALL_MS)
  await server.kill('SIGCONT')
  await write(t, stores, clock, GUIDS[0] as string, 2)
})

t.test('TLS: spoken with a server whose certificate is known, and with no other', async t => {
  const dir = await mkdtemp(join(tmpdir(), 'htgw-tls-'))
  const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', cert]
  await promisify(execFile)('openssl', [...request, ...subject])
  const tlsPort = await freePort()
  const files = ['--tls-cert-file', cert, '--tls-key-file', key, '--tls-ca-cert-file', cert, '--tls-auth-clients', 'no']
  const server = await startRedis({ args: ['--tls-port', String(tlsPort), ...files] })
  const url = `rediss://127.0.0.1:${tlsPort}`
  const stores = openRedisStores({ url }, new ManualClock())
  t.teardown(async () => {
    await stores.close()
    await server.stop()
    await rm(dir, { recursive: true, force: true })
  })
  await t.rejects(stores.ping(), { name: 'StoreUnavailable' }, 'an unknown certificate')

  const program = `
    import { ManualClock } from './test/support/clock.ts'
    import { openRedisStores } from './test/contract/redis-stores.ts'
    const stores = openRedisStores({ url: '${url}' }, new ManualClock())
    await stores.ping()
    await stores.close()
    console.log('spoken')`
  const args = ['--import', 'tsx', '--input-type=module', '--eval', program]
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const env = { PATH: process.env.PATH, NODE_EXTRA_CA_CERTS: cert }
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root, env })
  t.equal(stdout.trim(), 'spoken')
})
