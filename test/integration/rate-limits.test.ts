/** Rate limits over several replicas, on a real Redis: there, away, and back. */
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { createRateLimits } from '../../src/limits/rate-limits.ts'
import type { SharedCounts } from '../../src/ports/counts.ts'
import { openRedisStores } from '../contract/redis-stores.ts'
import { ManualClock } from '../support/clock.ts'
import { freePort, type RedisServer, startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

/** A replica whose exchanges can be waited for. */
function replica(t: Test, server: Pick<RedisServer, 'url'>, clock: ManualClock, perCaller: number, perGuid = 0) {
  const stores = openRedisStores(server, clock)
  let exchanged: Promise<unknown> = Promise.resolve()
  const shared: SharedCounts = {
    exchange(changes) {
      const answer = stores.counts.exchange(changes)
      exchanged = answer
      return answer
    },
  }
  const limits = createRateLimits({ clock, shared, perCaller, perGuid })
  t.teardown(async () => {
    limits.close()
    await stores.close()
  })
  return {
    /** How many of so many requests get through. */
    through: (times: number, guid: string | null = null) =>
      Array.from({ length: times }, () => limits.refuse({ name: 'scheduler', rateLimit: null }, guid)).filter(
        refusal => refusal === null,
      ).length,
    async told() {
      await exchanged
      await new Promise(resolve => setImmediate(resolve))
    },
  }
}

for (const kind of ['single', 'cluster'] as const) {
  t.test(`replicas share a limit: ${kind}`, async t => {
    const server = kind === 'single' ? redis : await startRedis({ cluster: true })
    t.teardown(() => (kind === 'single' ? undefined : server.stop()))
    const raw = new Redis(server.port)
    t.teardown(() => raw.disconnect())
    await raw.flushall()
    const clock = new ManualClock()
    const replicas = [
      replica(t, server, clock, 10, 3),
      replica(t, server, clock, 10, 3),
      replica(t, server, clock, 10, 3),
    ]
    const [first, second, third] = replicas as [
      ReturnType<typeof replica>,
      ReturnType<typeof replica>,
      ReturnType<typeof replica>,
    ]
    const exchange = async () => {
      await clock.advance(150)
      for (const { told } of replicas) await told()
    }
    t.equal(first.through(60), 60)
    await exchange()
    t.equal(second.through(1), 1)
    await exchange()
    t.equal(second.through(100), 39, 'it has heard of the other')
    await exchange()
    t.equal(third.through(1), 1, 'not heard yet')
    await exchange()
    t.equal(third.through(100), 0)
    await clock.advance(8_000)
    t.equal(third.through(100), 0, 'the window before counts too')
    await clock.advance(20_000)
    t.equal(third.through(200), 100)
    await clock.advance(20_000)
    t.equal(first.through(5, 'ada'), 5)
    await exchange()
    t.equal(second.through(100, 'ada'), 30, 'nobody has told it yet')
    await exchange()
    t.equal(first.through(100, 'ada'), 25)
    await exchange()
    t.equal(first.through(100, 'ada'), 0)

    const keys = await raw.keys('*:count:*')
    t.ok(keys.length >= 4)
    for (const key of keys) {
      t.match(key, /^htgw:\{s\d{3}\}:count:(caller:scheduler|guid:ada):\d+$/)
      const ttl = await raw.pttl(key)
      t.ok(ttl > 0 && ttl <= 30_000, `${key} goes by itself`)
    }
  })
}

t.test('with Redis away each limits by itself, without an error or a wait; when it is back, together', async t => {
  const port = await freePort()
  const fragile = await startRedis({ port })
  const clock = new ManualClock()
  const [first, second] = [replica(t, fragile, clock, 10), replica(t, fragile, clock, 10)]
  const exchange = async () => {
    await clock.advance(1_000)
    for (const { told } of [first, second]) await told()
  }
  t.equal(first.through(10), 10)
  await exchange()
  await fragile.kill('SIGKILL')
  await clock.advance(30_000)
  t.equal(first.through(200), 100)
  await exchange()
  t.equal(second.through(200), 100)
  await exchange()
  const back = await startRedis({ port })
  t.teardown(() => back.stop())
  // Until the connections are there again, nobody hears of anybody.
  let through = 100
  while (through > 0) {
    await clock.advance(30_000)
    t.equal(first.through(200), 100)
    await exchange()
    second.through(1)
    await exchange()
    through = second.through(100)
    await exchange()
  }
  t.pass('they count together again')
})

t.test('what a caller is told', async t => {
  const { gateway, keyFor, logged } = await startStack(t, redis.url)
  const client = await gateway({ RATE_LIMIT_PER_CALLER: '3', RATE_LIMIT_PER_GUID: '1', METRICS_PORT: '0' })
  const read = () => client.get('/v1/grants/nobody/token', keyFor('token:read'))
  let answer = await read()
  let through = 0
  while (answer.status !== 429) {
    t.equal(answer.status, 404)
    through += 1
    answer = await read()
  }
  t.ok(through >= 10 && through < 30, `${through} got through`)
  t.match(answer, { body: { code: 'rate_limited', status: 429, detail: /guid/ } })
  const seconds = answer.headers.get('retry-after') ?? ''
  t.match(seconds, /^\d+$/)
  t.ok(Number(seconds) >= 1 && Number(seconds) <= 20)
  answer = await client.get('/v1/grants/somebody-else/token', keyFor('token:read'))
  for (let times = 0; times < 100 && answer.status !== 429; times += 1) {
    answer = await client.get(`/v1/grants/g${times}/token`, keyFor('token:read'))
  }
  t.match(answer, { status: 429, body: { code: 'rate_limited', detail: /The caller token-read/ } })
  t.match(await client.get('/v1/grants', keyFor('grant:read')), { status: 200 }, 'another caller is not concerned')
  t.match(
    await client.get('/v1/grants/nobody', keyFor('provision')),
    { status: 403 },
    'who may not is told that, not this',
  )
  t.match(await client.get('/health/ready'), { status: 200 })
  const { body: metrics } = await client.get('/metrics')
  t.match(metrics, /htgw_requests_refused_total\{reason="rate_limited",caller="token-read"\} \d+/)
  t.notMatch(metrics, /="[^"\n]*(nobody|somebody-else)/)
  t.match(logged.join(''), /"status":429/)
})
