/** Two more doors: what is behind each of them, whatever the address looks like; and how they open and close. */
import { once } from 'node:events'
import { createServer } from 'node:net'
import t from 'tap'
import { everythingFrom, open, requestRaw } from '../support/raw.ts'
import { freePort, startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

/** Whatever is not behind a door, in every spelling that a proxy or a router may read as something else. */
const ELSEWHERE = [
  '/v1/grants',
  '/v1/grants/ada/token',
  '/v1/authorizations',
  '/docs',
  '/docs/',
  '/docs/static/index.html',
  '/openapi.json',
  '/console',
  '/console/',
  '/console/main.js',
  '/',
  '//v1/grants',
  '/v1//grants',
  '/tap-in/../v1/grants',
  '/tap-in/callback/../../v1/grants',
  '/tap-in/%2e%2e/v1/grants',
  '/tap-in%2f..%2fv1%2fgrants',
  '/metrics/../v1/grants',
  '/health/../v1/grants',
  '/%2e%2e/v1/grants',
  '/v1/grants;/tap-in/callback',
  '/v1/grants?/tap-in/callback',
  '/v1/grants#/tap-in/callback',
  '/v1/%67rants',
  '/%76%31/grants',
  '/V1/grants',
  '/\\v1\\grants',
  'http://gateway/v1/grants',
  'http://gateway/tap-in/../v1/grants',
  'http://gateway/tap-in/callback/../../v1/grants',
  '/tap-in',
  '/tap-in/',
  '/tap-in/callback/',
  '/TAP-IN/callback',
  '/metrics/',
  '/health',
  '/health/',
  '*',
]
const METRICS = ['/metrics', '/health/live', '/health/ready']
const CALLBACK = '/tap-in/callback?state=unknown&code=c'

t.test('behind each door is its own, and nothing else', async t => {
  const { gateway, apiKey } = await startStack(t, redis.url)
  const { url, doors } = await gateway({ PUBLIC_PORT: '0', METRICS_PORT: '0' })
  const { public: publicUrl = '', metrics: metricsUrl = '' } = doors
  t.equal(new Set([url, publicUrl, metricsUrl]).size, 3)
  const authorization = [`authorization: Bearer ${apiKey}`]
  async function isNotThere(door: string, method: string, target: string) {
    const answer = await requestRaw(door, method, target, authorization)
    t.equal(answer.status, 404, `${method} ${target}`)
    t.match(answer.headers.get('content-type'), 'application/problem+json')
    t.ok(answer.headers.get('x-request-id'))
    if (method !== 'HEAD') t.equal(JSON.parse(answer.body).code, 'not_found')
  }
  for (const target of ELSEWHERE) {
    await isNotThere(publicUrl, 'GET', target)
    await isNotThere(metricsUrl, 'GET', target)
  }
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'HEAD']) {
    await isNotThere(publicUrl, method, '/v1/grants/ada')
    await isNotThere(metricsUrl, method, '/v1/grants')
    await isNotThere(publicUrl, method, '/tap-in/callback?state=a&code=b')
  }
  for (const target of METRICS) {
    await isNotThere(publicUrl, 'GET', target)
    t.equal((await requestRaw(metricsUrl, 'GET', target)).status, 200, target)
    t.equal((await requestRaw(url, 'GET', target)).status, 200, `${target}, at the main one`)
  }
  await isNotThere(metricsUrl, 'GET', CALLBACK)
  for (const door of [url, publicUrl]) {
    const page = await requestRaw(door, 'GET', CALLBACK)
    t.match(page, { status: 400, body: /cannot be used/ })
    t.match(page.headers.get('content-type'), 'text/html')
  }
  t.equal((await requestRaw(url, 'GET', '/v1/grants', authorization)).status, 200, 'the main one has everything')
  const upgraded = [
    'connection: upgrade',
    'upgrade: websocket',
    'x-original-url: /v1/grants',
    'x-rewrite-url: /v1/grants',
  ]
  t.equal((await requestRaw(publicUrl, 'GET', '/tap-in/', [...authorization, ...upgraded])).status, 404)
})

t.test('a whole Tap-in through the public door', async t => {
  const [main, door] = [await freePort(), await freePort()]
  const redirectUris = [`http://127.0.0.1:${door}/tap-in/callback`]
  const { sandbox, gateway } = await startStack(t, redis.url, { redirectUris })
  const client = await gateway({ PORT: String(main), PUBLIC_PORT: String(door) })
  const { state, authorization_url: url } = (await client.send('POST', '/v1/authorizations', {})).body
  const { searchParams } = new URL(url)
  const code = await sandbox.code({
    state,
    code_challenge: searchParams.get('code_challenge') ?? '',
    code_challenge_method: 'S256',
  })
  const page = await requestRaw(`http://127.0.0.1:${door}`, 'GET', `/tap-in/callback?state=${state}&code=${code}`)
  t.match(page, { status: 200, body: /is connected/ })
  t.match(await client.get(`/v1/authorizations/${state}`), { body: { status: 'connected' } })
})

t.test('a port that is taken is a plain error, and everything that was open is closed again', async t => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.teardown(() => taken.close())
  const { port } = taken.address() as { port: number }
  const { gateway } = await startStack(t, redis.url)
  for (const name of ['PORT', 'PUBLIC_PORT', 'METRICS_PORT']) {
    const others = { PORT: await freePort(), PUBLIC_PORT: await freePort(), METRICS_PORT: await freePort() }
    const settings = Object.fromEntries(Object.entries(others).map(([each, free]) => [each, String(free)]))
    await t.rejects(gateway({ ...settings, [name]: String(port) }), { code: 'EADDRINUSE', port }, name)
    for (const free of Object.values(others)) {
      const socket = open(`http://127.0.0.1:${free}`)
      await everythingFrom(socket)
      t.notOk(socket.bytesRead, `${free} is free again`)
    }
  }
})

t.test('they close together: none takes connections any more, and answers under way still come', async t => {
  const { sandbox, gateway } = await startStack(t, redis.url)
  const client = await gateway({ PUBLIC_PORT: '0', METRICS_PORT: '0' })
  const addresses = [client.url, client.doors.public ?? '', client.doors.metrics ?? '']
  const { state } = (await client.send('POST', '/v1/authorizations', {})).body
  await sandbox.addFault({ operation: 'exchange', kind: 'latency', latency_ms: 500, times: 1 })
  const slow = requestRaw(client.doors.public ?? '', 'GET', `/tap-in/callback?state=${state}&code=nonsense`)
  while ((await sandbox.counts()).peak_concurrency === 0);
  const closed = client.close()
  for (const address of addresses) {
    let answer = await requestRaw(address, 'GET', '/health/live')
    while (answer.status !== 0) answer = await requestRaw(address, 'GET', '/health/live')
    t.equal(answer.text, '', `${address} is closed`)
  }
  t.match(await slow, { status: 400, body: /not connected/ })
  await closed
})
