/** Traces of real processes: what belongs to which, and what is kept. */
import { once } from 'node:events'
import t from 'tap'
import type { CollectedSpan } from '../support/collector.ts'
import { overhear } from '../support/places.ts'
import { until } from '../support/process.ts'
import { everythingFrom, open } from '../support/raw.ts'
import {
  CALLERS_SPAN,
  CALLERS_TRACE,
  linesOf,
  named,
  PASSWORD,
  start,
  startRedisFor,
  stop,
  theSpan,
  toCollector,
  traceparent,
} from '../support/traced.ts'

const redis = await startRedisFor(t)

t.test('one trace from the caller through Redis to the provider', async t => {
  const all = await start(t, redis, toCollector)
  const { ask, collector, sandbox, wiretap } = all
  const { guid } = (await ask('POST', '/v1/users', { username: 'ada' })).body
  const others = { tracestate: 'vendor=secret', baggage: 'user=secret' }
  t.match(await ask('POST', `/v1/grants/${guid}/refresh`, { version: 1 }, { traceparent, ...others }), { status: 200 })
  const problem = await ask('GET', '/v1/grants/nobody/token', null, { traceparent: `${traceparent}-malformed` })
  for (const path of ['/health/ready', '/health/live', '/metrics', '/docs', '/openapi.json']) {
    t.match(await ask('GET', path), { status: /^(200|302)$/ }, path)
  }
  t.match(await ask('GET', '/tap-in/callback?state=x&code=secret-code', null, { traceparent }), { status: 400 })
  t.match(await ask('GET', '/secret-path?q=secret', null), { status: 404 })
  // Whose grant is due at once is renewed in the background.
  const { access_token, refresh_token } = await sandbox.grant()
  await ask('PUT', '/v1/grants/due', { access_token, refresh_token, expires_in: 1 })
  const background = await theSpan(
    collector,
    span => span.name === 'renewal' && span.attributes['htgw.lane'] === 'background',
  )
  await stop(all)
  const spans = collector.spans()
  const lines = linesOf(all)
  const childrenOf = (parent: CollectedSpan) => spans.filter(span => span.parentSpanId === parent.spanId)

  await t.test("the request is a part of the caller's trace, and the rest a part of it", async t => {
    const server = await theSpan(collector, named('POST /v1/grants/:guid/refresh'))
    t.match(server, { traceId: CALLERS_TRACE, parentSpanId: CALLERS_SPAN, kind: 2, status: { code: 0 }, events: [] })
    t.match(server.attributes, {
      'http.request.method': 'POST',
      'http.route': '/v1/grants/:guid/refresh',
      'http.response.status_code': 200,
      'htgw.caller': 'scheduler',
      'htgw.guid': guid,
    })
    const [renewal, ...more] = childrenOf(server).filter(named('renewal'))
    t.strictSame(more, [])
    t.match(renewal?.attributes, { 'htgw.outcome': 'renewed', 'htgw.result': 'current', 'htgw.lane': 'reader' })
    t.ok(childrenOf(server).some(named('redis get')))
    const parts = childrenOf(renewal as CollectedSpan)
    t.ok(parts.some(named('redis write_record')))
    t.equal(parts.find(named(/^redis/))?.kind, 3)
    const [provider] = parts.filter(named('HealthTap refresh'))
    t.match(provider, {
      kind: 3,
      attributes: {
        'http.request.method': 'POST',
        'url.full': `${wiretap.url}/oauth/token`,
        'http.response.status_code': 200,
        'htgw.outcome': 'ok',
      },
    })
    for (const span of [renewal, ...parts]) t.equal(span?.traceId, CALLERS_TRACE)
    const askedIn = wiretap.asked.filter(({ headers }) => headers.traceparent?.includes(CALLERS_TRACE))
    const [asked] = askedIn.filter(({ path }) => path === '/oauth/token')
    t.equal(asked?.headers.traceparent, `00-${CALLERS_TRACE}-${provider?.spanId}-01`)
    t.notOk(askedIn.some(({ headers }) => headers.tracestate ?? headers.baggage))
    t.ok(wiretap.asked.every(({ headers }) => headers.traceparent !== undefined))

    const { msg, reqId, ...request } = lines.find(line => line.msg === 'request' && line.trace_id === CALLERS_TRACE)
    t.match(request, { span_id: server.spanId, route: '/v1/grants/:guid/refresh' })
    t.equal(reqId, server.attributes['htgw.request_id'])
    const renewed = lines.find(line => line.msg === 'grant.renewed' && line.guid === guid)
    t.match(renewed, { trace_id: CALLERS_TRACE, span_id: renewal?.spanId })
  })

  await t.test('a renewal in the background is a trace of its own', async t => {
    t.match(background, { parentSpanId: '', attributes: { 'htgw.guid': 'due', 'htgw.outcome': 'renewed' } })
    const parts = childrenOf(background).map(({ name }) => name)
    t.ok(parts.includes('HealthTap refresh') && parts.includes('redis write_record'))
    const line = lines.find(({ msg, guid }) => msg === 'grant.renewed' && guid === 'due')
    t.match(line, { trace_id: background.traceId, span_id: background.spanId })
  })

  await t.test('nothing else begins a trace, and a stranger does not choose one', async t => {
    const roots = new Set(spans.filter(({ parentSpanId }) => parentSpanId === '').map(({ name }) => name))
    t.strictSame([...roots].sort(), [
      'GET',
      'GET /tap-in/callback',
      'GET /v1/grants/:guid/token',
      'POST /v1/users',
      'PUT /v1/grants/:guid',
      'renewal',
    ])
    const known = new Set([CALLERS_SPAN, '', ...spans.map(({ spanId }) => spanId)])
    t.ok(
      spans.every(({ parentSpanId }) => known.has(parentSpanId)),
      'each parent has arrived',
    )
    t.match(await theSpan(collector, named('GET /v1/grants/:guid/token')), {
      status: { code: 0 },
      attributes: { 'htgw.problem': 'grant_not_found', 'htgw.request_id': problem.body.request_id },
    })
    t.notMatch(JSON.stringify(lines.filter(({ audit }) => audit === 1)), 'trace_id', 'the audit stream is as it was')
  })

  await t.test(
    'the collector is told who sends, by what it asks for, and nothing that is not its business',
    async t => {
      t.match(collector.headers(), { 'x-collector-key': 'a secret', 'content-type': 'application/json' })
      t.equal(collector.path(), '/v1/traces')
      t.match(spans[0]?.resource, { 'service.name': 'healthtap-gateway', 'service.version': /^\d/ })
      t.notMatch(JSON.stringify(spans), 'secret')
      t.notMatch(all.gateway.stdout(), /a secret|opentelemetry/)
    },
  )
})

