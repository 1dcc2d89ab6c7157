import t, { type Test } from 'tap'
import { type SandboxDriver, startDriven, tokensOf } from '../../sandbox/driver.ts'
import { type SandboxOptions, startSandbox } from '../../sandbox/index.ts'

async function start(t: Test, options: Parameters<typeof startDriven>[0] = {}) {
  const clock = { ms: Date.UTC(2026, 0, 1) }
  const { driver: provider, close } = await startDriven({ now: () => clock.ms, ...options })
  t.teardown(close)
  return { provider, clock, close }
}

const wrongSecret = (provider: SandboxDriver) => ({ authorization: provider.basicAuth('wrong') })

t.test('the token endpoint', async t => {
  t.test('takes JSON, a form and query parameters', async t => {
    const { provider } = await start(t)
    const authorization = provider.basicAuth()
    let { refresh_token } = await provider.grant()
    const next = async (path: string, init: RequestInit): Promise<void> => {
      const answer = await provider.send(path, { method: 'POST', ...init })
      t.equal(answer.status, 200)
      refresh_token = tokensOf(answer).refresh_token
    }
    const parameters = () => new URLSearchParams({ grant_type: 'refresh_token', refresh_token })
    await next('/oauth/token', { headers: { authorization }, body: parameters() })
    await next(`/oauth/token?${parameters()}`, { headers: { authorization } })
    await next(`/oauth/token?${parameters()}`, { headers: { authorization, 'content-type': 'text/plain' }, body: 'x' })
    const json = { 'content-type': 'application/json', authorization }
    await next('/oauth/token', { headers: json, body: JSON.stringify(Object.fromEntries(parameters())) })
    await next(`/oauth/token?${parameters()}`, { headers: json })
  })

  t.test('takes body credentials, and lets Basic win over them', async t => {
    const { provider } = await start(t)
    const inBody = { client_id: provider.options.appId, client_secret: provider.options.appSecret }
    const none = { authorization: '' }
    const first = await provider.grant()
    const second = tokensOf(await provider.refresh(first.refresh_token, inBody, none))
    t.match((await provider.refresh(second.refresh_token, inBody, wrongSecret(provider))).body, {
      error: 'invalid_client',
    })
    const wrongInBody = { client_id: 'somebody else', client_secret: 'wrong' }
    t.equal((await provider.refresh(second.refresh_token, wrongInBody)).status, 200)
  })

  t.test('knows the scheme only as Basic', async t => {
    const { provider } = await start(t)
    const lowerCase = { authorization: provider.basicAuth().replace('Basic', 'basic') }
    const code = await provider.code()
    t.match(await provider.exchange(code, {}, lowerCase), { status: 401, body: { error: 'invalid_client' } })
    t.equal((await provider.exchange(code)).status, 200)
  })

  t.test('refuses in OAuth words, with the headers that go with them', async t => {
    const { provider } = await start(t)
    const refused = await provider.refresh('unknown')
    t.match(refused.body, { error: 'invalid_grant', error_description: /is invalid, expired, revoked/ })
    t.equal(refused.headers.get('cache-control'), 'no-store')
    t.match(refused.headers.get('www-authenticate'), /^Bearer realm="Doorkeeper", error="invalid_grant", /)

    const cases: [string, Record<string, unknown>][] = [
      ['invalid_request', {}],
      ['unsupported_grant_type', { grant_type: 'password' }],
      ['invalid_request', { grant_type: 'authorization_code' }],
      ['invalid_request', { grant_type: 'refresh_token', refresh_token: '' }],
      ['invalid_request', { grant_type: 'authorization_code', code: 'unknown' }],
      [
        'invalid_grant',
        { grant_type: 'authorization_code', code: 'unknown', redirect_uri: provider.options.redirectUri },
      ],
    ]
    for (const [error, body] of cases) {
      t.match(await provider.sendJson('/oauth/token', body), { status: 400, body: { error } }, JSON.stringify(body))
    }
  })

  t.test('answers malformed JSON with an empty page', async t => {
    const { provider } = await start(t)
    const headers = { 'content-type': 'application/json', authorization: provider.basicAuth() }
    const answer = await provider.send('/oauth/token', { method: 'POST', headers, body: '{"grant_type":' })
    t.match(answer, { status: 400, text: '' })
    t.match(answer.headers.get('content-type'), 'text/html')
  })

  t.test('exists for POST alone, and for bodies of a bearable size', async t => {
    const { provider } = await start(t)
    for (const method of ['GET', 'HEAD', 'PUT']) {
      t.equal((await provider.send('/oauth/token', { method })).status, 404, method)
    }
    t.equal((await provider.refresh('x'.repeat(64 * 1024))).status, 413)
  })
})

