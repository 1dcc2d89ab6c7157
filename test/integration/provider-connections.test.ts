/** How far a request got, and which connection it took: on real sockets, with a real process where that is the subject. */
import { type ChildProcess, fork } from 'node:child_process'
import { EventEmitter, on, once } from 'node:events'
import { createServer, type Server as HttpServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { HealthTap } from '../../src/provider/healthtap.ts'
import { createTransport } from '../../src/provider/transport.ts'
import { adapterFor, askFor } from '../support/adapter.ts'
import type { Command, Question } from '../support/asker.ts'
import { expired, selfSigned, signedBy } from '../support/certificates.ts'
import { wire } from '../support/hostile.ts'

const PAIR = JSON.stringify({
  access_token: 'a1'.repeat(32),
  token_type: 'bearer',
  expires_in: 7199,
  refresh_token: 'b2'.repeat(32),
  guid: 'c3'.repeat(16),
})
const OPERATIONS = ['refresh', 'exchange', 'createUser'] as const

function healthTap(t: Test, url: string, { timeoutMs = 60_000, connections = 8 } = {}): HealthTap {
  const provider = adapterFor(url, { timeoutMs, connections })
  t.teardown(() => provider.close())
  return provider
}

/** On 127.0.0.1; its connections end with the test. */
async function listening(t: Test, server: Server | HttpServer): Promise<number> {
  const open = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    open.add(socket)
    socket.on('close', () => open.delete(socket)).on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

async function startAsker(t: Test, environment: Readonly<Record<string, string>> = {}) {
  const child: ChildProcess = fork('test/support/asker.ts', {
    execArgv: ['--import=ts-blank-space/register'],
    env: { PATH: process.env.PATH ?? '', ...environment },
  })
  t.teardown(() => child.kill('SIGKILL'))
  await once(child, 'message')
  return {
    send: (command: Command) => void child.send(command),
    async askFor(question: Question): Promise<{ kind: string; reason?: string }> {
      child.send(question)
      for await (const [outcome] of on(child, 'message')) if (outcome.operation === question.operation) return outcome
      throw new Error('it does not answer')
    },
    kill: (signal: NodeJS.Signals) => void child.kill(signal),
  }
}

/** Long enough for a busy machine to get from the question to the sleep. */
const DEADLINE_MS = 2_000
const SLEEP_MS = 3_000

/** Asks everything at once; `sleeping` makes the asking process sleep once the provider, which answers 300 ms later, has it all. */
async function askThenSleep(t: Test, sleeping: (asker: Awaited<ReturnType<typeof startAsker>>) => Promise<void>) {
  const arrived = new EventEmitter()
  let requests = 0
  const server = createServer((_request, response) => {
    requests += 1
    if (requests === OPERATIONS.length) arrived.emit('all')
    setTimeout(() => response.setHeader('content-type', 'application/json').end(PAIR), 300)
  })
  const url = `http://127.0.0.1:${await listening(t, server)}`
  const asker = await startAsker(t)
  const all = once(arrived, 'all')
  const outcomes = OPERATIONS.map(operation => asker.askFor({ operation, url, timeoutMs: DEADLINE_MS }))
  await all
  await sleeping(asker)
  for (const [index, outcome] of (await Promise.all(outcomes)).entries()) {
    t.match(outcome, { kind: 'ok' }, `${OPERATIONS[index]}`)
  }
}

t.test('a process that was stopped past its deadline reads the answer that came meanwhile', async t => {
  await askThenSleep(t, async asker => {
    asker.kill('SIGSTOP')
    await sleep(SLEEP_MS)
    asker.kill('SIGCONT')
  })
})

t.test('a process whose event loop was blocked past its deadline reads the answer that came meanwhile', async t => {
  await askThenSleep(t, async asker => asker.send({ blockMs: SLEEP_MS }))
})

t.test('a provider that does not answer in time', async t => {
  const port = await listening(
    t,
    createTcpServer(() => {}),
  )
  const provider = healthTap(t, `http://127.0.0.1:${port}`, { timeoutMs: 200 })
  for (const operation of OPERATIONS) {
    const began = performance.now()
    t.match(await askFor(provider, operation), { kind: 'unknown', settled: false, reason: 'timeout' }, operation)
    const tookMs = performance.now() - began
    t.ok(tookMs >= 190, `${tookMs} ms`)
  }
})

t.test('nothing was sent, nothing is in doubt: failures of look-up, TCP and TLS', async t => {
  const onBytes = (then: (socket: Socket) => void) => createTcpServer(socket => socket.once('data', () => then(socket)))
  const closed = createTcpServer()
  const closedPort = await listening(t, closed)
  closed.close()
  let requests = 0
  const plain = createServer((_request, response) => {
    requests += 1
    response.end(PAIR)
  })
  const ports = {
    plain: await listening(t, plain),
    closing: await listening(
      t,
      onBytes(socket => socket.destroy()),
    ),
    resetting: await listening(
      t,
      onBytes(socket => socket.resetAndDestroy()),
    ),
    hanging: await listening(
      t,
      createTcpServer(() => {}),
    ),
  }
  const cases: [name: string, url: string, reason: RegExp][] = [
    ['plain HTTP', `https://127.0.0.1:${ports.plain}`, /^tls ERR_SSL_WRONG_VERSION_NUMBER$/],
    ['closed during the handshake', `https://127.0.0.1:${ports.closing}`, /^tls ECONNRESET$/],
    ['reset during the handshake', `https://127.0.0.1:${ports.resetting}`, /^tls ECONNRESET$/],
    ['a handshake without an end', `https://127.0.0.1:${ports.hanging}`, /^connect timeout$/],
    ['refused', `http://127.0.0.1:${closedPort}`, /^connect ECONNREFUSED$/],
    ['refused at each address', `http://localhost:${closedPort}`, /^connect ECONNREFUSED$/],
    ['an unknown host', 'http://no-such-host.invalid', /^dns E[A-Z_]+$/],
  ]
  for (const [name, url, reason] of cases) {
    const provider = healthTap(t, url, { timeoutMs: name.includes('without an end') ? 200 : 60_000 })
    for (const operation of OPERATIONS) {
      const outcome = await askFor(provider, operation)
      t.match(outcome, { kind: 'unavailable', upstream: {}, retryAfterSeconds: null, reason }, `${operation}: ${name}`)
    }
  }
  t.equal(requests, 0)
})

t.test('nothing was sent, nothing is in doubt: certificates that are not good', async t => {
  const ca = await selfSigned(t, 'ca', { subject: '/CN=ca' })
  const trusting = await startAsker(t, { NODE_EXTRA_CA_CERTS: ca.certFile })
  const strange = await startAsker(t)
  const wanted = { subject: '/CN=provider', san: 'IP:127.0.0.1' }
  const good = await signedBy(t, ca, 'good', wanted)
  const own = await selfSigned(t, 'self-signed', wanted)
  const certificates = {
    good,
    chained: { cert: `${good.cert}${ca.cert}`, key: good.key },
    selfSigned: own,
    expired: await expired(t, ca, own),
    other: await signedBy(t, ca, 'other', { ...wanted, san: 'DNS:other.example' }),
  }
  const cases = [
    ['good', trusting, undefined],
    ['chained', strange, 'tls SELF_SIGNED_CERT_IN_CHAIN'],
    ['good', strange, 'tls UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
    ['selfSigned', trusting, 'tls DEPTH_ZERO_SELF_SIGNED_CERT'],
    ['expired', trusting, 'tls CERT_HAS_EXPIRED'],
    ['other', trusting, 'tls ERR_TLS_CERT_ALTNAME_INVALID'],
  ] as const
  for (const [name, asker, reason] of cases) {
    let requests = 0
    const server = createTlsServer(certificates[name], (_request, response) => {
      requests += 1
      response.end(PAIR)
    })
    const url = `https://127.0.0.1:${await listening(t, server)}`
    for (const operation of OPERATIONS) {
      const outcome = await asker.askFor({ operation, url, timeoutMs: 60_000 })
      t.match(outcome, reason === undefined ? { kind: 'ok' } : { kind: 'unavailable', reason }, `${operation}: ${name}`)
    }
    t.equal(requests, reason === undefined ? OPERATIONS.length : 0, name)
  }
})

t.test('what was sent and not answered is in doubt, and the reason says how far it got', async t => {
  const endings: [end: (socket: Socket) => void, reason: string][] = [
    [socket => socket.destroy(), 'closed before the answer'],
    [socket => socket.resetAndDestroy(), 'closed before the answer'],
    [socket => socket.end(wire(200, PAIR).subarray(0, -5)), 'answer broken off'],
    [socket => socket.end('SSH-2.0-OpenSSH_9.6\r\n'), 'answer not HTTP'],
    [socket => socket.end(wire(200, ' '.repeat(64 * 1024 + 1))), 'answer too long'],
    [socket => socket.end(`HTTP/1.1 200 OK\r\nx: ${'a'.repeat(20_000)}\r\n`), 'answer too long'],
  ]
  let end: (socket: Socket) => void = () => {}
  const server = createTcpServer(socket => socket.once('data', () => end(socket)))
  const provider = healthTap(t, `http://127.0.0.1:${await listening(t, server)}`)
  for (const [ending, reason] of endings) {
    end = ending
    for (const operation of OPERATIONS) {
      const expected = { kind: 'unknown', settled: false, unreadable: false, upstream: {}, reason }
      t.match(await askFor(provider, operation), expected, `${operation}: ${reason}`)
    }
  }
})

t.test('a pair that came whole is kept, also where the connection is closed or hangs after it', async t => {
  const chunked = `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${PAIR.length.toString(16)}\r\n${PAIR}\r\n`
  const tooLong = `HTTP/1.1 200 OK\r\ncontent-length: ${PAIR.length + 1}\r\n\r\n${PAIR}`
  const endings: [name: string, end: (socket: Socket) => void, timeoutMs?: number][] = [
    ['a length that is too long, closed', socket => socket.end(tooLong)],
    ['no last chunk, closed', socket => socket.end(chunked)],
    ['no last chunk, kept open', socket => socket.write(chunked), 200],
    ['another last chunk', socket => socket.write(`${chunked}zz\r\n`)],
  ]
  let end: (socket: Socket) => void = () => {}
  const server = createTcpServer(socket => socket.once('data', () => end(socket)))
  const url = `http://127.0.0.1:${await listening(t, server)}`
  for (const [name, ending, timeoutMs = 60_000] of endings) {
    end = ending
    const provider = healthTap(t, url, { timeoutMs })
    for (const operation of OPERATIONS) {
      const outcome = await askFor(provider, operation)
      t.equal(outcome.kind, 'ok', `${operation}: ${name}`)
      if (outcome.kind === 'ok') t.equal(outcome.value.pair.refreshToken.reveal(), 'b2'.repeat(32))
    }
  }
})

t.test('a request that waits for a connection until its deadline was not sent, and is not sent later', async t => {
  const answers: ((body: string) => void)[] = []
  const paths: string[] = []
  const server = createServer((request, response) => {
    paths.push(request.url ?? '')
    answers.push(body => response.end(body))
  })
  const origin = `http://127.0.0.1:${await listening(t, server)}`
  for (const isOnce of [false, true]) {
    const transport = createTransport({ connections: 1, connectTimeoutMs: 5_000, largestAnswerBytes: 1_000 })
    const send = (path: string, ms: number) => {
      const deadlineMs = transport.deadlines.in(ms)
      return transport.send({ method: 'POST', url: origin + path, headers: {}, body: '{}', deadlineMs, isOnce })
    }
    const first = once(server, 'request')
    const held = send('/held', 60_000)
    await first
    t.strictSame(await send('/late', 100), { kind: 'silence', wasSent: false, reason: 'connect timeout', part: null })
    const second = once(server, 'request')
    const next = send('/next', 60_000)
    answers.shift()?.('held')
    t.match(await held, { kind: 'answer', status: 200 })
    await second
    answers.shift()?.('next')
    t.match(await next, { kind: 'answer', body: Buffer.from('next') })
    t.strictSame(paths.splice(0), ['/held', '/next'])
    await transport.close()
  }
})

t.test('what cannot be repeated takes a connection of its own, which no other request has used', async t => {
  const heads: string[] = []
  // It answers one request on each connection, and closes at the first byte of the next, before reading it.
  const server = createTcpServer(socket => {
    let isUsed = false
    socket.on('data', chunk => {
      if (isUsed) return socket.destroy()
      isUsed = true
      heads.push(chunk.toString('latin1'))
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${PAIR.length}\r\n\r\n${PAIR}`)
    })
  })
  const provider = healthTap(t, `http://127.0.0.1:${await listening(t, server)}`)
  t.match(await askFor(provider, 'refresh'), { kind: 'ok' })
  t.match(heads.at(-1), /^connection: keep-alive/m)
  for (const operation of ['exchange', 'createUser', 'exchange', 'createUser'] as const) {
    t.match(await askFor(provider, operation), { kind: 'ok' }, operation)
    t.match(heads.at(-1), /^connection: close/m)
  }
  t.equal(heads.length, 5, 'the provider saw each once')
  t.match(await askFor(provider, 'refresh'), { kind: 'unknown', settled: false, reason: 'closed before the answer' })
})

t.test('there are at most so many connections for what cannot be repeated', async t => {
  let [open, most] = [0, 0]
  const server = createServer((_request, response) => setImmediate(() => response.end(PAIR)))
  server.on('connection', socket => {
    open += 1
    most = Math.max(most, open)
    socket.on('close', () => {
      open -= 1
    })
  })
  const provider = healthTap(t, `http://127.0.0.1:${await listening(t, server)}`, { connections: 4 })
  const outcomes = await Promise.all(Array.from({ length: 30 }, () => askFor(provider, 'exchange')))
  t.strictSame([...new Set(outcomes.map(({ kind }) => kind))], ['ok'])
  t.ok(most <= 5, `${most}: one may be closing while the next opens`)
})
