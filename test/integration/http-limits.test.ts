/** What one client can do to the HTTP server, on real sockets; the time-outs are those of production, shortened. */
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import t from 'tap'
import type { HttpLimits } from '../../src/http-limits.ts'
import { selfSigned } from '../support/certificates.ts'
import { everythingFrom, open, parse, requestRaw, sendRaw } from '../support/raw.ts'
import { startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

/** None of them is short; a test takes one of them and shortens it. */
const PATIENT: HttpLimits = {
  maxConnections: 100,
  headersTimeoutMs: 60_000,
  requestTimeoutMs: 60_000,
  keepAliveTimeoutMs: 60_000,
  silenceMs: 60_000,
  checkEveryMs: 20,
}
const CANARY = 'canary-3f91'

t.test('what cannot be read is answered with a problem that quotes nothing, and the connection ends', async t => {
  const { gateway, apiKey } = await startStack(t, redis.url)
  const { url, doors } = await gateway({ PUBLIC_PORT: '0' })
  const post = `POST /v1/users HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${apiKey}\r\ncontent-type: application/json\r\n`
  const cases: readonly [string, string, number][] = [
    ['no HTTP at all', `${CANARY}\r\n\r\n`, 400],
    ['another version of it', `GET /${CANARY} HTTP/9.9\r\nhost: a\r\n\r\n`, 400],
    ['a method that there is not', `${CANARY} / HTTP/1.1\r\nhost: a\r\n\r\n`, 400],
    ['NUL in the target', `GET /${CANARY}\0 HTTP/1.1\r\nhost: a\r\n\r\n`, 400],
    ['a header that is none', `GET / HTTP/1.1\r\nhost: a\r\n${CANARY}\r\n\r\n`, 400],
    ['a header name with a space', `GET / HTTP/1.1\r\nhost: a\r\n${CANARY} : b\r\n\r\n`, 400],
    ['a bare line feed in a header', `GET / HTTP/1.1\r\nhost: a\r\nx: ${CANARY}\nevil\r\n\r\n`, 400],
    ['two lengths', `${post}content-length: 2\r\ncontent-length: 3\r\n\r\n{}`, 400],
    ['a length and chunks', `${post}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ['chunks that are not the last coding', `${post}transfer-encoding: chunked, ${CANARY}\r\n\r\n0\r\n\r\n`, 400],
    ['a chunk of no size', `${post}transfer-encoding: chunked\r\n\r\n${CANARY}\r\n`, 400],
    ['headers of 17 KiB', `GET / HTTP/1.1\r\nhost: a\r\nx: ${CANARY}${'a'.repeat(17 * 1024)}\r\n\r\n`, 431],
    ['an address of 17 KiB', `GET /${CANARY}${'a'.repeat(17 * 1024)} HTTP/1.1\r\nhost: a\r\n\r\n`, 431],
    ['an address of 1 MiB', `GET /${CANARY}${'a'.repeat(1024 * 1024)} HTTP/1.1\r\nhost: a\r\n\r\n`, 431],
  ]
  for (const [name, bytes, status] of cases) {
    const answer = await sendRaw(url, bytes)
    t.equal(answer.status, status, name)
    t.match(answer.headers.get('content-type'), 'application/problem+json', name)
    const requestId = answer.headers.get('x-request-id') ?? 'none'
    t.match(requestId, /^[0-9a-f-]{36}$/, name)
    t.match(JSON.parse(answer.body), { status, code: 'validation_failed', request_id: requestId }, name)
    t.notOk(answer.text.includes(CANARY), `${name}: not quoted`)
  }
  t.match(await sendRaw(url, 'CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n'), { text: '' }, 'it is no proxy')
  for (const address of [url, doors.public ?? '']) {
    const expecting = await requestRaw(address, 'GET', '/tap-in/callback?state=a', [`expect: ${CANARY}`])
    t.match(
      expecting,
      { status: 400, body: /<title>This link cannot be used/ },
      'an expectation is no reason to refuse',
    )
  }
  t.match(await requestRaw(url, 'GET', '/health/live'), { status: 200 }, 'and it lives on')
})

t.test('long addresses, parameters and bodies', async t => {
  const { gateway, apiKey } = await startStack(t, redis.url)
  const { url } = await gateway()
  const authorization = `authorization: Bearer ${apiKey}`
  const cases: readonly [string, number, string][] = [
    [`/v1/grants?cursor=${'a'.repeat(8 * 1024)}`, 400, 'validation_failed'],
    [`/${'a/'.repeat(5_000)}`, 400, 'validation_failed'],
    [`/v1/grants/${'a'.repeat(300)}`, 400, 'validation_failed'],
    [`/v1/grants/${'a'.repeat(200)}`, 400, 'validation_failed'],
    [`/${'a/'.repeat(2_000)}`, 404, 'not_found'],
  ]
  for (const [target, status, code] of cases) {
    const answer = await requestRaw(url, 'GET', target, [authorization])
    t.match(answer, { status }, target.slice(0, 20))
    t.match(JSON.parse(answer.body), { code })
    t.ok(answer.headers.get('x-request-id'))
    t.equal(answer.headers.get('referrer-policy'), 'no-referrer')
  }
  const twoHosts = await requestRaw(url, 'GET', '/v1/grants', [authorization, 'HOST: elsewhere'])
  t.match(JSON.parse(twoHosts.body), { status: 400, code: 'validation_failed', errors: [{ path: 'header/host' }] })
  for (const second of [authorization, 'AUTHORIZATION: Bearer another', 'Authorization:']) {
    const twice = await requestRaw(url, 'GET', '/v1/grants', [authorization, second])
    const told = { status: 400, code: 'validation_failed', errors: [{ path: 'header/authorization' }] }
    t.match(JSON.parse(twice.body), told, second)
  }
  const noHost = await sendRaw(url, 'GET /health/live HTTP/1.1\r\nconnection: close\r\n\r\n')
  t.match(JSON.parse(noHost.body), { status: 400, code: 'validation_failed', errors: [{ path: 'header/host' }] })
  t.match(await sendRaw(url, 'GET /health/live HTTP/1.0\r\n\r\n'), { status: 200 }, 'it was not needed then')
  for (const length of ['content-length: 70000', 'transfer-encoding: chunked']) {
    const socket = open(url)
    socket.write(
      `POST /v1/users HTTP/1.1\r\nhost: a\r\n${authorization}\r\ncontent-type: application/json\r\n${length}\r\n\r\n`,
    )
    if (length.startsWith('transfer')) socket.write(`11170\r\n${' '.repeat(70_000)}`)
    const answer = parse(await everythingFrom(socket))
    t.equal(answer.status, 413, length)
    t.equal(JSON.parse(answer.body.replace(/^[^{]*/, '')).code, 'payload_too_large')
  }
})

t.test('headers that come slowly, or never', async t => {
  const { gateway } = await startStack(t, redis.url)
  const { url } = await gateway({}, { ...PATIENT, headersTimeoutMs: 100 })
  const socket = open(url)
  socket.write('GET /health/live HTTP/1.1\r\nhost: a\r\n')
  let line = 0
  const trickle = setInterval(() => {
    line += 1
    socket.write(`x-${line}: a\r\n`)
  }, 20)
  const answer = parse(await everythingFrom(socket))
  clearInterval(trickle)
  t.match(answer, { status: 408, headers: new Map([['content-type', 'application/problem+json']]) })
  t.match(JSON.parse(answer.body), { status: 408, code: 'validation_failed' })
})

t.test('a TLS handshake that never ends, or never begins', async t => {
  const { gateway } = await startStack(t, redis.url)
  const { cert, key } = await selfSigned(t, 'server')
  const settings = { PUBLIC_PORT: '0', TLS_CERT: cert, TLS_KEY: key }
  const { url, doors } = await gateway(settings, { ...PATIENT, headersTimeoutMs: 100 })
  for (const address of [url, doors.public ?? '']) {
    const plain = address.replace('https:', 'http:')
    const half = open(plain)
    half.write(Buffer.from('160301020001', 'hex'))
    t.strictSame(await Promise.all([open(plain), half].map(everythingFrom)), ['', ''], 'closed')
    t.match(await requestRaw(address, 'GET', '/tap-in/callback'), { status: 400 }, 'others are served')
  }
})

t.test('a body that comes slowly', async t => {
  const { gateway, apiKey } = await startStack(t, redis.url)
  const { url } = await gateway({}, { ...PATIENT, requestTimeoutMs: 200, headersTimeoutMs: 200 })
  const socket = open(url)
  socket.write(`POST /v1/users HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ${apiKey}\r\n`)
  socket.write('content-type: application/json\r\ncontent-length: 1000\r\n\r\n{')
  const trickle = setInterval(() => socket.write(' '), 20)
  const answer = parse(await everythingFrom(socket))
  clearInterval(trickle)
  t.equal(answer.status, 408)
})

t.test('a connection that says nothing, and one whose answers nobody reads', async t => {
  const { gateway } = await startStack(t, redis.url)
  const { url } = await gateway({ PUBLIC_PORT: '0' }, { ...PATIENT, silenceMs: 200 })
  t.equal(await everythingFrom(open(url)), '', 'closed')
  const deaf = open(url)
  await once(deaf, 'connect')
  deaf.pause()
  const gone = new Promise(resolve => deaf.once('close', resolve))
  // Far more than the buffers of both ends take.
  deaf.write('GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n'.repeat(2_000))
  // Nobody reads, so it shows only in that the server takes no more: a write fails.
  const poke = setInterval(() => deaf.write('\r\n'), 20)
  await gone
  clearInterval(poke)
  t.match(await requestRaw(url, 'GET', '/health/live'), { status: 200 })
})

t.test('a connection that waits for its next request is closed in the end; until then it takes any number', async t => {
  const { gateway } = await startStack(t, redis.url)
  const { url } = await gateway({}, { ...PATIENT, keepAliveTimeoutMs: 100 })
  const socket = open(url)
  socket.write('GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n'.repeat(200))
  const text = await everythingFrom(socket)
  t.equal(text.split('HTTP/1.1 200 OK').length - 1, 200)
})

t.test('connections beyond the limit are refused, and there is room again when others leave', async t => {
  const { gateway } = await startStack(t, redis.url)
  const { url, doors } = await gateway({ METRICS_PORT: '0' }, { ...PATIENT, maxConnections: 3 })
  for (const address of [url, doors.metrics ?? '']) {
    const held = [open(address), open(address), open(address)]
    for (const [index, socket] of held.entries()) {
      socket.write('GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n')
      t.match(String((await once(socket, 'data'))[0]), 'HTTP/1.1 200', `connection ${index}`)
    }
    t.equal((await requestRaw(address, 'GET', '/health/live')).text, '', 'closed without a word')
    t.match(await requestRaw(address === url ? (doors.metrics ?? '') : url, 'GET', '/health/live'), { status: 200 })
    for (const socket of held) socket.destroy()
    let answer = await requestRaw(address, 'GET', '/health/live')
    while (answer.status === 0) answer = await requestRaw(address, 'GET', '/health/live')
    t.equal(answer.status, 200)
  }
})

t.test('a client that hangs up in the middle of its body harms nobody', async t => {
  const { gateway, apiKey } = await startStack(t, redis.url)
  const client = await gateway({ MAX_CONCURRENT_PER_CALLER: '1' })
  for (let times = 0; times < 5; times += 1) {
    const upload = httpRequest(`${client.url}/v1/users`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${apiKey}`,
        'content-type': 'application/json',
        'content-length': 100,
        expect: '100-continue',
      },
    }).on('error', () => {})
    await once(upload, 'continue')
    upload.write('{"username":')
    t.equal((await client.get('/v1/grants')).status, 429, 'it is under way')
    upload.destroy()
    while ((await client.get('/v1/grants')).status !== 200);
  }
})
