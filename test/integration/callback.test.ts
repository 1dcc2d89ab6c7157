/** The browser's side of a Tap-in: what a state is good for, where a browser may be sent, and what its answers carry. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, request as httpsRequest } from 'node:https'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { Secret } from '../../src/ports/secret.ts'
import { startApp } from '../support/app.ts'
import { type RawAnswer, requestRaw } from '../support/raw.ts'
import { startRedis } from '../support/redis.ts'
import { type GatewayClient, startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

const ORIGINS = 'https://good.example,https://good.example:8443'
/** As they are asked for, and where the browser goes in the end. */
const ALLOWED: readonly [string, string][] = [
  ['https://good.example', 'https://good.example/?state=STATE'],
  ['HTTPS://GOOD.EXAMPLE/path?x=1#part', 'https://good.example/path?x=1&state=STATE#part'],
  ['https://good.example:443/a', 'https://good.example/a?state=STATE'],
  ['https://good.example:8443/a', 'https://good.example:8443/a?state=STATE'],
  ['https://good.example//evil.example/', 'https://good.example//evil.example/?state=STATE'],
  ['https://good.example/@evil.example', 'https://good.example/@evil.example?state=STATE'],
  ['https://good.example/?state=forged&state=more', 'https://good.example/?state=STATE'],
  ['https://good.example/%0d%0aset-cookie:a=b', 'https://good.example/%0d%0aset-cookie:a=b?state=STATE'],
  ['https://good.example/ä?ö', 'https://good.example/%C3%A4?%C3%B6=&state=STATE'],
  ['https:good.example', 'https://good.example/?state=STATE'],
]
const NOT_ALLOWED: readonly string[] = [
  'https://good.example.evil.example/',
  'https://evil.example/',
  'https://evilgood.example/',
  'https://good.example@evil.example/',
  'https://good.example:x@evil.example/',
  'https://good.example%40evil.example/',
  'https://user@good.example/',
  'https://user:password@good.example/',
  'https://good.example:444/',
  'https://good.example:8444/',
  'http://good.example/',
  'http://good.example:443/',
  'https://good.example./',
  'https://good.example%2eevil.example/',
  'https://good.example%00.evil.example/',
  'https://gооd.example/',
  'https://good.examplе/',
  'https://ɡood.example/',
  '//good.example/',
  '//evil.example/',
  '///evil.example/',
  '////good.example@evil.example',
  '/path',
  '/\\evil.example',
  'path',
  'good.example',
  'https:\\\\evil.example',
  'https://evil.example\\@good.example/',
  'https://good.example\\@evil.example/',
  'https://good.example\\.evil.example/',
  'https://evil.example#@good.example/',
  'https://evil.example?@good.example/',
  'https://evil.example/https://good.example/',
  ' https://good.example/',
  'https://good.example/ ',
  'https://good.example/a b',
  'https://good.exa\tmple/',
  'https://good.example/\r\nset-cookie: a=b',
  'https://good.example/\n',
  'https://good.example/\0',
  'https://good.example/\u2028',
  'java\nscript:alert(1)',
  'javascript:alert(1)',
  'JavaScript://good.example/%0aalert(1)',
  'data:text/html,<script>alert(1)</script>',
  'vbscript:x',
  'blob:https://good.example/0f438894',
  'filesystem:https://good.example/temporary/x',
  'view-source:https://good.example/',
  'file:///etc/passwd',
  'ftp://good.example/',
  'wss://good.example/',
  'myapp://good.example/',
  'about:blank',
  'null',
  '*',
  'https://',
  'https:',
  '',
]

t.test('return_to: where a browser may be sent, as it is asked for', async t => {
  const { send } = await startApp(t, { RETURN_TO_ORIGINS: ORIGINS })
  for (const returnTo of NOT_ALLOWED) {
    const answer = await send('POST', '/v1/authorizations', { return_to: returnTo })
    t.equal(answer.statusCode, 400, encodeURI(returnTo))
    t.match(answer.json(), { code: 'return_to_not_allowed', errors: [{ path: '/return_to' }] })
  }
  for (const [returnTo, expected] of ALLOWED) {
    const begun = await send('POST', '/v1/authorizations', { return_to: returnTo })
    t.equal(begun.statusCode, 201, returnTo)
    const { state } = begun.json()
    const answer = await send('GET', `/tap-in/callback?state=${state}&error=access_denied`)
    t.equal(answer.statusCode, 303)
    t.equal(answer.headers.location, expected.replace('STATE', state))
    t.equal(answer.headers['referrer-policy'], 'no-referrer')
    t.equal(answer.headers['cache-control'], 'no-store')
  }
})

