/** Traces of real processes: a collector that is away, none at all, and `dev`. */
import { createServer } from 'node:net'
import t from 'tap'
import { request } from 'undici'
import { type Collector, startCollector } from '../support/collector.ts'
import { run, until } from '../support/process.ts'
import { freePort } from '../support/redis.ts'
import {
  CALLERS_TRACE,
  linesOf,
  named,
  start,
  startRedisFor,
  stop,
  theSpan,
  toCollector,
  traceparent,
} from '../support/traced.ts'

const redis = await startRedisFor(t)

t.test('a collector that is away, or says nothing, disturbs nobody', async t => {
  const nobody = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => nobody.once('listening', resolve))
  const { port } = nobody.address() as { port: number }
  await new Promise(resolve => nobody.close(resolve))
  const cases = {
    'is away': () => ({ OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` }),
    'says nothing': (collector: Collector) => {
      collector.answerWith(0)
      return toCollector(collector)
    },
    refuses: (collector: Collector) => {
      collector.answerWith(401)
      return toCollector(collector)
    },
  }
  const ended = Object.entries(cases).map(async ([name, settings]) => {
    const all = await start(t, redis, settings)
    const { guid } = (await all.ask('POST', '/v1/users', { username: 'ada' })).body
    t.match(await all.ask('GET', `/v1/grants/${guid}/token`), { status: 200 }, name)
    if (name === 'refuses') {
      await all.gateway.line(/spans cannot be delivered/)
      t.match((await all.ask('GET', '/metrics')).body, /^htgw_trace_spans_total\{result="dropped"\} [1-9]/m)
    }
    // Exit code 0: it was not cut off by its grace.
    await stop(all)
    t.notMatch(all.gateway.stdout(), /"level":"(error|fatal)"/)
    t.ok(linesOf(all).filter(({ msg }) => /spans cannot be delivered/.test(msg)).length <= 1)
    t.match(all.gateway.stderr(), /^loaded: .*\n$/, 'and nothing else')
  })
  await Promise.all(ended)
})

t.test('without an endpoint nothing of it is there', async t => {
  const all = await start(t, redis, () => ({ OTEL_TRACES_SAMPLER: 'always_on', OTEL_EXPORTER_OTLP_HEADERS: 'a=b' }))
  const { ask, wiretap } = all
  await ask('POST', '/v1/users', { username: 'ada' }, { traceparent })
  await stop(all)
  t.strictSame(
    wiretap.asked.map(({ headers }) => headers.traceparent),
    [undefined],
  )
  t.notMatch(all.gateway.stdout(), 'trace_id')
  // What prom-client needs, with traces and without.
  t.equal(all.gateway.stderr(), 'loaded: @opentelemetry/api\n')
  const traced = await start(t, redis, toCollector)
  await stop(traced)
  t.match(traced.gateway.stderr(), /@fastify\/otel,.*@opentelemetry\/sdk-trace/, 'what is loaded is seen')
})

t.test('dev has traces, too', async t => {
  const collector = await startCollector(t)
  const [port, sandboxPort] = [await freePort(), await freePort()]
  const dev = run(t, ['dev', '--port', String(port), '--sandbox-port', String(sandboxPort)], toCollector(collector))
  await until(() => dev.stdout().includes('4. What the gateway holds'))
  const [, key = ''] = /KEY=(\S+)/.exec(dev.stdout()) ?? []
  const { statusCode } = await request(`http://127.0.0.1:${port}/v1/users`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', connection: 'close', traceparent },
    body: JSON.stringify({ username: 'ada' }),
  })
  t.equal(statusCode, 201)
  dev.kill('SIGTERM')
  t.equal(await dev.ended(), 0)
  const server = await theSpan(collector, named('POST /v1/users'))
  t.match(await theSpan(collector, named('HealthTap create_user')), {
    traceId: CALLERS_TRACE,
    parentSpanId: server.spanId,
  })
})