t.test('a legacy provider', async t => {
  t.test('answers 401 to every token error', async t => {
    const { provider } = await start(t, { legacy: true })
    const { refresh_token } = await provider.grant()
    t.match(await provider.refresh('unknown'), { status: 401, body: { error: 'invalid_grant' } })
    t.match(await provider.refresh(refresh_token, { scope: 'pay' }), { status: 401, body: { error: 'invalid_scope' } })
    t.match(await provider.sendJson('/oauth/token', {}), { status: 401, body: { error: 'invalid_request' } })
    t.equal((await provider.refresh(refresh_token)).status, 200)
  })

  t.test('says invalid_request to the losers of a race, and invalid_grant to who comes later', async t => {
    const { provider } = await start(t, { legacy: true })
    const { refresh_token } = await provider.grant()
    const answers = await provider.race('refresh', 3, () => provider.refresh(refresh_token))
    t.same(answers.map(({ status }) => status).toSorted(), [200, 401, 401])
    t.same(new Set(answers.map(({ body }) => body.error)), new Set([undefined, 'invalid_request']))
    t.match((await provider.refresh(refresh_token)).body, { error: 'invalid_grant' })
  })
})

t.test('users.json', async t => {
  t.test('makes a user and hands out the first pair', async t => {
    const { provider, clock } = await start(t)
    const created = await provider.createUser('internal-42', { email: 'ignored@example.com' })
    t.equal(created.status, 201)
    t.match(created.body, {
      access_token: /^[0-9a-f]{64}$/,
      token_type: 'bearer',
      expires_in: 7200,
      refresh_token: /^[0-9a-f]{64}$/,
      scope: 'member_public',
      created_at: Math.floor(clock.ms / 1000),
      guid: /^[0-9a-f]{32}$/,
    })
    t.notMatch(created.text, 'a password')
    const { access_token, refresh_token, guid } = tokensOf(created)
    t.same((await provider.me(access_token)).body, { guid, username: 'internal-42' })
    t.equal(tokensOf(await provider.refresh(refresh_token)).scope, 'member_public')
    t.equal((await provider.grant({ username: 'internal-42' })).guid, guid, 'the person can sign in as well')
  })

  t.test('refuses a taken name, also the slower of two at the same moment', async t => {
    const { provider } = await start(t)
    const { guid } = await provider.grant({ username: 'ada' })
    const taken = { status: 422, body: { errors: { username: ['has already been taken'] } } }
    t.match(await provider.createUser('ada'), taken)
    t.equal(await provider.livePairs(guid), 1)
    const answers = await provider.race('users', 2, () => provider.createUser('bob'))
    t.same(answers.map(({ status }) => status).toSorted(), [201, 422])
  })

  t.test('names what is missing, and checks the credentials before that', async t => {
    const { provider } = await start(t)
    const blank = ["can't be blank"]
    t.match(await provider.sendJson('/api/v2.1/users.json', {}), {
      status: 422,
      body: { errors: { username: blank, password: blank } },
    })
    t.same((await provider.createUser('ada', { password: '' })).body, { errors: { password: blank } })
    const refused = await provider.sendJson('/api/v2.1/users.json', {}, wrongSecret(provider))
    t.match(refused, { status: 401, body: { error: 'invalid_client' } })
  })
})

t.test('a bearer token that is no good', async t => {
  const { provider } = await start(t)
  const unknown = await provider.me('unknown')
  t.match(unknown, { status: 401, text: '' })
  t.match(unknown.headers.get('www-authenticate'), /error="invalid_token".*is invalid/)
  t.equal((await provider.send('/api/v2.1/me.json')).status, 401, 'and none at all')
  const { access_token } = await provider.grant({ scope: 'pay' })
  t.equal((await provider.me(access_token, 'pay')).status, 200, 'unlike one with the scope')
})

