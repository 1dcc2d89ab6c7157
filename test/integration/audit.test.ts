import { appendFileSync, readFileSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { verifyAudit } from '../../src/cli/audit.ts'
import { newAuditKey, newEncryptionKey } from '../../src/cli/keys.ts'
import { auditLinesIn } from '../support/audit.ts'
import { startRedis } from '../support/redis.ts'
import { type GatewayClient, startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())
const store = new Redis(redis.port)
t.teardown(() => store.disconnect())

interface Line {
  readonly stream: string
  readonly seq: number
  readonly event: string
  readonly by: string
  readonly caller: string | null
  readonly guid: string | null
  readonly version: number | null
  readonly token: string | null
  readonly request_id: string | null
  readonly outcome: string
  readonly status: number | null
  readonly remote: string | null
}

/** A line, in part; or what it has to be, by the answer's body. */
type Expected = Partial<Line> | ((body: Partial<Line>) => Partial<Line>)

let stacks = 0

/** A stack whose gateways write their audit lines into a file, and how that file is looked at. */
async function auditedStack(t: Test, sandboxOptions: Parameters<typeof startStack>[2] = {}) {
  const path = `${t.testdir()}/audit.log`
  stacks += 1
  const audit = { AUDIT_LOG: path, AUDIT_KEY: newAuditKey(), REDIS_PREFIX: `audit${process.pid}.${stacks}` }
  const stack = await startStack(t, redis.url, sandboxOptions, audit)
  const lines = () => auditLinesIn(readFileSync(path, 'utf8')).map(line => JSON.parse(line) as Line)

  async function verify(files: readonly string[] = [path], withStore = true) {
    const printed: string[] = []
    const environment = { ...audit, ...(withStore ? { REDIS_URL: redis.url } : {}) }
    const code = await verifyAudit(files, { json: true, partial: false }, line => printed.push(line), environment)
    return { code, ...JSON.parse(printed.join('')) }
  }
  return { ...stack, audit, path, lines, verify }
}

/** The lines of one request. */
function of(lines: readonly Line[], requestId: string): readonly Line[] {
  return lines.filter(line => line.request_id === requestId)
}

t.test('each thing that can be asked for has its line', async t => {
  const { sandbox, redirectUri, gateway, lines, path, verify, keyFor } = await auditedStack(t)
  const client = await gateway()
  let requests = 0
  const expected: [string, Partial<Line>][] = []

  async function ask(line: Expected, method: string, path: string, body?: unknown, headers = {}) {
    requests += 1
    const id = `request-${requests}`
    const answer = await client.send(method, path, body, { 'x-request-id': id, ...headers })
    const common = { by: 'caller', caller: 'everything', remote: '127.0.0.1', outcome: 'ok', request_id: id }
    expected.push([
      `${method} ${path}`,
      {
        ...common,
        guid: null,
        version: null,
        token: null,
        status: answer.status,
        ...(typeof line === 'function' ? line(answer.body) : line),
      },
    ])
    return answer
  }
  /** A fingerprint, of whatever. */
  const some = /^[\w-]{22}$/ as unknown as string

  const answered = (event: string) => (body: Partial<Line>) =>
    ({ event, token: some, guid: body.guid, version: body.version }) as Partial<Line>

  // Anybody can say these: `remote` is whose connection it is.
  const claimed = {
    'x-forwarded-for': '203.0.113.9',
    'x-real-ip': '203.0.113.9',
    forwarded: 'for=203.0.113.9;proto=https',
    'x-forwarded-host': 'elsewhere.example',
    'x-forwarded-proto': 'https',
  }
  const made = (await ask(answered('user.provision'), 'POST', '/v1/users', { username: 'ada' }, claimed)).body
  const { guid } = made
  await ask({ event: 'token.read', guid, version: 1, token: some }, 'GET', `/v1/grants/${guid}/token`)
  await ask({ event: 'token.read', guid, version: 1, token: some }, 'HEAD', `/v1/grants/${guid}/token`)
  await ask({ event: 'token.refresh', guid, version: 2, token: some }, 'POST', `/v1/grants/${guid}/refresh`, {
    version: 1,
  })
  await ask({ event: 'grant.read', guid, version: 2 }, 'GET', `/v1/grants/${guid}`)
  await ask({ event: 'grant.list' }, 'GET', '/v1/grants?limit=5')
  await ask({ event: 'overview.read' }, 'GET', '/v1/overview')
  const pair = { access_token: 'an-access-token', refresh_token: 'a-refresh-token', expires_in: 7200 }
  await ask({ event: 'grant.import', guid: 'bob', version: 1, token: some }, 'PUT', '/v1/grants/bob', pair)
  await ask({ event: 'grant.revoke', guid: 'bob' }, 'DELETE', '/v1/grants/bob')
  const code = await sandbox.code()
  const exchange = { code, redirect_uri: redirectUri }
  await ask(answered('grant.exchange'), 'POST', '/v1/grants', exchange)
  await ask({ event: 'authorization.begin', guid: 'ada' }, 'POST', '/v1/authorizations', { guid: 'ada' })
  const { state } = (await ask({ event: 'authorization.begin' }, 'POST', '/v1/authorizations', {})).body
  const browser = { by: 'browser', caller: null }
  const back = `/tap-in/callback?state=${state}&code=${await sandbox.code({ state })}`
  await ask({ event: 'tap_in.callback', ...browser, outcome: 'authorization_code_rejected' }, 'GET', back)
  await ask({ event: 'authorization.read' }, 'GET', `/v1/authorizations/${state}`)

  const refused = [
    [
      { event: 'token.read', guid, caller: null, outcome: 'unauthorized' },
      'GET',
      `/v1/grants/${guid}/token`,
      { authorization: 'Bearer x' },
    ],
    [
      { event: 'token.read', guid, caller: 'grant-read', outcome: 'forbidden' },
      'GET',
      `/v1/grants/${guid}/token`,
      { authorization: `Bearer ${keyFor('grant:read')}` },
    ],
    [
      { event: 'grant.revoke', guid, caller: 'grant-read', outcome: 'forbidden' },
      'DELETE',
      `/v1/grants/${guid}`,
      { authorization: `Bearer ${keyFor('grant:read')}` },
    ],
    [{ event: 'grant.read', guid: 'nobody', outcome: 'grant_not_found' }, 'GET', '/v1/grants/nobody', {}],
    [{ event: 'grant.read', outcome: 'validation_failed' }, 'GET', '/v1/grants/a%20b', {}],
    [{ event: 'user.provision', outcome: 'validation_failed' }, 'POST', '/v1/users', {}],
    [
      { event: 'tap_in.callback', ...browser, outcome: 'state_invalid' },
      'GET',
      '/tap-in/callback?state=unknown&code=c',
      {},
    ],
    [{ event: 'tap_in.callback', ...browser, outcome: 'state_invalid' }, 'GET', '/tap-in/callback', {}],
  ] as const
  for (const [line, method, path, headers] of refused)
    await ask(line, method, path, method === 'POST' ? {} : undefined, headers)
  const unaudited = ['/nothing', '/health/ready', '/docs', '/openapi.json', '/console']
  for (const path of unaudited) await client.send('GET', path, undefined, { 'x-request-id': 'unaudited' })
  await client.close()

  const written = lines()
  for (const [what, line] of expected) {
    const found = of(written, line.request_id ?? '')
    t.equal(found.length, 1, `${what}: one line`)
    t.match(found[0], line, what)
  }
  t.strictSame(of(written, 'unaudited'), [])
  t.match(
    written.filter(line => line.by === 'gateway' && !line.event.startsWith('audit.')),
    [
      { event: 'grant.renewed', caller: null, guid, version: 2, outcome: 'ok', request_id: null, status: null },
      { event: 'grant.revoked', caller: null, guid: 'bob', version: 1, outcome: 'ok' },
    ],
  )
  t.match(written[0], { event: 'audit.opened', gateway: /^\d/, key: /^[0-9a-f]{16}$/, previous: null })
  t.equal(written.at(-1)?.event, 'audit.closed')

  const tokens = (event: string) => written.filter(line => line.event === event).map(line => line.token)
  t.equal(
    new Set([...tokens('user.provision').slice(0, 1), ...tokens('token.read').slice(0, 2)]).size,
    1,
    'one token, one fingerprint',
  )
  t.not(tokens('token.refresh')[0], tokens('token.read')[0], 'another token, another one')
  const text = readFileSync(path, 'utf8')
  for (const secret of [made.access_token, code, state, pair.access_token, pair.refresh_token]) {
    t.notOk(text.includes(secret), 'no secret stands there')
  }
  t.match(await verify(), { code: 0, ok: true, store: 'compared', streams: [{ status: 'closed' }] })
})

t.test('the hosted callback says who is connected, and who was not', async t => {
  const { sandbox, gateway, lines } = await auditedStack(t, { pkce: false })
  const client = await gateway({ RETURN_TO_ORIGINS: 'https://app.example', HEALTHTAP_PKCE: 'false' })
  const begin = async (more: object = {}) => (await client.send('POST', '/v1/authorizations', more)).body.state
  const back = (query: string, id: string) =>
    client.send('GET', `/tap-in/callback?${query}`, undefined, { 'x-request-id': id })
  const [shown, sent, denied] = [
    await begin(),
    await begin({ return_to: 'https://app.example/' }),
    await begin({ return_to: 'https://app.example/' }),
  ]
  await back(`state=${shown}&code=${await sandbox.code({ state: shown })}`, 'shown')
  await back(`state=${sent}&code=${await sandbox.code({ state: sent })}`, 'sent')
  await back(`state=${denied}&error=access_denied`, 'denied')
  const { guid } = (await client.get(`/v1/authorizations/${shown}`)).body
  await client.close()
  t.match(of(lines(), 'shown'), [
    { event: 'tap_in.callback', by: 'browser', outcome: 'ok', status: 200, guid, version: 1, token: null },
  ])
  t.match(of(lines(), 'sent'), [{ outcome: 'ok', status: 303, guid: /./ }])
  t.match(of(lines(), 'denied'), [{ outcome: 'access_denied', status: 303, guid: null }])
  t.match(
    lines().filter(line => line.event === 'authorization.read'),
    [{ guid }],
  )
})

t.test('what the gateway does by itself', async t => {
  const { sandbox, gateway, lines, audit } = await auditedStack(t)
  const client = await gateway()
  const { guid } = (await client.send('POST', '/v1/users', { username: 'ada' })).body
  const [key = ''] = await store.keys(`${audit.REDIS_PREFIX}:*:grant:${guid}`)
  const before = (await store.getBuffer(key)) ?? ''
  await client.send('POST', `/v1/grants/${guid}/refresh`, { version: 1 })
  await store.set(key, before)
  t.match(await client.get(`/v1/grants/${guid}/token`), { status: 200, body: { version: 2 } })
  await sandbox.send(`/sandbox/revoke-user/${guid}`, { method: 'POST' })
  t.match(await client.send('POST', `/v1/grants/${guid}/refresh`, { version: 2 }), { status: 409 })
  await client.close()
  const own = lines()
    .filter(line => line.by === 'gateway')
    .map(({ event, guid: whose, version, outcome }) => [event, whose, version, outcome])
  t.strictSame(own, [
    ['audit.opened', null, null, 'ok'],
    ['grant.renewed', guid, 2, 'ok'],
    ['grant.restored', guid, 2, 'ok'],
    ['grant.ended', guid, 2, 'reauthorization_required'],
    ['audit.closed', null, null, 'ok'],
  ])
  t.match(
    lines().filter(line => line.event === 'token.refresh'),
    [{ outcome: 'ok' }, { outcome: 'reauthorization_required', guid, version: null, token: null }],
  )
})

t.test('who hangs up before the answer comes has a line all the same', async t => {
  const { gateway, lines, apiKey, sandbox, audit } = await auditedStack(t)
  const client = await gateway()
  await sandbox.addFault({ operation: 'users', kind: 'latency', latency_ms: 300, times: 1 })
  const { port } = new URL(client.url)
  const body = JSON.stringify({ username: 'ada' })
  const head = `POST /v1/users HTTP/1.1\r\nHost: x\r\nX-Request-Id: gone\r\nAuthorization: Bearer ${apiKey}\r\n`
  const socket = createConnection(Number(port), '127.0.0.1')
  socket.write(`${head}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`, () => {
    // The request has to arrive first: the sandbox sees it, and then nobody waits any more.
    const look = async () => {
      if ((await store.keys(`${audit.REDIS_PREFIX}:*:username:*`)).length > 0) socket.destroy()
      else setImmediate(look)
    }
    look()
  })
  await new Promise(resolve => socket.once('close', resolve))
  await client.close()
  t.match(of(lines(), 'gone'), [{ event: 'user.provision', caller: 'everything', version: 1 }])
})

async function readTimes(client: GatewayClient, count: number): Promise<void> {
  for (let index = 0; index < count; index += 1) await client.get('/v1/grants/nobody')
}

t.test('the store knows how far a stream has come: an end that was cut off is found', async t => {
  const { gateway, path, lines, verify, audit } = await auditedStack(t)
  const client = await gateway()
  await readTimes(client, 5)
  const headSeq = async () => {
    const [text = '{}'] = await store.hvals(`${audit.REDIS_PREFIX}:audit:heads`)
    return JSON.parse(text).seq
  }
  while ((await headSeq()) !== 6) await new Promise(resolve => setImmediate(resolve))
  t.match(await verify(), { code: 0, streams: [{ status: 'open', last_seq: 6 }] }, 'while it runs')
  await readTimes(client, 3)
  await client.close()
  t.equal(await headSeq(), 10)
  t.ok((await store.ttl(`${audit.REDIS_PREFIX}:audit:heads`)) > 365 * 86_400)
  const whole = readFileSync(path, 'utf8')
  t.equal(lines().length, 10)
  const cut = whole.split('\n').slice(0, 7).join('\n')
  writeFileSync(path, `${cut}\n`)
  t.match(await verify(), { code: 1, ok: false, faults: [{ kind: 'cut_off', text: /^lines 8 to 10 are missing/ }] })
  t.match(await verify([path], false), { code: 0, store: 'none', notes: [{ text: /cannot be told/ }] })

  const again = await gateway()
  await readTimes(again, 1)
  await again.close()
  t.match(await verify([path], false), { code: 0 }, 'the next stream goes on from what it finds')
  t.match(await verify(), { code: 1, faults: [{ kind: 'cut_off' }] })
  writeFileSync(path, whole)
  t.match(
    await verify(),
    { code: 0, notes: [{ text: /the store knows this stream/ }] },
    'one that is gone as a whole is told',
  )
})

t.test('a stream without a request in it leaves nothing in the store', async t => {
  const { gateway, audit, verify } = await auditedStack(t)
  await (await gateway()).close()
  t.equal(await store.exists(`${audit.REDIS_PREFIX}:audit:heads`), 0)
  t.match(await verify(), { code: 0 })
})

t.test('rotation, and what verifies which file', async t => {
  const { gateway, path, verify } = await auditedStack(t)
  const client = await gateway()
  await readTimes(client, 2)
  renameSync(path, `${path}.1`)
  client.reopenAudit()
  await readTimes(client, 2)
  await client.close()
  t.match(await verify([`${path}.1`, path]), { code: 0, streams: [{ lines: 8, status: 'closed' }] })
  t.match(await verify([path]), { code: 0 })
  t.match(await verify([`${path}.1`]), { code: 0, streams: [{ status: 'rotated' }] })
  appendFileSync(path, readFileSync(`${path}.1`))
  t.match(await verify([path]), { code: 1 })
})

t.test('a disk that is full: readiness says so, requests go on, and so does the stream when it is not', async t => {
  const { gateway, path, logged, verify } = await auditedStack(t)
  symlinkSync('/dev/full', path)
  const client = await gateway()
  const ready = async (status: string) => {
    for (;;) {
      const { body, status: code } = await client.get('/health/ready')
      if (body.status === status) return { code, ...body }
    }
  }
  const troubled = await ready('degraded')
  t.match(troubled, { code: 200 })
  t.match(
    troubled.checks.find((check: { name: string }) => check.name === 'audit'),
    { status: 'degraded', detail: /ENOSPC/ },
  )
  t.match(await client.send('POST', '/v1/users', { username: 'ada' }), { status: 201 })
  unlinkSync(path)
  client.reopenAudit()
  await ready('ok')
  await client.close()
  t.match(await verify(), { code: 0, streams: [{ status: 'closed' }] })
  const told = logged.map(line => JSON.parse(line)).filter(line => /audit lines/.test(line.msg))
  t.match(told, [{ level: 'error', code: 'ENOSPC' }, { level: 'info' }])
  t.equal(told.length, 2)
})

t.test(
  'the key: AUDIT_KEY, or derived from the first encryption key; and without the right one nothing is taken for good',
  async t => {
    const { gateway, path } = await auditedStack(t)
    const [first, second] = [newEncryptionKey(), newEncryptionKey()]
    const client = await gateway({ AUDIT_KEY: '', ENCRYPTION_KEYS: first })
    await readTimes(client, 2)
    await client.close()
    const verifyWith = async (environment: Record<string, string>) => {
      const printed: string[] = []
      const code = await verifyAudit([path], { json: false, partial: false }, line => printed.push(line), environment)
      return [code, printed.join('\n')]
    }
    t.match(await verifyWith({ ENCRYPTION_KEYS: `${second},${first}` }), [0, /4 lines in 1 streams: no faults\.$/])
    t.match(await verifyWith({ AUDIT_KEY: newAuditKey(), ENCRYPTION_KEYS: first }), [0, /stream \S+ {2}closed/])
    t.match(await verifyWith({ ENCRYPTION_KEYS: second }), [
      1,
      /FAULT .*audit\.log:1 {2}stream \S+ {2}written by the key [0-9a-f]{16}, which is not known/,
    ])
    t.match(await verifyWith({ ENCRYPTION_KEYS: first, REDIS_URL: 'redis://127.0.0.1:1' }), [
      1,
      /FAULT {2}The store does not answer/,
    ])
    await t.rejects(verifyWith({}), /AUDIT_KEY is missing/)
    await t.rejects(verifyWith({ AUDIT_KEY: 'short', REDIS_URL: 'nowhere' }), /AUDIT_KEY has(.|\n)*REDIS_URL has/)
  },
)

t.test('without a file, the lines go where the log goes', async t => {
  const { gateway, logged } = await startStack(t, redis.url)
  const client = await gateway()
  await readTimes(client, 1)
  await client.close()
  const events = auditLinesIn(logged.join('')).map(line => JSON.parse(line).event)
  t.strictSame(events, ['audit.opened', 'grant.read', 'audit.closed'])
})
