/** Three replicas are replaced one after the other, under load: nobody is refused anything, and nothing is renewed twice. */
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { startDriven } from '../../sandbox/driver.ts'
import { newCaller } from '../../src/cli/keys.ts'
import { Balancer } from '../support/balancer.ts'
import { serveEnvironment } from '../support/environment.ts'
import { startRedis } from '../support/redis.ts'
import { startServe } from '../support/serve.ts'

const { apiKey, entry } = newCaller('everything', ['*'])

t.test('a rolling restart', async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const { driver: sandbox, close } = await startDriven({ tokenLifetimeSeconds: 8 })
  t.teardown(close)
  const environment = serveEnvironment(t, redis.url, entry, {
    PORT: '0',
    HEALTHTAP_APP_ID: sandbox.options.appId,
    HEALTHTAP_APP_SECRET: sandbox.options.appSecret,
    HEALTHTAP_API_URL: sandbox.options.url,
    HEALTHTAP_REDIRECT_URIS: sandbox.options.redirectUri,
    TOKEN_MIN_TTL_SECONDS: '1',
    SHUTDOWN_DELAY_SECONDS: '2',
  })
  const start = () => startServe(t, environment)
  const replicas = await Promise.all([start(), start(), start()])
  const balancer = new Balancer(apiKey, () => replicas.map(({ url }) => url))
  await balancer.look()
  t.equal(balancer.readyCount, 3)
  const send = async (method: string, path: string, body?: object) =>
    (await balancer.send(method, path, body)).body as { guid: string; version: number }
  const people = await Promise.all(
    Array.from({ length: 20 }, (_, index) => send('POST', '/v1/users', { username: `person ${index}` })),
  )

  let isOver = false
  async function asking(reader: number): Promise<void> {
    for (let round = reader; !isOver; round += 1, await pause(10)) {
      const { guid } = people[round % people.length] ?? { guid: '' }
      const { version } = await send('GET', `/v1/grants/${guid}/token`)
      if (round % 7 === 0) await send('POST', `/v1/grants/${guid}/refresh`, { version })
    }
  }
  const load = Promise.all([balancer.lookUntil(() => isOver), asking(0), asking(5), asking(10), asking(15)])

  for (const old of [...replicas]) {
    replicas.push(await start())
    old.process.kill('SIGTERM')
    t.strictSame(await once(old.process, 'exit'), [0, null])
    replicas.splice(replicas.indexOf(old), 1)
  }
  isOver = true
  await load
  t.strictSame(balancer.failures, [])
  t.ok(balancer.answered > 200, `${balancer.answered} answers`)

  const refreshesOf = async (guid: string) => (await sandbox.counts()).grants[guid]?.refreshes ?? 0
  for (const { guid } of people) {
    // They go on being renewed: one that is under way is at the provider first, and then here.
    let [refreshes, version] = [-1, -1]
    for (let tries = 0; tries < 100 && refreshes + 1 !== version; tries += 1) {
      version = (await send('GET', `/v1/grants/${guid}/token`)).version
      refreshes = await refreshesOf(guid)
    }
    t.equal(refreshes + 1, version, 'a rotation for each version, and no other')
  }
  const { grants } = await sandbox.counts()
  t.ok(Object.values(grants).reduce((sum, { refreshes }) => sum + refreshes, 0) > people.length)
})
