/** A provider, or whoever stands in for it, that answers with everything but what is agreed: on a real connection. */
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import type { Outcome } from '../../src/ports/provider.ts'
import { Secret } from '../../src/ports/secret.ts'
import { createHealthTap, type HealthTap } from '../../src/provider/healthtap.ts'
import { startApp } from '../support/app.ts'
import { type HostileServer, type Reply, startHostile, wire } from '../support/hostile.ts'
import { startStranger } from '../support/stranger.ts'

const ACCESS = 'a1'.repeat(32)
const REFRESH = 'b2'.repeat(32)
const PAIR = {
  access_token: ACCESS,
  token_type: 'bearer',
  expires_in: 7199,
  refresh_token: REFRESH,
  guid: 'c3'.repeat(16),
}
const json = (body: object, status = 200, headers: readonly string[] = []) =>
  wire(status, JSON.stringify(body), ['content-type: application/json', ...headers])
const pairWith = (more: object) => json({ ...PAIR, ...more })

type Kind = Outcome<never>['kind'] | 'unreadable' | 'silent'
/** Of requests that bring tokens; of a revocation; of the question whose token it is; of a probe; of a refresh, where it differs. */
type Kinds = readonly [tokens: Kind, revoke: Kind, identify: Kind, probe: Kind, refresh?: Kind]

const UNREADABLE: Kinds = ['unreadable', 'ok', 'unreadable', 'unreadable']
const SILENT: Kinds = ['silent', 'silent', 'silent', 'silent']
const REFUSED: Kinds = ['refused', 'refused', 'refused', 'refused']
const GOOD: Kinds = ['ok', 'ok', 'ok', 'ok']

/** Writes a little every now and then, until the other side has had enough. */
function trickle(first: string | Buffer, more: string): Reply {
  return socket => {
    socket.write(first)
    const timer = setInterval(() => socket.write(more), 20)
    socket.once('close', () => clearInterval(timer))
  }
}

const flood: Reply = socket => {
  socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n')
  const chunk = `4000\r\n${' '.repeat(0x4000)}\r\n`
  const pour = () => {
    while (!socket.destroyed && socket.write(chunk));
  }
  socket.on('drain', pour)
  pour()
}

const GZIP = 'content-encoding: gzip\r\n'
const CHUNKED = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'
const BOMB = gzipSync(`{"access_token":"${' '.repeat(20_000_000)}"}`)
const nested = (depth: number) => `${'[{"a":'.repeat(depth)}1${'}]'.repeat(depth)}`
const text = JSON.stringify(PAIR)

const chunk = (body: string | Buffer, length = Buffer.byteLength(body)) =>
  Buffer.concat([Buffer.from(`${length.toString(16)}\r\n`), Buffer.from(body), Buffer.from('\r\n')])
const sized = (length: number, body: string | Buffer, more = '', status = 200) =>
  Buffer.concat([Buffer.from(`HTTP/1.1 ${status} x\r\n${more}content-length: ${length}\r\n\r\n`), Buffer.from(body)])
const closing = (bytes: string | Buffer): Reply => {
  return socket => socket.end(bytes)
}