t.test('return_to: where a browser is sent, whatever stands in the store', async t => {
  const { provider, stores, clock, send } = await startApp(t, { RETURN_TO_ORIGINS: ORIGINS })
  for (const [index, returnTo] of [...NOT_ALLOWED, 'https://no-more-allowed.example/'].entries()) {
    for (const answer of [`code=c${index}`, 'error=access_denied']) {
      const state = `s-${index}-${answer.slice(0, 4)}`
      await stores.authorizations.write(state, 0, {
        state,
        redirectUri: 'https://app.example/cb',
        scope: 'profile_read',
        returnTo: new Secret(returnTo),
        expectedGuid: null,
        codeVerifier: null,
        status: 'pending',
        exchangeKey: null,
        guid: null,
        error: null,
        expiresAtMs: clock.now() + 60_000,
      })
      const page = await send('GET', `/tap-in/callback?state=${state}&${answer}`)
      t.ok([200, 403, 400].includes(page.statusCode), `${encodeURI(returnTo)}: ${page.statusCode}`)
      t.equal(page.headers.location, undefined, 'a page, and nowhere to go')
      t.match(page.headers['content-type'], 'text/html')
    }
  }
  t.ok(provider.times('exchange') > 0)
})

t.test('a state is good for one answer, in time, with its own redirect_uri', async t => {
  const settings = { HEALTHTAP_REDIRECT_URIS: 'https://app.example/cb,myapp://oauth/healthtap' }
  const { provider, clock, send } = await startApp(t, settings)
  const begin = async (more = {}) => (await send('POST', '/v1/authorizations', more)).json().state as string
  const callback = (state: string, code: string) => send('GET', `/tap-in/callback?state=${state}&code=${code}`)

  const used = await begin()
  t.equal((await callback(used, 'c1')).statusCode, 200)
  for (const code of ['c1', 'c2']) t.match(await callback(used, code), { statusCode: 400, body: /cannot be used/ })
  t.match(await send('GET', `/tap-in/callback?state=${used}&error=access_denied`), { statusCode: 400 })
  t.match((await send('GET', `/v1/authorizations/${used}`)).json(), { status: 'connected' }, 'its outcome stands')
  t.equal(provider.times('exchange'), 1)

  const raced = await begin()
  const answers = await Promise.all(['c3', 'c4', 'c5', 'c6'].map(code => callback(raced, code)))
  t.strictSame(answers.map(({ statusCode }) => statusCode).sort(), [200, 400, 400, 400])
  t.equal(provider.times('exchange'), 2, 'one code was sent')
  const again = await begin()
  const same = await Promise.all(['c7', 'c7', 'c7'].map(code => callback(again, code)))
  t.ok(same.some(({ statusCode }) => statusCode === 200))
  t.equal(provider.times('exchange'), 3, 'the same code, too, is sent once')

  const late = await begin()
  await clock.advance(10 * 60_000)
  t.match(await callback(late, 'c8'), { statusCode: 400, body: /cannot be used/ })
  t.match((await send('GET', `/v1/authorizations/${late}`)).json(), { status: 'failed', error: 'expired' })

  const bound = await begin({ redirect_uri: 'myapp://oauth/healthtap' })
  const exchange = (redirectUri: string, code = 'c9') =>
    send('POST', '/v1/grants', { code, redirect_uri: redirectUri, state: bound })
  t.match((await exchange('https://app.example/cb')).json(), { status: 400, code: 'state_invalid' })
  t.equal(provider.times('exchange'), 3, 'nothing of it was sent')
  t.equal((await exchange('myapp://oauth/healthtap')).statusCode, 201, 'and it is still good where it belongs')
  t.match((await exchange('myapp://oauth/healthtap', 'c10')).json(), { code: 'state_invalid' })

  for (const state of ['', 'unknown', '%00', 'a'.repeat(129), '__proto__', '..%2f..', '%e0%80%af']) {
    for (const query of ['code=c11', 'error=access_denied', '', 'code=', 'code=a&code=b', 'code=c11&state=x']) {
      const answer = await send('GET', `/tap-in/callback?state=${state}&${query}`)
      t.match(answer, { statusCode: 400, headers: { 'content-type': /^text\/html/ } }, `${state} ${query}`)
    }
  }
  t.equal(provider.times('exchange'), 4)
})

const pkceOf = (authorizationUrl: string) => ({
  code_challenge: new URL(authorizationUrl).searchParams.get('code_challenge') ?? '',
  code_challenge_method: 'S256',
})

t.test('a code that was not given for this authorization is worth nothing, and two replicas accept one', async t => {
  const { sandbox, gateway } = await startStack(t, redis.url)
  const replicas = [await gateway(), await gateway()] as [GatewayClient, GatewayClient]
  const [first] = replicas
  const begin = async () => (await first.send('POST', '/v1/authorizations', {})).body
  const [theirs, mine] = [await begin(), await begin()]
  const stolen = await sandbox.code(pkceOf(theirs.authorization_url))
  t.match(await first.get(`/tap-in/callback?state=${mine.state}&code=${stolen}`), {
    status: 400,
    body: /not connected/,
  })
  t.match(await first.get(`/v1/authorizations/${mine.state}`), {
    body: { status: 'failed', error: 'authorization_code_rejected' },
  })
  const redirectUri = sandbox.options.redirectUri
  t.match(await first.send('POST', '/v1/grants', { code: stolen, redirect_uri: redirectUri }), {
    status: 400,
    body: { code: 'authorization_code_rejected' },
  })
  t.equal((await sandbox.counts()).totals.exchange?.ok, undefined, 'without its verifier it opens nothing')
  t.match(await first.get(`/tap-in/callback?state=${theirs.state}&code=${stolen}`), { status: 200 }, 'with it, it does')

  const raced = await begin()
  const codes = [
    await sandbox.code(pkceOf(raced.authorization_url)),
    await sandbox.code(pkceOf(raced.authorization_url)),
  ]
  const answers = await Promise.all(
    codes.map((code, index) => replicas[index % 2]?.get(`/tap-in/callback?state=${raced.state}&code=${code}`)),
  )
  t.strictSame(answers.map(answer => answer?.status).sort(), [200, 400])
  t.equal((await sandbox.counts()).totals.exchange?.ok, 2)
})