t.test('a renewal that several wait for, and a request that waits for its turn', async t => {
  const all = await start(t, redis, collector => ({ ...toCollector(collector), PROVIDER_MAX_CONCURRENCY: '1' }))
  const { ask, collector, wiretap } = all
  const [ada, bob] = [
    await ask('POST', '/v1/users', { username: 'ada' }),
    await ask('POST', '/v1/users', { username: 'bob' }),
  ]
  const commands = await overhear(t, { port: redis.port, password: PASSWORD, dir: '' })
  /** Of those that clients have sent, and not scripts. */
  const sent = (command: string, guid: string) =>
    commands().match(new RegExp(`^\\+\\S+ \\[\\d+ \\d[^\\]]*\\] "${command}" [^\\n]*:grant:${guid}"`, 'gm'))?.length ??
    0
  let go = () => {}
  const gate = new Promise<void>(resolve => {
    go = resolve
  })
  const asked = new Promise<void>(resolve => {
    wiretap.next('/oauth/token', async pass => {
      resolve()
      await gate
      return await pass()
    })
  })
  const report = (guid: string) => ask('POST', `/v1/grants/${guid}/refresh`, { version: 1 })
  const first = report(ada.body.guid)
  await asked
  // What is overheard may lag behind: its own looks come before this.
  await until(() => sent('evalsha', ada.body.guid) > 0)
  const looksBefore = sent('get', ada.body.guid)
  // Once their look at the grant is at Redis, they are on their way to the renewal before it can end.
  const second = report(ada.body.guid)
  const third = report(bob.body.guid)
  await until(() => sent('get', ada.body.guid) > looksBefore && sent('get', bob.body.guid) > 0)
  go()
  for (const answer of await Promise.all([first, second, third])) t.match(answer, { status: 200, body: { version: 2 } })
  await stop(all)

  const renewals = collector.spans().filter(named('renewal'))
  const [ofAda, ofBob] = [ada, bob].map(({ body }) => renewals.find(span => span.attributes['htgw.guid'] === body.guid))
  t.equal(renewals.length, 2)
  const waits = collector.spans().filter(named('renewal.wait'))
  t.equal(waits.length, 1)
  t.match(waits[0]?.links, [{ traceId: ofAda?.traceId, spanId: ofAda?.spanId }])
  t.not(waits[0]?.traceId, ofAda?.traceId)
  t.equal(
    new Set(
      collector
        .spans()
        .filter(named('POST /v1/grants/:guid/refresh'))
        .map(({ traceId }) => traceId),
    ).size,
    3,
  )
  const asks = collector.spans().filter(named('HealthTap refresh'))
  t.strictSame(
    asks.map(({ parentSpanId }) => parentSpanId),
    [ofAda?.spanId, ofBob?.spanId],
    'what waits for its turn goes on in its own trace',
  )
})

