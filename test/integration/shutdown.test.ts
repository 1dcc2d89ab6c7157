import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import { everythingFrom, open, parse, requestRaw } from '../support/raw.ts'
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
  'what comes on an open connection while it closes is answered, and the connection ends with the answer',
  async t => {
    const redis = await startRedis()
    t.teardown(() => redis.stop())
    const { sandbox, apiKey, gateway } = await startStack(t, redis.url)
    const client = await gateway()
    const { guid } = (await client.send('POST', '/v1/users', { username: '4711' })).body
    const socket = open(client.url)
    t.teardown(() => socket.destroy())
    const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${apiKey}\r\n\r\n`
    await sandbox.addFault({ operation: 'refresh', kind: 'latency', latency_ms: 500, times: 1 })
    const body = '{"version":1}'
    const head = [`POST /v1/grants/${guid}/refresh HTTP/1.1`, 'Host: a', `Authorization: Bearer ${apiKey}`]
    const length = ['Content-Type: application/json', `Content-Length: ${body.length}`]
    socket.write([...head, ...length, '', body].join('\r\n'))
    while ((await sandbox.counts()).peak_concurrency === 0);
    const closed = client.close()
    while ((await requestRaw(client.url, 'GET', '/health/live')).status !== 0);
    socket.write(get(`/v1/grants/${guid}/token`))
    const answers = (await everythingFrom(socket)).split(/(?=HTTP\/1\.1 )/).map(parse)
    await closed
    t.strictSame(
      answers.map(({ status, headers, body }) => [status, headers.get('connection'), JSON.parse(body).guid]),
      [
        [200, 'keep-alive', guid],
        [200, 'close', guid],
      ],
    )
  },
)

t.test('before it closes it says so: not ready, and every answer ends its connection', async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const { apiKey, gateway } = await startStack(t, redis.url)
  const client = await gateway()
  const { guid } = (await client.send('POST', '/v1/users', { username: '4711' })).body
  t.match(await client.get('/health/ready'), { status: 200 })
  client.leave()
  t.match(await client.get('/health/ready'), { status: 503, body: { status: 'unavailable' } })
  t.match(await client.get('/health/live'), { status: 200 })
  const authorization = `Authorization: Bearer ${apiKey}`
  const answers: [string, string, number][] = [
    ['answered', `GET /v1/grants/${guid}/token HTTP/1.1\r\nHost: a\r\n${authorization}`, 200],
    ['an unknown caller', `GET /v1/grants/${guid}/token HTTP/1.1\r\nHost: a`, 401],
    ['no such route', 'GET /nowhere HTTP/1.1\r\nHost: a', 404],
    ['not ready', 'GET /health/ready HTTP/1.1\r\nHost: a', 503],
    ['two hosts', `GET /v1/grants HTTP/1.1\r\nHost: a\r\nHost: b\r\n${authorization}`, 400],
    ['an address that cannot be read', 'GET /%zz HTTP/1.1\r\nHost: a', 400],
    ['no HTTP', 'nonsense', 400],
  ]
  for (const [name, request, status] of answers) {
    const socket = open(client.url)
    socket.write(`${request}\r\n\r\n`)
    const answer = parse(await everythingFrom(socket))
    t.match(answer, { status, headers: new Map([['connection', 'close']]) }, name)
  }
})
