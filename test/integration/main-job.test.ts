import { Redis } from 'ioredis'
import t from 'tap'
import { startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

t.test('provisioning: one user, whoever asks and how often', async t => {
  const { sandbox, gateway } = await startStack(t, redis.url)
  const replicas = [await gateway(), await gateway()]
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, index) => replicas[index % 2]?.send('POST', '/v1/users', { username: '4711' })),
  )
  t.equal(new Set(answers.map(answer => answer?.body.guid)).size, 1)
  t.strictSame(answers.map(answer => answer?.status).sort(), [...Array(19).fill(200), 201])
  t.equal((await sandbox.counts()).totals.users?.ok, 1)
  const made = answers[0]
  t.equal(made?.headers.get('location'), `/v1/grants/${made?.body.guid}`)
  t.equal(made?.headers.get('cache-control'), 'no-store')
  t.equal((await sandbox.me(made?.body.access_token)).status, 200)

  await sandbox.createUser('theirs')
  t.match(await replicas[0]?.send('POST', '/v1/users', { username: 'theirs' }), {
    status: 409,
    body: { code: 'username_taken' },
  })
})

t.test('provisioning in doubt: a lost answer is not a taken name, and an import settles it', async t => {
  const { sandbox, gateway } = await startStack(t, redis.url)
  const client = await gateway()
  const provision = () => client.send('POST', '/v1/users', { username: 'lost' })
  await sandbox.addFault({ operation: 'users', kind: 'drop_after', times: 1 })
  t.match(await provision(), { status: 409, body: { code: 'provisioning_in_doubt' } })
  t.match(await provision(), { status: 409, body: { code: 'provisioning_in_doubt' } })
  const pair = { access_token: 'a'.repeat(64), refresh_token: 'b'.repeat(64), expires_in: 7200 }
  t.match(await client.send('PUT', '/v1/grants/found', { ...pair, username: 'lost' }), { status: 201 })
  t.match(await provision(), { status: 200, body: { guid: 'found' } })

  await sandbox.addFault({ operation: 'users', kind: 'status_before', status: 500, times: 1 })
  const again = () => client.send('POST', '/v1/users', { username: 'later' })
  t.match(await again(), { status: 409, body: { code: 'provisioning_in_doubt' } })
  t.match(await again(), { status: 201 })
})

t.test('a code is exchanged once, and answered to everybody who sends it', async t => {
  const { sandbox, redirectUri, gateway } = await startStack(t, redis.url)
  const replicas = [await gateway(), await gateway()]
  const body = { code: await sandbox.code(), redirect_uri: redirectUri }
  const answers = await Promise.all(replicas.map(client => client.send('POST', '/v1/grants', body)))
  t.strictSame(answers.map(({ status }) => status).sort(), [200, 201])
  t.equal(answers[0]?.body.access_token, answers[1]?.body.access_token)
  t.equal((await sandbox.counts()).totals.exchange?.ok, 1)
  t.match(await replicas[0]?.send('POST', '/v1/grants', body), { status: 200 })
  t.match(await replicas[0]?.send('POST', '/v1/grants', { ...body, code: 'nonsense' }), {
    status: 400,
    body: { code: 'authorization_code_rejected', upstream: { error: 'invalid_grant' } },
  })
})

t.test('a state is good for one exchange, with its own redirect_uri', async t => {
  const { sandbox, redirectUri, gateway } = await startStack(t, redis.url, {
    redirectUris: ['https://app.example/cb', 'myapp://oauth/healthtap'],
  })
  const client = await gateway({
    HEALTHTAP_REDIRECT_URIS: `${redirectUri},myapp://oauth/healthtap`,
    REQUIRE_STATE: 'true',
  })
  const begun = await client.send('POST', '/v1/authorizations', { scope: 'profile_read' })
  t.equal(begun.status, 201)
  const { state, authorization_url: authorizationUrl } = begun.body
  const challenge = new URL(authorizationUrl).searchParams
  t.equal(challenge.get('code_challenge_method'), 'S256')
  const code = await sandbox.code({
    state,
    code_challenge: challenge.get('code_challenge') ?? '',
    code_challenge_method: 'S256',
  })
  const exchange = (more: object) => client.send('POST', '/v1/grants', { code, redirect_uri: redirectUri, ...more })
  t.match(await exchange({}), { status: 400, body: { code: 'state_invalid' } }, 'it is required')
  t.match(await exchange({ state: 'unknown' }), { status: 400, body: { code: 'state_invalid' } })
  const elsewhere = await exchange({ state, redirect_uri: 'myapp://oauth/healthtap' })
  t.match(elsewhere, { status: 400, body: { code: 'state_invalid' } })
  const done = await exchange({ state })
  t.equal(done.status, 201)
  t.match(await exchange({ state }), { status: 200 }, 'the very same request is answered again')
  t.match(await exchange({ state, code: await sandbox.code() }), { status: 400, body: { code: 'state_invalid' } })
  t.match(await client.get(`/v1/authorizations/${state}`), { body: { status: 'connected', guid: done.body.guid } })
  t.match(await client.get('/v1/authorizations/unknown'), { status: 404, body: { code: 'authorization_not_found' } })
})