t.test('a body that comes later than its head is still of the same trace', async t => {
  const all = await start(t, redis, toCollector)
  const { collector } = all
  const body = JSON.stringify({ username: 'ada' })
  const head = ['POST /v1/users HTTP/1.1', 'host: a', `authorization: Bearer ${all.apiKey}`, 'connection: close']
  const more = ['content-type: application/json', `content-length: ${body.length}`, 'expect: 100-continue']
  const socket = open(all.url)
  t.teardown(() => socket.destroy())
  socket.write(`${[...head, ...more, `traceparent: ${traceparent}`].join('\r\n')}\r\n\r\n`)
  await once(socket, 'data')
  socket.write(body)
  t.match(await everythingFrom(socket), /^HTTP\/1.1 201/)
  await stop(all)
  const server = await theSpan(collector, named('POST /v1/users'))
  const provider = await theSpan(collector, named('HealthTap create_user'))
  t.match([server, provider], [{ traceId: CALLERS_TRACE }, { traceId: CALLERS_TRACE, parentSpanId: server.spanId }])
  t.ok(linesOf(all).some(line => line.msg === 'request' && line.span_id === server.spanId))
})

t.test('of requests one behind the other on a connection, each has its own trace in its own log line', async t => {
  const all = await start(t, redis, toCollector)
  const { wiretap } = all
  let go = () => {}
  const gate = new Promise<void>(resolve => {
    go = resolve
  })
  wiretap.next('/users.json', async pass => {
    await gate
    return await pass()
  })
  const body = JSON.stringify({ username: 'ada' })
  const head = ['host: a', `authorization: Bearer ${all.apiKey}`]
  const json = ['content-type: application/json', `content-length: ${body.length}`]
  const second = 'f'.repeat(32)
  const first = ['POST /v1/users HTTP/1.1', ...head, ...json, `traceparent: ${traceparent}`, '', body].join('\r\n')
  const behind = [
    'GET /v1/grants/nobody HTTP/1.1',
    ...head,
    'connection: close',
    `traceparent: 00-${second}-${CALLERS_SPAN}-01`,
    '',
    '',
  ].join('\r\n')
  const socket = open(all.url)
  t.teardown(() => socket.destroy())
  socket.write(`${first}${behind}`)
  // The one behind is done, and waits for the other to be answered.
  await until(() => all.gateway.stdout().includes('"grant.read"'))
  go()
  await everythingFrom(socket)
  await stop(all)
  const told = linesOf(all).filter(({ msg }) => msg === 'request')
  t.strictSame(
    told.map(line => [line.route, line.trace_id]),
    [
      ['/v1/users', CALLERS_TRACE],
      ['/v1/grants/:guid', second],
    ],
  )
})

t.test('a trace that the caller does not keep is not sent, and goes on all the same', async t => {
  const all = await start(t, redis, toCollector)
  const { ask, collector, wiretap } = all
  await ask('POST', '/v1/users', { username: 'ada' }, { traceparent: traceparent.replace(/01$/, '00') })
  await stop(all)
  t.strictSame(collector.spans(), [])
  t.match(wiretap.asked[0]?.headers.traceparent, new RegExp(`^00-${CALLERS_TRACE}-[0-9a-f]{16}-00$`))
  t.ok(linesOf(all).some(line => line.msg === 'request' && line.trace_id === CALLERS_TRACE))
})

t.test('which are kept is for the sampler to say', async t => {
  const all = await start(t, redis, collector => ({
    ...toCollector(collector),
    OTEL_TRACES_SAMPLER: 'parentbased_traceidratio',
    OTEL_TRACES_SAMPLER_ARG: '0',
  }))
  const { ask, collector } = all
  await ask('GET', '/v1/grants')
  await ask('GET', '/v1/grants', null, { traceparent })
  await stop(all)
  t.strictSame([...new Set(collector.spans().map(({ traceId }) => traceId))], [CALLERS_TRACE])
})
