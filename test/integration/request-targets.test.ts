/** Addresses that mean one thing to a proxy and another to a router: nobody gets past the API key by one, and nothing breaks. */
import t from 'tap'
import { requestRaw } from '../support/raw.ts'
import { startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

/** How each is answered to whoever has a key for everything; without one it is 401 where that says 200, 400 or 204. */
const TARGETS: readonly [string, number][] = [
  ['/v1/grants', 200],
  ['/v1/%67rants', 200],
  ['/%76%31/grants', 200],
  ['/v1/grants#fragment', 400],
  ['/v1/grants?', 200],
  ['http://elsewhere.example/v1/grants', 200],
  ['https://user:password@elsewhere.example:1/v1/grants', 200],
  ['/v1/grants/ada', 200],
  ['/v1/grants/%61da', 200],
  ['/v1/grants/', 400],
  ['/v1/grants/ADA', 404],
  ['/v1/grants/..', 400],
  ['/v1/grants/.', 400],
  ['/v1/grants/%2e%2e', 400],
  ['/v1/grants/ada%2ftoken', 400],
  ['/v1/grants/ada%252ftoken', 400],
  ['/v1/grants/..%2f..%2fhealth%2flive', 400],
  ['/v1/grants/ada%00', 400],
  ['/v1/grants/%00', 400],
  ['/v1/grants/ada%0d%0ax:y', 400],
  ['/v1/grants/ada;admin=true', 400],
  ['/v1/grants/ada%20', 400],
  ['/v1/grants/ada%3f', 400],
  ['/v1/grants/*', 400],
  ['/v1/grants/{s001}', 400],
  ['/v1/grants/%F0%9F%92%A9', 400],
  ['/v1/grants?limit=1&limit=2', 400],
  ['/v1/grants?__proto__=1', 400],
  ['/v1/grants?constructor[prototype]=1', 400],
  ['/v1/grants?status=active%00', 400],
]
/** These are nobody's, with a key or without. */
const NOWHERE: readonly [string, number][] = [
  ['//v1/grants', 404],
  ['/v1//grants', 404],
  ['/v1/grants//ada', 404],
  ['/v1/grants/ada/', 404],
  ['/v1/grants/ada//token', 404],
  ['/v1/grants;x=1', 404],
  ['/v1;x=1/grants', 404],
  ['/V1/grants', 404],
  ['/v1/Grants', 404],
  ['/./v1/grants', 404],
  ['/v1/./grants', 404],
  ['/v1/../v1/grants', 404],
  ['/%2e/v1/grants', 404],
  ['/v1/%2e%2e/v1/grants', 404],
  ['/v1%2fgrants', 404],
  ['/v1/grants/../../health/live', 404],
  ['/health/live/../../v1/grants', 404],
  ['/health/..;/v1/grants', 404],
  ['/docs/..%2fv1/grants', 404],
  ['/console/..%2fv1/grants', 404],
  ['/console/..%2f..%2fpackage.json', 404],
  ['/console/../package.json', 404],
  ['/console/types.d.ts', 404],
  ['/docs/static/..%2f..%2fpackage.json', 404],
  ['/docs/static/%2e%2e/%2e%2e/package.json', 400],
  ['/docs/static/....//package.json', 400],
  ['/%5cv1%5cgrants', 404],
  ['/v1/grants%00', 404],
  ['/__proto__', 404],
  ['/constructor/prototype', 404],
  ['*', 404],
  ['http://gateway', 404],
  ['/%', 400],
  ['/%zz/grants', 400],
  ['/v1/grants/%c0%af', 400],
  ['/v1/grants/%ff', 400],
  ['/v1/grants/%e0%80%af', 400],
  ['/v1/grants/%ed%a0%80', 400],
]

t.test('whatever the address looks like', async t => {
  const { gateway, apiKey } = await startStack(t, redis.url)
  const client = await gateway()
  const { url } = client
  const pair = { access_token: 'a'.repeat(64), refresh_token: 'b'.repeat(64), expires_in: 7200 }
  t.match(await client.send('PUT', '/v1/grants/ada', pair), { status: 201 })
  const withKey = [`authorization: Bearer ${apiKey}`]
  const without: readonly (readonly string[])[] = [
    [],
    ['authorization: Bearer'],
    ['authorization: Bearer wrong'],
    [`authorization: ${apiKey}`],
    [`authorization: Basic ${apiKey}`],
    [`authorization: Bearer wrong, Bearer ${apiKey}`],
    [`authorization : Bearer ${apiKey}`].slice(1),
    [`x-authorization: Bearer ${apiKey}`],
    [`proxy-authorization: Bearer ${apiKey}`],
    [`cookie: authorization=Bearer ${apiKey}`],
    ['x-original-url: /health/live', 'x-rewrite-url: /health/live', 'x-forwarded-for: 127.0.0.1'],
  ]
  async function expect(target: string, headers: readonly string[], status: number) {
    const answer = await requestRaw(url, 'GET', target, headers)
    t.equal(answer.status, status, `${target} ${headers.join(' ').slice(0, 30)}`)
    if (status >= 400) {
      t.match(answer.headers.get('content-type'), 'application/problem+json')
      t.match(JSON.parse(answer.body), { status, request_id: answer.headers.get('x-request-id') })
    }
    t.notOk(answer.body.includes(pair.access_token))
  }
  for (const [target, status] of TARGETS) {
    await expect(target, withKey, status)
    await expect(target, [], 401)
  }
  for (const headers of without) await expect('/v1/grants/ada/token', headers, 401)
  const [wrong, right] = ['authorization: Bearer wrong', `authorization: Bearer ${apiKey}`]
  for (const both of [
    [wrong, right],
    [right, wrong],
  ]) {
    await expect('/v1/grants/ada/token', both, 400)
  }
  for (const [target, status] of NOWHERE) {
    await expect(target, withKey, status)
    await expect(target, [], status)
  }
})

t.test('whatever the method is', async t => {
  const { gateway, apiKey, keyFor } = await startStack(t, redis.url)
  const client = await gateway()
  const pair = { access_token: 'a'.repeat(64), refresh_token: 'b'.repeat(64), expires_in: 7200 }
  t.match(await client.send('PUT', '/v1/grants/ada', pair), { status: 201 })
  const key = (apiKey: string) => `authorization: Bearer ${apiKey}`
  for (const method of ['TRACE', 'OPTIONS', 'PATCH', 'PROPFIND', 'PURGE', 'LOCK', 'M-SEARCH', 'QUERY']) {
    const answer = await requestRaw(client.url, method, '/v1/grants/ada', [key(apiKey)])
    t.ok([400, 404].includes(answer.status), `${method}: ${answer.status}`)
    t.match(answer.headers.get('content-type'), 'application/problem+json')
    t.notOk(answer.text.includes(apiKey), 'TRACE included: nothing is sent back')
  }
  for (const method of ['get', 'Get', 'DELETE\t', '']) {
    t.equal((await requestRaw(client.url, method, '/v1/grants/ada', [key(apiKey)])).status, 400, JSON.stringify(method))
  }
  for (const target of ['/v1/grants/ada', '/v1/grants/ada/token', '/v1/grants']) {
    const [without, may, mayNot] = [[], [key(apiKey)], [key(keyFor('provision'))]]
    t.match(await requestRaw(client.url, 'HEAD', target, without), { status: 401, body: '' }, `HEAD ${target}`)
    t.match(await requestRaw(client.url, 'HEAD', target, mayNot), { status: 403, body: '' })
    t.match(await requestRaw(client.url, 'HEAD', target, may), { status: 200, body: '' })
  }
  t.equal(
    (await requestRaw(client.url, 'HEAD', '/tap-in/callback?state=a&code=b')).status,
    404,
    'a code is not spent by it',
  )
  for (const header of ['x-http-method-override', 'x-http-method', 'x-method-override']) {
    const read = [key(keyFor('grant:read')), `${header}: DELETE`]
    t.match(await requestRaw(client.url, 'GET', '/v1/grants/ada?_method=DELETE', read), { status: 200 }, header)
  }
  t.match(await client.get('/v1/grants/ada'), { status: 200 }, 'it is still there')
})