t.test('whose grant it is: the answer, the identity URL, the caller', async t => {
  const { sandbox, redirectUri, gateway } = await startStack(t, redis.url, { guidInExchange: false })
  const plain = await gateway()
  const asking = await gateway({ HEALTHTAP_IDENTITY_URL: `${sandbox.options.url}/api/v2.1/me.json` })
  const exchange = async (client: typeof plain, more: object = {}) =>
    client.send('POST', '/v1/grants', { code: await sandbox.code(), redirect_uri: redirectUri, ...more })
  t.match(await exchange(plain), { status: 502, body: { code: 'guid_unresolved' } })
  t.match(await exchange(plain, { guid: 'mine' }), { status: 201, body: { guid: 'mine' } })
  const asked = await exchange(asking)
  t.match(asked, { status: 201, body: { guid: /^[0-9a-f]{32}$/ } })
  const { code } = (await exchange(asking, { guid: 'somebody-else' })).body
  t.equal(code, 'guid_mismatch')
  t.match(await asking.get(`/v1/grants/${asked.body.guid}/token`), { status: 200 })
})

t.test('what the provider can do to an exchange', async t => {
  const { sandbox, redirectUri, gateway } = await startStack(t, redis.url)
  const client = await gateway()
  const code = await sandbox.code()
  const exchange = () => client.send('POST', '/v1/grants', { code, redirect_uri: redirectUri })
  const fault = (kind: 'wrong_credentials' | 'rate_limited' | 'malformed' | 'drop_after') =>
    sandbox.addFault({ operation: 'exchange', kind, times: 1 })
  await fault('wrong_credentials')
  t.match(await exchange(), { status: 502, body: { code: 'client_misconfigured' } })
  await fault('rate_limited')
  const limited = await exchange()
  t.match(limited, { status: 503, body: { code: 'provider_unavailable' } })
  t.ok(Number(limited.headers.get('retry-after')) >= 1)
  await fault('drop_after')
  t.match(await exchange(), { status: 504, body: { code: 'outcome_unknown' } })
  t.match(await exchange(), { status: 504, body: { code: 'outcome_unknown' } })
  t.equal((await sandbox.counts()).totals.exchange?.invalid_grant, undefined, 'it was not sent again')
  await fault('malformed')
  const other = { code: await sandbox.code(), redirect_uri: redirectUri }
  t.match(await client.send('POST', '/v1/grants', other), { status: 502, body: { code: 'provider_response_invalid' } })
})

t.test('reports of a refused version: one rotation; a person who left has to authorize again', async t => {
  const { sandbox, gateway } = await startStack(t, redis.url)
  const replicas = [await gateway(), await gateway()]
  const { guid, access_token: first } = (await replicas[0]?.send('POST', '/v1/users', { username: 'ada' }))?.body ?? {}
  const report = (version: number, index = 0) =>
    replicas[index % 2]?.send('POST', `/v1/grants/${guid}/refresh`, { version })
  const answers = await Promise.all(Array.from({ length: 10 }, (_, index) => report(1, index)))
  t.strictSame([...new Set(answers.map(answer => answer?.body.version))], [2])
  t.not(answers[0]?.body.access_token, first)
  t.equal((await sandbox.counts()).grants[guid]?.refreshes, 1)

  await sandbox.send(`/sandbox/revoke-user/${guid}`, { method: 'POST' })
  t.match(await report(2), { status: 409, body: { code: 'reauthorization_required' } })
  t.match(await replicas[1]?.get(`/v1/grants/${guid}/token`), {
    status: 409,
    body: { code: 'reauthorization_required' },
  })
  t.match(await replicas[1]?.get('/v1/grants?status=reauthorization_required'), { body: { items: [{ guid }] } })
})