/** What every page, and every way on from here, has to carry; each header once. */
function isGuarded(t: Test, answer: RawAnswer, name: string): void {
  const head = answer.text.split('\r\n\r\n')[0]?.toLowerCase().split('\r\n').slice(1) ?? []
  const names = head.map(line => line.split(':')[0])
  t.equal(new Set(names).size, names.length, `${name}: each header once`)
  const expected: Record<string, RegExp | string> = {
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'x-frame-options': 'DENY',
    'cache-control': 'no-store',
  }
  for (const [header, value] of Object.entries(expected))
    t.equal(answer.headers.get(header), value, `${name}: ${header}`)
  const policy = answer.headers.get('content-security-policy') ?? ''
  for (const part of ["default-src 'none'", "frame-ancestors 'none'"]) t.ok(policy.includes(part), `${name}: ${part}`)
  t.notMatch(policy, /unsafe|\*|http/)
  for (const absent of ['set-cookie', 'x-injected', 'strict-transport-security', 'x-powered-by', 'server']) {
    t.notOk(names.includes(absent), `${name}: no ${absent}`)
  }
}

t.test('no answer can be split, and each is guarded', async t => {
  const { gateway } = await startStack(t, redis.url)
  const { url, send, doors } = await gateway({ RETURN_TO_ORIGINS: 'https://good.example', PUBLIC_PORT: '0' })
  const begin = async (returnTo: string) =>
    (await send('POST', '/v1/authorizations', { return_to: returnTo })).body.state
  const BREAKS = [
    '%0d%0ax-injected:%20yes',
    '%0ax-injected:yes',
    '%0dx-injected:yes',
    '%0d%0a%0d%0a<b>',
    '%E5%98%8D%E5%98%8Ax-injected:yes',
    '%00',
  ]
  for (const door of [url, doors.public ?? '']) {
    for (const broken of BREAKS) {
      const state = await begin(`https://good.example/${broken}?a=${broken}#${broken}`)
      const targets: readonly [string, number][] = [
        [`/tap-in/callback?state=${broken}&code=c`, 400],
        [`/tap-in/callback?state=${await begin('https://good.example')}&code=${broken}`, 303],
        [`/tap-in/callback?state=${await begin('https://good.example')}&error=${broken}`, 303],
        [`/tap-in/callback?state=${state}&error=access_denied&error_description=${broken}`, 303],
        [`/tap-in/callback?${broken}=${broken}`, 400],
        [`/${broken}`, 404],
      ]
      for (const [target, status] of targets) {
        const answer = await requestRaw(door, 'GET', target)
        t.equal(answer.status, status, target)
        isGuarded(t, answer, target.slice(0, 60))
        t.notMatch(answer.body, /x-injected|<b>/, 'nor does the page repeat it')
        if (status === 303) t.match(answer.headers.get('location'), /^https:\/\/good\.example\/[\x21-\x7e]+$/)
      }
    }
    for (const id of ['a\tb', 'a b', 'a,b', '<b>', 'a'.repeat(129), 'é', '', '{"a":1}', '%0d%0ax-injected:yes']) {
      const answer = await requestRaw(door, 'GET', '/tap-in/callback?state=a&code=b', [`x-request-id: ${id}`])
      t.match(answer.headers.get('x-request-id'), /^[0-9a-f-]{36}$/, `x-request-id: ${id}`)
      isGuarded(t, answer, 'x-request-id')
    }
  }
})

t.test('over TLS, browsers are told to stay there', async t => {
  const { app } = await startApp(t)
  const dir = t.testdir({})
  const [key, cert] = [`${dir}/key.pem`, `${dir}/cert.pem`]
  const args = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj', '/CN=localhost']
  await promisify(execFile)('openssl', [...args, '-keyout', key, '-out', cert])
  const server = createServer({ key: await readFile(key), cert: await readFile(cert) }, app.routing).listen(
    0,
    '127.0.0.1',
  )
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  for (const path of ['/tap-in/callback?state=a', '/health/live', '/v1/grants', '/nothing']) {
    const request = httpsRequest({ host: '127.0.0.1', port, path, rejectUnauthorized: false, agent: false }).end()
    const [response] = await once(request, 'response')
    response.resume()
    t.equal(response.headers['strict-transport-security'], 'max-age=31536000', path)
  }
})
