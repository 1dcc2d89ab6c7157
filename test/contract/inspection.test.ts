/** What the gateway says about a Redis that may lose grants: at its start, and in `doctor`. */
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { connectRedis } from '../../src/store/redis/connection.ts'
import { createRedisStores } from '../../src/store/redis/index.ts'
import { type Finding, inspectRedis } from '../../src/store/redis/inspection.ts'
import { createSealer } from '../../src/store/sealing.ts'
import { ManualClock } from '../support/clock.ts'
import { startRedis } from '../support/redis.ts'
import { KEY } from './redis-stores.ts'

async function serve(t: Test, args: readonly string[] = []): Promise<string> {
  const server = await startRedis({ args })
  t.teardown(server.stop)
  return server.url
}

async function wrongWith(url: string): Promise<string[]> {
  const client = connectRedis({ kind: 'single', url })
  try {
    return (await inspectRedis(client)).flatMap(({ about, ok }) => (ok ? [] : [about]))
  } finally {
    client.disconnect()
  }
}

t.test('what is wrong is found, and nothing else', async t => {
  const appendOnly = ['--appendonly', 'yes']
  t.strictSame(await wrongWith(await serve(t, appendOnly)), [])
  t.strictSame(await wrongWith(await serve(t, ['--save', '60 1'])), [])
  t.strictSame(await wrongWith(await serve(t)), ['persistence'])
  const evicting = [...appendOnly, '--maxmemory-policy', 'allkeys-lru']
  t.strictSame(await wrongWith(await serve(t, evicting)), ['eviction'])
})

t.test('a server whose settings may not be asked for is judged by what it tells everybody', async t => {
  const url = await serve(t, ['--save', '60 1'])
  const admin = new Redis(url)
  await admin.call('ACL', 'SETUSER', 'app', 'on', '>password', '~*', '&*', '+@all', '-config')
  admin.disconnect()
  t.strictSame(await wrongWith(url.replace('redis://', 'redis://app:password@')), ['persistence'])
})

t.test('a start tells once what is wrong, and waits for nobody', async t => {
  const url = await serve(t)
  const findings: Finding[] = []
  const clock = new ManualClock()
  const isTold = new Promise<void>(resolve => {
    const stores = createRedisStores({
      address: { kind: 'single', url },
      prefix: 'htgw',
      sealer: createSealer([KEY]),
      clock,
      onConnectionError() {},
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
