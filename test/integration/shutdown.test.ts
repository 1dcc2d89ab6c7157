import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'

t.test(
  'a request that never ends keeps nobody from stopping; and meanwhile nothing is renewed ahead of time',
  async t => {
    const redis = await startRedis()
    t.teardown(() => redis.stop())
    const { sandbox, apiKey, gateway } = await startStack(t, redis.url, { tokenLifetimeSeconds: 4 })
    const client = await gateway()
    const { guid } = (await client.send('POST', '/v1/users', { username: '4711' })).body
    t.equal((await client.get(`/v1/grants/${guid}/token`)).status, 200)

    const { hostname, port } = new URL(client.url)
    const slow = connect(Number(port), hostname)
    t.teardown(() => slow.destroy())
    await once(slow, 'connect')
    const head = ['POST /v1/users HTTP/1.1', 'Host: a', `Authorization: Bearer ${apiKey}`]
    slow.write([...head, 'Content-Type: application/json', 'Content-Length: 20', '', '{'].join('\r\n'))
    await client.get('/health/live')
    const ended = once(slow, 'close')
    const { totals: before } = await sandbox.counts()
    await client.close()
    await ended
    t.strictSame((await sandbox.counts()).totals, before)
    const next = await gateway()
    t.match(await next.get(`/v1/grants/${guid}/token`), { status: 200 }, 'it is renewed when it is asked for next')
  },
)