const CASES: readonly [string, Reply, Kinds][] = [
  ['as agreed', json(PAIR), GOOD],
  ['as HTML, it says', wire(200, text, ['content-type: text/html']), GOOD],
  ['of no type', wire(200, text), GOOD],
  ['in another charset, it says', wire(200, text, ['content-type: application/json; charset=utf-16']), GOOD],
  ['after a byte order mark', wire(200, `\ufeff${text}`), GOOD],
  [
    'in chunks',
    `HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`,
    GOOD,
  ],
  ['after hints', Buffer.concat([Buffer.from('HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n'), json(PAIR)]), GOOD],
  ['with cookies', json(PAIR, 200, ['set-cookie: a=b', 'set-cookie: c=d']), GOOD],
  ['names twice', wire(200, text.replace('{', '{"access_token":"first","error":"invalid_grant","error":1,')), GOOD],
  ['a pair beside an error', pairWith({ error: 'invalid_grant' }), ['ok', 'rejected', 'rejected', 'ok']],
  ['much nested beside it', wire(200, text.replace('{', `{"x":${nested(5_000)},`)), GOOD],
  ['lifetimes that are none', pairWith({ expires_in: -1, refresh_token_expires_in: {} }), GOOD],
  ['lifetimes without end', wire(200, text.replace('7199', '1e400')), GOOD],

  ['in UTF-16', wire(200, Buffer.from(text, 'utf16le')), UNREADABLE],
  ['compressed, unasked', wire(200, gzipSync(text), ['content-encoding: gzip']), GOOD],
  ['compressed, under an old name', wire(200, gzipSync(text), ['content-encoding: X-GZIP']), GOOD],
  ['deflated', wire(200, deflateSync(text), ['content-encoding: deflate']), GOOD],
  ['deflated without a head', wire(200, deflateRawSync(text), ['content-encoding: deflate']), GOOD],
  ['compressed by brotli', wire(200, brotliCompressSync(text), ['content-encoding: br']), GOOD],
  [
    'compressed three times',
    wire(200, brotliCompressSync(gzipSync(deflateSync(text))), [
      'content-encoding: deflate, gzip',
      'content-encoding: br',
    ]),
    GOOD,
  ],
  ['compressed, it says', wire(200, text, ['content-encoding: gzip']), GOOD],
  ['in its identity', wire(200, text, ['content-encoding: identity']), GOOD],
  ['a compressed bomb', wire(200, BOMB, ['content-encoding: gzip']), UNREADABLE],
  ['a bomb in a bomb', wire(200, gzipSync(BOMB), ['content-encoding: gzip, gzip']), UNREADABLE],
  ['compressed and cut off', wire(200, gzipSync(text).subarray(0, -12), ['content-encoding: gzip']), UNREADABLE],
  ['compressed in another way', wire(200, brotliCompressSync(text), ['content-encoding: gzip']), UNREADABLE],
  ['in a coding that is none', wire(200, gzipSync(text), ['content-encoding: bomb']), UNREADABLE],
  ['nothing', wire(200, ''), UNREADABLE],
  ['no content', 'HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n', UNREADABLE],
  ['reset content', wire(205, ''), UNREADABLE],
  ['HTML', wire(200, '<!DOCTYPE html><title>Sign in</title>', ['content-type: text/html']), UNREADABLE],
  ['NUL', wire(200, '\0'.repeat(100)), UNREADABLE],
  ['nested without end', wire(200, '[{"a":'.repeat(10_000)), UNREADABLE],
  ['a list', wire(200, `[${text}]`), UNREADABLE],
  ['two', wire(200, `${text}\n${text}`), UNREADABLE],
  ['cut off, it is all', wire(200, text.slice(0, -1)), UNREADABLE],

  [
    'tokens in a prototype',
    wire(200, `{"__proto__":${text},"constructor":{"prototype":${text}}}`),
    ['unreadable', 'ok', 'ok', 'unreadable'],
  ],
  ['a type that fools', pairWith({ token_type: { toString: 1, valueOf: 1 } }), GOOD],
  ['a type that is none', pairWith({ token_type: null }), GOOD],
  ...['a\r\nset-cookie: b', 'a\0b', 'tökén', '', ' ', 'x'.repeat(16_385), 7, null, [ACCESS], { a: ACCESS }].flatMap(
    (token): [string, Reply, Kinds][] => {
      const text = encodeURI(JSON.stringify(token)).slice(0, 20)
      const unusable = ['unreadable', 'ok', 'ok', 'unreadable'] as const
      return [
        [`access_token: ${text}`, pairWith({ access_token: token }), unusable],
        [`refresh_token: ${text}`, pairWith({ refresh_token: token }), [...unusable, 'ok']],
      ]
    },
  ),
  ...['a b', 'x'.repeat(8_193), `${ACCESS}\n`].flatMap(token =>
    ['access_token', 'refresh_token'].map((name): [string, Reply, Kinds] => [
      `${name}: ${encodeURI(token).slice(-20)}`,
      pairWith({ [name]: token }),
      GOOD,
    ]),
  ),

  ['invalid_grant', json({ error: 'invalid_grant' }, 400), ['rejected', 'rejected', 'rejected', 'ok']],
  // At revocation it is about the token; elsewhere about us.
  [
    'unauthorized_client',
    json({ error: 'unauthorized_client' }, 403),
    ['client_refused', 'refused', 'client_refused', 'client_refused'],
  ],
  ['an error of no kind', json({ error: { toString: 'invalid_grant' } }, 400), REFUSED],
  ['an error in a prototype', wire(400, '{"__proto__":{"error":"invalid_grant"}}'), REFUSED],
  ['an error of the language', json({ error: 'constructor' }, 400), REFUSED],

  ['server error', wire(500, '<html>'), ['unknown', 'unknown', 'unknown', 'unknown']],
  ['a status that is none', wire(999, text), ['unknown', 'unknown', 'unknown', 'unknown']],
  [
    'too many, for ever',
    wire(429, '', ['retry-after: 99999999999', 'retry-after: 1']),
    ['unavailable', 'unavailable', 'unavailable', 'unavailable'],
  ],

  ['a word too long', wire(200, text.padStart(64 * 1024 + 1)), SILENT],
  ['a word without end', flood, SILENT],
  ['headers without end', trickle('HTTP/1.1 200 OK\r\n', `x: ${'a'.repeat(9_000)}\r\n`), SILENT],
  ['headers that do not come', trickle('HTTP/1.1 200 OK\r\n', 'x: a\r\n'), SILENT],
  ['a body that does not come', trickle('HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n', ' '), SILENT],
  // A whole object has come, and the frame around it is broken.
  ['a pair, and a length that is too long', closing(sized(text.length + 1, text)), GOOD],
  ['a pair, and a length that does not come', sized(text.length + 1, text), GOOD],
  ['a pair, and more that does not come', trickle(sized(60_000, text), ' '), GOOD],
  ['a pair without a last chunk', closing(`${CHUNKED}${chunk(text)}`), GOOD],
  ['a pair, and a last chunk that does not come', `${CHUNKED}${chunk(text)}`, GOOD],
  ['a pair in half a chunk', closing(`${CHUNKED}${chunk(text, 0xfff)}`), GOOD],
  ['a pair in two chunks', closing(`${CHUNKED}${chunk(text.slice(0, 40))}${chunk(text.slice(40))}`), GOOD],
  ['a pair, and a last chunk that is none', `${CHUNKED}${chunk(text)}zz\r\n`, GOOD],
  ['a pair, and far too much space', wire(200, text.padEnd(64 * 1024 + 1)), GOOD],
  ['a pair, compressed, and no end', closing(sized(4_000, gzipSync(text), GZIP)), GOOD],
  // Not a whole object, or no pair, or no success.
  ['a pair, compressed and cut off', closing(sized(4_000, gzipSync(text).subarray(0, -12), GZIP)), SILENT],
  ['a pair without its last byte', closing(sized(text.length, text.slice(0, -1))), SILENT],
  ['a pair, cut within a token', closing(sized(text.length, text.slice(0, text.indexOf(REFRESH) + 20))), SILENT],
  ['a pair with a last byte that does not come', sized(text.length, text.slice(0, -1)), SILENT],
  ['a pair, and the beginning of more', closing(sized(4_000, `${text}{`)), SILENT],
  ['a lone access token, and no end', closing(sized(4_000, JSON.stringify({ access_token: ACCESS }))), SILENT],
  ['an error, and no end', closing(sized(4_000, '{"error":"invalid_grant"}', '', 400)), SILENT],
  ['a pair that is no success, and no end', closing(sized(4_000, text, '', 500)), SILENT],
  ['silence', () => {}, SILENT],
  ['farewell', socket => socket.destroy(), SILENT],
  ['half a word', socket => socket.end(json(PAIR).subarray(0, -5)), SILENT],
  ['half a chunk', socket => socket.end(`${CHUNKED}fff\r\n${text.slice(0, -1)}`), SILENT],
  ['two lengths', `HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: ${text.length}\r\n\r\n${text}`, SILENT],
  ['another protocol', 'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n', SILENT],
  ['no HTTP', 'SSH-2.0-OpenSSH_9.6\r\n', SILENT],
]