t.test('revoke', async t => {
  t.test('kills both halves, by either one', async t => {
    const { provider } = await start(t)
    for (const half of ['access_token', 'refresh_token'] as const) {
      const pair = await provider.grant()
      const answer = await provider.revoke(pair[half])
      t.match(answer, { status: 200, text: '{}' }, half)
      t.equal((await provider.me(pair.access_token)).status, 401, half)
      t.match((await provider.refresh(pair.refresh_token)).body, { error: 'invalid_grant' }, half)
    }
  })

  t.test('answers 200 for an unknown token and for none', async t => {
    const { provider } = await start(t)
    t.match(await provider.revoke('unknown'), { status: 200, text: '{}' })
    t.match(await provider.sendJson('/oauth/revoke', {}), { status: 200, text: '{}' })
  })

  t.test('answers 200 and does nothing once the access token has expired', async t => {
    const { provider, clock } = await start(t)
    const pair = await provider.grant()
    clock.ms += 7200 * 1000
    t.match(await provider.revoke(pair.refresh_token), { status: 200, text: '{}' })
    const fresh = tokensOf(await provider.refresh(pair.refresh_token))
    await provider.revoke(fresh.refresh_token)
    t.match((await provider.refresh(fresh.refresh_token)).body, { error: 'invalid_grant' }, 'refreshed first, it works')
  })

  t.test('refuses wrong credentials', async t => {
    const { provider } = await start(t)
    const pair = await provider.grant()
    const refused = await provider.sendJson('/oauth/revoke', { token: pair.access_token }, wrongSecret(provider))
    t.match(refused, { status: 403, body: { error: 'unauthorized_client' } })
    t.equal((await provider.me(pair.access_token)).status, 200)
  })
})

const APP = { appId: 'an app', appSecret: 'its secret', redirectUris: ['https://www.mywebsite.com/'] }

t.test('starting', async t => {
  t.test('refuses any address but this machine', async t => {
    const options = { ...APP, port: 0 }
    for (const host of ['0.0.0.0', '::', '192.0.2.1', 'example.com', '']) {
      await t.rejects(startSandbox({ ...options, host }), /host must be one of 127\.0\.0\.1, ::1, localhost/, host)
    }
    t.match((await start(t)).provider.options.url, /^http:\/\/127\.0\.0\.1:\d+$/)
    t.match((await start(t, { host: 'localhost' })).provider.options.url, /^http:\/\/localhost:\d+$/)
  })

  t.test('refuses options that make no sense', async t => {
    const cases: [Partial<SandboxOptions>, RegExp][] = [
      [{ appSecret: '' }, /appSecret must not be empty/],
      [{ redirectUris: [] }, /at least one redirect URI/],
      [{ redirectUris: ['/callback'] }, /not a usable redirect URI/],
      [{ redirectUris: ['https://www.mywebsite.com/#here'] }, /not a usable redirect URI/],
      [{ tokenLifetimeSeconds: 0 }, /tokenLifetimeSeconds/],
    ]
    for (const [options, message] of cases) {
      await t.rejects(startSandbox({ ...APP, port: 0, ...options }), message)
    }
  })

  t.test('closes under a request that is still waiting', async t => {
    const { provider, close } = await start(t)
    await provider.addFault({ operation: 'me', kind: 'latency', latency_ms: 600_000 })
    const waiting = provider.me('whatever').catch(() => 'gone')
    while ((await provider.counts()).faults.latency === undefined);
    await close()
    await waiting
    t.pass('closed long before the latency was over')
  })

  t.test('logs no query strings', async t => {
    const lines: string[] = []
    const logger = { level: 'info', stream: { write: (line: string) => lines.push(line) } }
    const { provider } = await start(t, { logger })
    await provider.send('/oauth/token?refresh_token=a-secret', { method: 'POST' })
    t.match(lines.join(''), '"path":"/oauth/token"')
    t.notMatch(lines.join(''), 'a-secret')
  })
})
