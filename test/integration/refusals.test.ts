import t from 'tap'
import { freePort, startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

/** So deep that what looks into it by recursion runs out of stack. */
function nested(times: number): string {
  return `${'['.repeat(times)}${']'.repeat(times)}`
}

t.test('nonsense is refused, and what is wrong with it is named', async t => {
  const { redirectUri, gateway } = await startStack(t, redis.url)
  const client = await gateway()
  const cases: readonly [string, string, unknown, string, string][] = [
    ['POST', '/v1/users', '{"username":', 'validation_failed', ''],
    ['POST', '/v1/users', '', 'validation_failed', ''],
    ['POST', '/v1/users', [], 'validation_failed', ''],
    ['POST', '/v1/users', `{"username":"a","attributes":{"a":${nested(10_000)}}}`, 'validation_failed', ''],
    ['POST', '/v1/users', `{"username":"a","attributes":{"a":${nested(63)}}}`, 'validation_failed', ''],
    ['POST', '/v1/users', {}, 'validation_failed', '/username'],
    ['POST', '/v1/users', { username: 4711 }, 'validation_failed', '/username'],
    ['POST', '/v1/users', { username: 'a', nickname: 'b' }, 'validation_failed', '/nickname'],
    [
      'POST',
      '/v1/users',
      { username: 'a', attributes: { password: 'b' } },
      'validation_failed',
      '/attributes/password',
    ],
    ['POST', '/v1/grants', { redirect_uri: redirectUri }, 'validation_failed', '/code'],
    [
      'POST',
      '/v1/grants',
      { code: 'c', redirect_uri: 'https://evil.example/' },
      'redirect_uri_not_allowed',
      '/redirect_uri',
    ],
    ['POST', '/v1/authorizations', { redirect_uri: `${redirectUri}/` }, 'redirect_uri_not_allowed', '/redirect_uri'],
    ['POST', '/v1/authorizations', { scope: 'profile_read pay' }, 'scope_not_allowed', '/scope'],
    ['POST', '/v1/authorizations', { return_to: 'https://evil.example/' }, 'return_to_not_allowed', '/return_to'],
    ['POST', '/v1/grants/g/refresh', { version: '7' }, 'validation_failed', '/version'],
    [
      'PUT',
      '/v1/grants/g',
      { access_token: 'a b', refresh_token: 'r', expires_in: -1 },
      'validation_failed',
      '/expires_in',
    ],
    ['GET', '/v1/grants/g/token?min_ttl=soon', undefined, 'validation_failed', 'query/min_ttl'],
    ['GET', '/v1/grants?limit=0', undefined, 'validation_failed', 'query/limit'],
    ['GET', '/v1/grants/a%20b', undefined, 'validation_failed', 'path/guid'],
  ]
  for (const [method, path, body, code, field] of cases) {
    const answer = await client.send(method, path, body)
    t.match(answer, { status: 400, body: { code, status: 400, type: `urn:healthtap-gateway:problem:${code}` } })
    t.ok(
      answer.body.errors.some((error: { path: string }) => error.path === field),
      `${path} names ${field}`,
    )
    t.match(answer.headers.get('content-type'), 'application/problem+json')
    t.equal(answer.headers.get('x-request-id'), answer.body.request_id)
  }
  const deep = await client.send('POST', '/v1/users', `{"username":"deep","attributes":{"a":${nested(62)}}}`)
  t.equal(deep.status, 201, 'as deep as it may be')
  t.match(await client.send('POST', '/v1/users', { username: 'a'.repeat(1_000_000) }), {
    status: 413,
    body: { code: 'payload_too_large' },
  })
  // Many clients name the type with every request, also where there is nothing to send.
  const { status } = await client.send('DELETE', '/v1/grants/nobody')
  t.not(status, 400)
  t.match(await client.send('DELETE', '/v1/grants/nobody', ''), { status })
  for (const type of ['application/x-www-form-urlencoded', 'text/plain', 'application/xml', 'nonsense']) {
    const typed = await client.send('POST', '/v1/users', '{"username":"a"}', { 'content-type': type })
    t.match(typed, { status: 415, body: { code: 'unsupported_media_type' } }, type)
  }
  t.match(await client.get('/v1/grants/nobody'), { status: 404, body: { code: 'grant_not_found' } })
  t.match(await client.get('/nothing'), { status: 404, body: { code: 'not_found' } })
  t.match(await client.send('GET', '/nothing', undefined, { 'x-request-id': 'mine-1' }), {
    body: { request_id: 'mine-1' },
  })
  const odd = await client.send('GET', '/nothing', undefined, { 'x-request-id': 'not "mine"' })
  t.match(odd.body.request_id, /^[0-9a-f-]{36}$/)
  t.match(await client.get('/tap-in/callback?state=unknown&code=c'), { status: 400, body: /cannot be used/ })
  t.match(await client.get('/tap-in/callback?state=a&state=b'), { status: 400, body: /cannot be used/ })
})

t.test('Redis goes away and comes back: 503 in between, and all goes on by itself', async t => {
  const port = await freePort()
  const fragile = await startRedis({ port })
  const { gateway } = await startStack(t, fragile.url)
  const client = await gateway()
  t.match(await client.get('/health/ready'), { status: 200, body: { status: 'ok' } })
  await fragile.kill('SIGKILL')
  const refused = await client.get('/v1/grants/ada/token')
  t.match(refused, { status: 503, body: { code: 'store_unavailable' } })
  t.ok(Number(refused.headers.get('retry-after')) >= 1)
  t.match(await client.get('/health/ready'), {
    status: 503,
    body: { checks: [{ name: 'store', status: 'unavailable' }] },
  })
  t.match(await client.get('/health/live'), { status: 200 })
  const back = await startRedis({ port })
  t.teardown(() => back.stop())
  let answer = await client.get('/health/ready')
  for (let tries = 0; tries < 200 && answer.status !== 200; tries += 1) answer = await client.get('/health/ready')
  t.equal(answer.status, 200)
  t.match(await client.send('POST', '/v1/users', { username: '4711' }), { status: 201 })
})