const OPERATIONS = ['refresh', 'exchange', 'createUser', 'revoke', 'identify', 'probe'] as const
type Operation = (typeof OPERATIONS)[number]

function ask(provider: HealthTap, operation: Operation): Promise<Outcome<unknown>> {
  switch (operation) {
    case 'refresh':
      return provider.refresh(new Secret(REFRESH))
    case 'exchange':
      return provider.exchange({ code: new Secret('c'), redirectUri: 'https://app.example/cb', codeVerifier: null })
    case 'createUser':
      return provider.createUser({ username: 'u', password: new Secret('p'), attributes: {} })
    case 'revoke':
      return provider.revoke(new Secret(REFRESH))
    case 'identify':
      return provider.identify(new Secret(ACCESS))
    case 'probe':
      return provider.probe()
  }
}

function kindOf(outcome: Outcome<unknown>): Kind {
  if (outcome.kind !== 'unknown') return outcome.kind
  if (outcome.unreadable) return 'unreadable'
  return outcome.settled ? 'unknown' : 'silent'
}

function healthTap(t: Test, server: Pick<HostileServer, 'url'>, timeoutMs: number): HealthTap {
  const provider = createHealthTap({
    appId: 'app',
    appSecret: new Secret('secret'),
    appSecretNext: null,
    authorizeUrl: server.url,
    apiUrl: server.url,
    identityUrl: `${server.url}/me`,
    identityPointer: '/guid',
    redirectUri: 'https://app.example/cb',
    timeoutMs,
    connections: 8,
  })
  t.teardown(() => provider.close())
  return provider
}