t.test('import, list, read and delete', async t => {
  const { sandbox, gateway } = await startStack(t, redis.url)
  const client = await gateway()
  const pair = await sandbox.grant()
  const tokens = { access_token: pair.access_token, refresh_token: pair.refresh_token, expires_in: 7200 }
  const imported = await client.send('PUT', `/v1/grants/${pair.guid}`, { ...tokens, username: 'ada' })
  t.match(imported, { status: 201, body: { origin: 'import', version: 1, username: 'ada', status: 'active' } })
  t.notOk(JSON.stringify(imported.body).includes(pair.refresh_token))
  t.match(await client.send('PUT', `/v1/grants/${pair.guid}`, tokens), { status: 200, body: { version: 1 } })
  t.equal((await sandbox.me(pair.access_token)).status, 200, 'the same pair was not revoked')
  t.match(await client.get('/v1/grants?username=ada'), { body: { items: [{ guid: pair.guid }] } })
  t.match(await client.get('/v1/grants?cursor=nonsense'), { status: 400, body: { errors: [{ path: 'query/cursor' }] } })

  await sandbox.addFault({ operation: 'revoke', kind: 'status_before', status: 503, times: 1 })
  t.match(await client.send('DELETE', `/v1/grants/${pair.guid}`), { status: 202, body: { status: 'revoking' } })
  t.match(await client.get(`/v1/grants/${pair.guid}/token`), { status: 404 })
  t.match(await client.send('DELETE', `/v1/grants/${pair.guid}`), { status: 204 })
  t.match(await client.get(`/v1/grants/${pair.guid}`), { status: 404, body: { code: 'grant_not_found' } })
  t.equal((await sandbox.me(pair.access_token)).status, 401)
  t.match(await client.get('/v1/grants?username=ada'), { body: { items: [] } })
})

t.test(
  'a provider that is down: live tokens go on, expired ones are 503 with Retry-After, and all recovers by itself',
  async t => {
    const { sandbox, gateway } = await startStack(t, redis.url)
    const client = await gateway()
    const live = (await client.send('POST', '/v1/users', { username: 'live' })).body
    const pair = await sandbox.grant()
    await sandbox.addFault({ operation: 'any', kind: 'rate_limited', retry_after: 1 })
    const tokens = { access_token: pair.access_token, refresh_token: pair.refresh_token, expires_in: 0 }
    t.equal((await client.send('PUT', `/v1/grants/${pair.guid}`, tokens)).status, 201)
    t.match(await client.get(`/v1/grants/${live.guid}/token`), {
      status: 200,
      body: { access_token: live.access_token },
    })
    const refused = await client.get(`/v1/grants/${pair.guid}/token`)
    t.match(refused, { status: 503, body: { code: 'provider_unavailable' } })
    t.ok(Number(refused.headers.get('retry-after')) >= 1)

    await sandbox.clearFaults()
    let answer = refused
    for (let tries = 0; tries < 3_000 && answer.status !== 200; tries += 1)
      answer = await client.get(`/v1/grants/${pair.guid}/token`)
    t.match(answer, { status: 200, body: { version: 2 } })
    t.equal((await sandbox.me(answer.body.access_token)).status, 200)
    t.equal((await sandbox.counts()).grants[pair.guid]?.refreshes, 1)
  },
)

t.test('a Deny is told to whoever asks; a record that does not open is an error for that grant alone', async t => {
  const { redirectUri, gateway } = await startStack(t, redis.url)
  const client = await gateway({ REDIS_PREFIX: 'unreadable' })
  const { state } = (await client.send('POST', '/v1/authorizations', {})).body
  t.match(await client.get(`/tap-in/callback?state=${state}&error=access_denied`), {
    status: 403,
    body: /chose not to connect/,
  })
  const exchange = { code: 'c', redirect_uri: redirectUri, state }
  t.match(await client.send('POST', '/v1/grants', exchange), { status: 403, body: { code: 'access_denied' } })

  const { guid } = (await client.send('POST', '/v1/users', { username: 'broken' })).body
  const other = (await client.send('POST', '/v1/users', { username: 'whole' })).body.guid
  const store = new Redis(redis.port)
  t.teardown(() => store.disconnect())
  const [key = ''] = await store.keys(`unreadable:*:grant:${guid}`)
  await store.set(key, '12:{"nonsense')
  t.match(await client.get(`/v1/grants/${guid}/token`), { status: 500, body: { code: 'internal_error' } })
  t.match(await client.get(`/v1/grants/${other}/token`), { status: 200 })
  t.equal(await store.get(key), '12:{"nonsense', 'it is left as it is')
})
