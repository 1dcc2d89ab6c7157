import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { everythingFrom, open, parse } from '../support/raw.ts'
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

t.test(
  'a request that has come before the stop, or just then, is answered, and is the last on its connection',
  async t => {
    const redis = await startRedis()
    t.teardown(() => redis.stop())
    const { apiKey, gateway } = await startStack(t, redis.url)
    const client = await gateway()
    const { guid } = (await client.send('POST', '/v1/users', { username: '4711' })).body

    const reader = open(client.url)
    const answered = everythingFrom(reader)
    await once(reader, 'connect')
    reader.write(`GET /v1/grants/${guid}/token HTTP/1.1\r\nHost: a\r\n`)
    // Until that was read: what comes on another connection is read later.
    await client.get('/health/live')
    const closed = client.close()
    while (await isListening(client.url));
    reader.write(`Authorization: Bearer ${apiKey}\r\n\r\n`)
    const { status, headers, body } = parse(await answered)
    t.equal(status, 200)
    t.equal(headers.get('connection'), 'close')
    t.match(JSON.parse(body), { guid, version: 1 })
    await closed
  },
)

async function isListening(url: string): Promise<boolean> {
  const socket = open(url)
  const isOpen = await new Promise<boolean>(resolve => {
    socket.once('connect', () => resolve(true))
    socket.once('close', () => resolve(false))
  })
  socket.destroy()
  return isOpen
}