/** Those that end by the deadline alone are given a short one; the others end long before theirs. */
const WAITS = /that do not come|that does not come|silence/

t.test('what each answer is taken for, whatever was asked', async t => {
  const server = await startHostile(t)
  const [patient, impatient] = [healthTap(t, server, 60_000), healthTap(t, server, 150)]
  for (const [name, reply, [tokens, revoke, identify, probe, refresh = tokens]] of CASES) {
    server.answer(reply)
    const provider = WAITS.test(name) ? impatient : patient
    const expected: Record<Operation, Kind> = {
      refresh,
      exchange: tokens,
      createUser: tokens,
      revoke,
      identify,
      probe,
    }
    for (const operation of OPERATIONS) {
      const outcome = await ask(provider, operation)
      t.equal(kindOf(outcome), expected[operation], `${operation}: ${name}`)
      if (outcome.kind !== 'ok') t.notMatch(JSON.stringify(outcome), new RegExp(`${ACCESS}|${REFRESH}`))
    }
    if (expected.refresh !== 'silent') continue
    while (server.answered.size > 0) await new Promise(resolve => setImmediate(resolve))
  }
  t.equal(({} as { error?: unknown }).error, undefined, 'no prototype has changed')
  for (const head of server.heads) t.match(head, /accept-encoding: identity/i)
})

t.test('a redirect is followed by nothing, with credentials or without', async t => {
  const [server, elsewhere] = [await startHostile(t), await startHostile(t)]
  elsewhere.answer(json(PAIR))
  const provider = healthTap(t, server, 60_000)
  for (const status of [300, 301, 302, 303, 305, 307, 308]) {
    for (const to of [elsewhere.url, `${server.url}/other`, '/other', '//127.0.0.1/x', 'file:///etc/passwd']) {
      server.answer(json(PAIR, status, [`location: ${to}`, `refresh: 0; url=${to}`]))
      for (const operation of OPERATIONS) {
        t.equal((await ask(provider, operation)).kind, 'refused', `${operation}: ${status} to ${to}`)
      }
    }
  }
  t.strictSame(elsewhere.heads, [])
  t.strictSame(
    server.heads.filter(head => head.includes('/other')),
    [],
  )
})

t.test('a provider whose certificate nobody knows is told nothing', async t => {
  const stranger = await startStranger(t, PAIR)
  const provider = healthTap(t, stranger, 60_000)
  for (const operation of OPERATIONS) t.equal((await ask(provider, operation)).kind, 'unavailable', operation)
  t.match(stranger.counts(), { requests: 0 })
  t.ok(stranger.counts().connections >= OPERATIONS.length, 'it was there to be told')
})

