/** Every route of the API, whoever comes: with nothing, with something wrong, with each permission, shown in each way. */
import t, { type Test } from 'tap'
import { Agent, request } from 'undici'
import { PERMISSIONS, type Permission } from '../../src/callers/caller.ts'
import { newCaller } from '../../src/cli/keys.ts'
import { type Certificate, selfSigned, signedBy } from '../support/certificates.ts'
import { AUDIENCE, ISSUER, startIssuer } from '../support/issuer.ts'
import { startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

const ROUTES: Readonly<Record<string, { needs: Permission; path?: string; body?: unknown }>> = {
  'POST /v1/authorizations': { needs: 'authorize', body: {} },
  'GET /v1/authorizations/{state}': { needs: 'authorize', path: '/v1/authorizations/abc' },
  'POST /v1/grants': { needs: 'authorize', body: { code: 'c', redirect_uri: 'r' } },
  'POST /v1/users': { needs: 'provision', body: { username: 'u' } },
  'GET /v1/grants/{guid}/token': { needs: 'token:read', path: '/v1/grants/g/token' },
  'POST /v1/tokens': { needs: 'token:read', body: { guids: ['g'] } },
  'POST /v1/grants/{guid}/refresh': { needs: 'token:refresh', path: '/v1/grants/g/refresh', body: { version: 1 } },
  'GET /v1/grants/{guid}': { needs: 'grant:read', path: '/v1/grants/g' },
  'GET /v1/grants': { needs: 'grant:read' },
  'GET /v1/overview': { needs: 'grant:read' },
  'PUT /v1/grants/{guid}': {
    needs: 'grant:write',
    path: '/v1/grants/g',
    body: { access_token: 'a', refresh_token: 'r', expires_in: 1 },
  },
  'DELETE /v1/grants/{guid}': { needs: 'grant:write', path: '/v1/grants/g' },
}

interface Shown {
  readonly authorization?: string
  readonly certificate?: Certificate
}

/** A gateway behind TLS, callers of each kind with one permission each, and a way to ask as one of them. */
async function startGuarded(t: Test) {
  const [ca, stranger] = [await selfSigned(t, 'ca'), await selfSigned(t, 'stranger')]
  const server = await signedBy(t, ca, 'server', { subject: '/CN=localhost', san: 'DNS:localhost,IP:127.0.0.1' })
  const issuer = await startIssuer(t, Date.now())
  const kinds = await Promise.all(
    PERMISSIONS.map(async permission => {
      const { apiKey, entry } = newCaller(`key.${permission.replace(':', '-')}`, [permission])
      const uri = `spiffe://example/${permission.replace(':', '/')}`
      const certificate = await signedBy(t, ca, 'client', { subject: '/CN=client', san: `URI:${uri}` })
      const token = await issuer.token({ sub: permission })
      const named = { permissions: [permission] }
      const entries = [
        entry,
        { ...named, name: `jwt.${permission.replace(':', '-')}`, jwt: { issuer: ISSUER, subject: permission } },
        { ...named, name: `tls.${permission.replace(':', '-')}`, certificate: { san: `URI:${uri}` } },
      ]
      const shown: Record<string, Shown> = {
        'API key': { authorization: `Bearer ${apiKey}` },
        JWT: { authorization: `Bearer ${token}` },
        'JWT scope': { authorization: `Bearer ${await issuer.token({ sub: 'anybody', scope: permission })}` },
        certificate: { certificate },
      }
      return { permission, entries, shown }
    }),
  )
  const anybody = { name: 'anybody', permissions: ['*'], jwt: { issuer: ISSUER } }
  const everything = newCaller('everything', ['*'])
  const { gateway, sandbox } = await startStack(
    t,
    redis.url,
    {},
    {
      CALLERS: JSON.stringify([everything.entry, anybody, ...kinds.flatMap(({ entries }) => entries)]),
      JWT_ISSUERS: JSON.stringify([{ issuer: ISSUER, audience: AUDIENCE, jwks_url: issuer.jwksUrl }]),
      TLS_CERT: server.cert,
      TLS_KEY: server.key,
      TLS_CLIENT_CA: ca.cert,
    },
  )
  const { url } = await gateway()
  const agents = new Map<Certificate | undefined, Agent>()
  t.teardown(async () => {
    for (const agent of agents.values()) await agent.destroy()
  })

  async function ask(route: string, { authorization, certificate }: Shown) {
    const [method = '', template = ''] = route.split(' ')
    const { path = template, body } = ROUTES[route] ?? {}
    const identity = certificate === undefined ? {} : { cert: certificate.cert, key: certificate.key }
    const agent = agents.get(certificate) ?? new Agent({ connect: { ca: ca.cert, ...identity } })
    agents.set(certificate, agent)
    const response = await request(`${url}${path}`, {
      method: method as 'GET',
      dispatcher: agent,
      headers: {
        ...(authorization === undefined ? {} : { authorization }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: body === undefined ? null : JSON.stringify(body),
    })
    if (path.startsWith('/v1')) t.equal(response.headers['cache-control'], 'no-store', `${route}: kept by no cache`)
    const text = await response.body.text()
    return { status: response.statusCode, headers: response.headers, body: text === '' ? null : JSON.parse(text) }
  }

  return { ask, ca, everything, issuer, kinds, sandbox, server, stranger }
}

t.test('the matrix', async t => {
  const { ask, ca, everything, issuer, kinds, server, stranger } = await startGuarded(t)
  const document = (await ask('GET /openapi.json', {})).body
  const routes = Object.entries(document.paths as Record<string, object>)
    .filter(([path]) => path.startsWith('/v1'))
    .flatMap(([path, methods]) => Object.keys(methods).map(method => `${method.toUpperCase()} ${path}`))
  t.strictSame(routes.sort(), Object.keys(ROUTES).sort(), 'every route that there is')

  const nobody: Record<string, Shown> = {
    nothing: {},
    'an empty header': { authorization: '' },
    'no token': { authorization: 'Bearer' },
    'a wrong key': { authorization: 'Bearer htgw_wrong' },
    'another scheme': { authorization: `Basic ${Buffer.from(`everything:${everything.apiKey}`).toString('base64')}` },
    'a key and more': { authorization: `Bearer ${everything.apiKey} x` },
    'a key changed': { authorization: `Bearer ${everything.apiKey.slice(0, -1)}` },
    "a caller's hash": { authorization: `Bearer ${everything.entry.key_sha256}` },
    'a token for somebody else': {
      authorization: `Bearer ${await issuer.token({ aud: 'else', scope: 'grant:read' })}`,
    },
    'an expired token': { authorization: `Bearer ${await issuer.token({ exp: 1, scope: 'grant:read' })}` },
    'a certificate of a stranger': { certificate: stranger },
    'a certificate of nobody': { certificate: server },
    'a wrong key beside a good certificate': {
      authorization: 'Bearer wrong',
      certificate: kinds[0]?.shown.certificate?.certificate as Certificate,
    },
    "the authority's own certificate": { certificate: ca },
  }
  for (const route of routes) {
    const needed = ROUTES[route]?.needs
    for (const [name, shown] of Object.entries(nobody)) {
      const answer = await ask(route, shown)
      t.match(answer, { status: 401, body: { code: 'unauthorized', status: 401 } }, `${route}: ${name}`)
      t.match(answer.headers['www-authenticate'], /^Bearer/)
      t.notMatch(JSON.stringify(answer.body), everything.apiKey.slice(0, 20))
    }
    for (const { permission, shown } of kinds) {
      for (const [kind, credentials] of Object.entries(shown)) {
        const answer = await ask(route, credentials)
        const what = `${route}: ${kind} with ${permission}`
        if (permission === needed) t.notOk([401, 403, 500].includes(answer.status), what)
        else t.match(answer, { status: 403, body: { code: 'forbidden', detail: new RegExp(`${needed}`) } }, what)
      }
    }
    const answer = await ask(route, { authorization: `Bearer ${everything.apiKey}` })
    t.notOk([401, 403, 500].includes(answer.status), `${route}: everything`)
  }
})

t.test('a narrowed caller reaches its own alone, by every route', async t => {
  const [all, ofAda, reader] = [newCaller('all', ['*']), newCaller('of-ada', ['*']), newCaller('reader', ['*'])]
  const entries = [all.entry, { ...ofAda.entry, guids: ['ada'] }, { ...reader.entry, scopes: ['profile_read'] }]
  const { gateway, redirectUri, sandbox } = await startStack(t, redis.url, {}, { CALLERS: JSON.stringify(entries) })
  const client = await gateway()
  async function as(caller: { apiKey: string }, method: string, path: string, body?: unknown) {
    const answer = await client.send(method, path, body, { authorization: `Bearer ${caller.apiKey}` })
    t.equal(answer.headers.get('cache-control'), 'no-store', `${method} ${path}: kept by no cache`)
    return answer
  }
  for (const [guid, scope] of [
    ['ada', 'profile_read'],
    ['bob', 'profile_read'],
    ['eve', 'profile_read profile_write'],
  ]) {
    const pair = { access_token: `access-${guid}`, refresh_token: `refresh-${guid}`, expires_in: 7000, scope }
    t.match(await as(all, 'PUT', `/v1/grants/${guid}`, pair), { status: 201 })
  }
  const listed = async (caller: { apiKey: string }) => {
    const { body } = await as(caller, 'GET', '/v1/grants')
    return body.items.map(({ guid }: { guid: string }) => guid).sort()
  }
  t.strictSame(
    [await listed(all), await listed(ofAda), await listed(reader)],
    [['ada', 'bob', 'eve'], ['ada'], ['ada', 'bob']],
  )

  const forbidden = { status: 403, body: { code: 'forbidden' } }
  const ways = (guid: string): [string, string, unknown?][] => [
    ['GET', `/v1/grants/${guid}`],
    ['GET', `/v1/grants/${guid}/token`],
    ['POST', `/v1/grants/${guid}/refresh`, { version: 9 }],
    ['PUT', `/v1/grants/${guid}`, { access_token: 'x', refresh_token: 'y', expires_in: 60 }],
    ['DELETE', `/v1/grants/${guid}`],
  ]
  for (const [caller, guid] of [
    [ofAda, 'bob'],
    [ofAda, 'nobody'],
    [reader, 'eve'],
  ] as const) {
    for (const [method, path, body] of ways(guid)) {
      t.match(await as(caller, method, path, body), forbidden, `${guid}: ${method} ${path}`)
    }
  }
  for (const [caller, results] of [
    [all, [{ token: { guid: 'eve' } }, { token: { guid: 'bob' } }, { token: { guid: 'ada' } }]],
    [ofAda, [{ problem: forbidden.body }, { problem: forbidden.body }, { token: { guid: 'ada' } }]],
    [reader, [{ problem: forbidden.body }, { token: { guid: 'bob' } }, { token: { guid: 'ada' } }]],
  ] as const) {
    const { body } = await as(caller, 'POST', '/v1/tokens', { guids: ['eve', 'bob', 'ada'] })
    t.match(body, { results }, 'of many, each by itself')
  }
  t.match(await as(all, 'GET', '/v1/grants/eve/token'), {
    status: 200,
    body: { access_token: 'access-eve', version: 1 },
  })
  t.match(await as(ofAda, 'GET', '/v1/grants/ada/token'), { status: 200 })
  t.match(await as(reader, 'GET', '/v1/grants/bob/token'), { status: 200 })
  const more = { access_token: 'x', refresh_token: 'y', expires_in: 60, scope: 'profile_write' }
  t.match(await as(reader, 'PUT', '/v1/grants/new', more), forbidden)

  t.match(await as(ofAda, 'POST', '/v1/users', { username: '4711' }), forbidden)
  t.match(await as(ofAda, 'POST', '/v1/authorizations', {}), forbidden)
  t.match(await as(ofAda, 'POST', '/v1/authorizations', { guid: 'bob' }), forbidden)
  t.match(await as(reader, 'POST', '/v1/authorizations', { scope: 'profile_write' }), forbidden)
  t.match(await as(reader, 'POST', '/v1/authorizations', { scope: 'profile_read' }), { status: 201 })
  const begun = await as(ofAda, 'POST', '/v1/authorizations', { guid: 'ada' })
  t.match(begun, { status: 201 })
  t.match(await as(ofAda, 'GET', `/v1/authorizations/${begun.body.state}`), { status: 200 })
  const others = await as(all, 'POST', '/v1/authorizations', {})
  t.match(await as(ofAda, 'GET', `/v1/authorizations/${others.body.state}`), forbidden)
  const exchange = async (scope: string) => ({ code: await sandbox.code({ scope }), redirect_uri: redirectUri })
  t.match(await as(ofAda, 'POST', '/v1/grants', await exchange('profile_read')), forbidden)
  const wide = await exchange('profile_read profile_write')
  t.match(await as(reader, 'POST', '/v1/grants', wide), forbidden)
  const exchanged = await as(all, 'POST', '/v1/grants', await exchange('profile_read'))
  t.match(exchanged, { status: 201 })
  const { guid } = exchanged.body
  t.match(await as(reader, 'GET', `/v1/grants/${guid}`), { status: 200 })
  t.match(await as(reader, 'POST', `/v1/grants/${guid}/refresh`, { version: 1 }), { status: 200 })
  t.match(await as(reader, 'DELETE', `/v1/grants/${guid}`), { status: 204 })
})

t.test('what a narrowed caller may not do has no effect', async t => {
  const [all, ofAda, reader] = [newCaller('all', ['*']), newCaller('of-ada', ['*']), newCaller('reader', ['*'])]
  const entries = [all.entry, { ...ofAda.entry, guids: ['ada'] }, { ...reader.entry, scopes: ['profile_read'] }]
  const { gateway, redirectUri, sandbox } = await startStack(t, redis.url, {}, { CALLERS: JSON.stringify(entries) })
  const client = await gateway()
  const as = (caller: { apiKey: string }, method: string, path: string, body?: unknown) =>
    client.send(method, path, body, { authorization: `Bearer ${caller.apiKey}` })
  const forbidden = { status: 403, body: { code: 'forbidden' } }
  const pair = { access_token: 'access', refresh_token: 'refresh', expires_in: 7000 }

  // By a username somebody else would be found, who is provisioned later.
  t.match(await as(ofAda, 'PUT', '/v1/grants/ada', { ...pair, username: '4711' }), forbidden)
  t.match(await as(reader, 'PUT', '/v1/grants/new', { ...pair, scope: 'profile_read', username: '4711' }), forbidden)
  t.match(await as(all, 'PUT', '/v1/grants/ada', { ...pair, username: 'ada' }), { status: 201 })
  t.match(await as(ofAda, 'PUT', '/v1/grants/ada', { ...pair, username: 'ada', access_token: 'b' }), { status: 200 })
  t.match(await as(ofAda, 'PUT', '/v1/grants/ada', { ...pair, username: '4711' }), forbidden)
  t.match(await as(all, 'GET', '/v1/grants?username=4711'), { body: { items: [] } })

  // The scope that a grant would have is looked at, also where nobody names it.
  t.match(await as(reader, 'PUT', '/v1/grants/wide', pair), forbidden)
  t.match(await as(all, 'GET', '/v1/grants/wide'), { status: 404 })

  // A code whose scope is too wide: what stands is left as it is, and what came is given back.
  const narrow = await sandbox.code({ scope: 'profile_read', username: 'bob' })
  const { guid } = (await as(reader, 'POST', '/v1/grants', { code: narrow, redirect_uri: redirectUri })).body
  const wide = await sandbox.code({ scope: 'profile_read profile_write', username: 'bob' })
  t.match(await as(reader, 'POST', '/v1/grants', { code: wide, redirect_uri: redirectUri }), forbidden)
  t.match(await as(all, 'GET', `/v1/grants/${guid}`), { body: { version: 1, scope: 'profile_read' } })
  const isRevoked = async () => (await sandbox.counts()).grants[guid]?.revocations === 1
  while (!(await isRevoked()));
  const token = (await as(all, 'GET', `/v1/grants/${guid}/token`)).body.access_token
  t.equal((await sandbox.me(token)).status, 200, 'the one that stood is good')

  const before = (await sandbox.counts()).totals.users
  t.match(await as(reader, 'POST', '/v1/users', { username: 'somebody' }), forbidden)
  t.strictSame((await sandbox.counts()).totals.users, before, 'nobody was made')
})