t.test('whose tokens they are: what is no name is none', async t => {
  const server = await startHostile(t)
  const provider = healthTap(t, server, 60_000)
  const guids: readonly [string, string | null][] = [
    ['"f01bdaf1"', 'f01bdaf1'],
    ['4711', '4711'],
    ['"."', null],
    ['".."', null],
    ['"../../health"', null],
    ['"a/b"', null],
    ['"a\\r\\nset-cookie: b"', null],
    ['"a\\u0000"', null],
    ['"{s001}"', null],
    ['"<b>"', null],
    ['"gü"', null],
    [`"${'x'.repeat(129)}"`, null],
    ['9007199254740993', null],
    ['12345678901234567890', null],
    ['1e400', null],
    ['1.5', null],
    ['true', null],
    ['{"toString":"f01bdaf1"}', null],
    ['["f01bdaf1"]', null],
  ]
  for (const [given, guid] of guids) {
    server.answer(wire(200, text.replace(/"guid":"\w+"/, `"guid":${given}`)))
    t.match(await ask(provider, 'exchange'), { kind: 'ok', value: { guid } }, given.slice(0, 30))
    t.match(await ask(provider, 'identify'), { kind: 'ok', value: guid }, given.slice(0, 30))
  }
  for (const scope of ['a\r\nb', 'ü', 'x'.repeat(2_001)]) {
    server.answer(pairWith({ scope }))
    t.match(await ask(provider, 'refresh'), { kind: 'ok', value: { scope: null } })
  }
})

/** One of each kind, since each takes a gateway of its own: after a few of them a breaker would not ask any more. */
const COSTLY =
  /^(nothing|no content|HTML|compressed and cut|tokens in a prototype|access_token: %22a%5C|an error of (no kind|the)|server|too many|a word|silence|farewell|half a word|another)/

t.test('no answer but invalid_grant costs anybody their grant', async t => {
  const server = await startHostile(t)
  const costly = CASES.filter(([name]) => COSTLY.test(name))
  t.equal(costly.length, 17)
  for (const [name, reply] of costly) {
    server.answer(reply)
    const provider = healthTap(t, server, WAITS.test(name) ? 150 : 60_000)
    const { send, stores } = await startApp(t, {}, provider)
    const imported = { access_token: 'old-access', refresh_token: 'old-refresh', expires_in: 7200 }
    t.equal((await send('PUT', '/v1/grants/ada', imported)).statusCode, 201)
    const reported = await send('POST', '/v1/grants/ada/refresh', { version: 1 })
    t.ok([502, 503, 504].includes(reported.statusCode), `${name}: ${reported.statusCode}`)
    const grant = (await stores.grants.read('ada'))?.record
    t.ok(grant?.status === 'active' || grant?.status === 'in_doubt', `${name}: ${grant?.status}`)
    t.equal(grant?.pair.refreshToken.reveal(), 'old-refresh')
    t.equal(grant?.version, 1)
  }
})

t.test('a refresh that brings no refresh token makes a version with the one that was sent', async t => {
  const server = await startHostile(t)
  const { send, stores } = await startApp(t, {}, healthTap(t, server, 60_000))
  const imported = { access_token: 'old-access', refresh_token: 'old-refresh', expires_in: 7200 }
  t.equal((await send('PUT', '/v1/grants/ada', imported)).statusCode, 201)
  const { refresh_token: _, ...lone } = PAIR
  const answers = [lone, { ...lone, refresh_token: null }, { ...lone, refresh_token: '' }, PAIR]
  for (const [index, body] of answers.entries()) {
    const accessToken = `access-${index}`
    server.answer(json({ ...body, access_token: accessToken }))
    const version = index + 1
    const reported = await send('POST', '/v1/grants/ada/refresh', { version })
    t.match(reported, { statusCode: 200 })
    t.match(reported.json(), { version: version + 1, access_token: accessToken })
    const grant = (await stores.grants.read('ada'))?.record
    t.match(grant, { status: 'active', version: version + 1, attempt: null, doubtUntilMs: null })
    t.equal(grant?.pair.refreshToken.reveal(), body === PAIR ? REFRESH : 'old-refresh')
  }
})
