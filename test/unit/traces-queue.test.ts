/** What becomes of spans while the collector is well, away, slow, or says nothing; and what is taken out of them. */
import { SpanKind, SpanStatusCode } from '@opentelemetry/api'
import { ExportResultCode } from '@opentelemetry/core'
import { type ReadableSpan, type SpanExporter, TracerProvider } from '@opentelemetry/sdk-trace'
import t, { type Test } from 'tap'
import { createSpanQueue } from '../../src/tracing/queue.ts'
import { ManualClock } from '../support/clock.ts'

type Done = Parameters<SpanExporter['export']>[1]

/** Spans of a process whose exports end as the test wants it. */
function start(t: Test) {
  let isOver = false
  const clock = new ManualClock()
  const exports: { readonly spans: ReadableSpan[]; readonly done: Done }[] = []
  const counts = { delivered: 0, dropped: 0 }
  const logged: [object, string][] = []
  const logger = {
    info: (facts: object, text: string) => void logged.push([facts, text]),
    warn: (facts: object, text: string) => void logged.push([facts, text]),
  } as unknown as Parameters<typeof createSpanQueue>[0]['logger']
  const provider = new TracerProvider({
    spanProcessors: [
      createSpanQueue({
        exporter: {
          export: (spans, done) => void (isOver ? done(SUCCESS) : exports.push({ spans, done })),
          shutdown: async () => {},
        },
        clock,
        onSpans: (result, count) => {
          counts[result] += count
        },
        logger,
      }),
    ],
  })
  t.teardown(async () => {
    isOver = true
    for (const { done } of exports) done(SUCCESS)
    await provider.shutdown()
  })
  const tracer = provider.getTracer('test')
  const end = (times: number) => {
    for (let index = 0; index < times; index += 1) tracer.startSpan(`span ${index}`).end()
  }
  return { clock, tracer, provider, exports, counts, logged, end }
}

const SUCCESS = { code: ExportResultCode.SUCCESS }
const failure = (error?: Error) => ({ code: ExportResultCode.FAILED, ...(error === undefined ? {} : { error }) })

t.test('delivered ones are counted when they have arrived', async t => {
  const { provider, exports, counts, logged, end } = start(t)
  end(3)
  const flushed = provider.forceFlush()
  t.strictSame(counts, { delivered: 0, dropped: 0 })
  exports[0]?.done(SUCCESS)
  await flushed
  t.strictSame(counts, { delivered: 3, dropped: 0 })
  t.strictSame(logged, [])
})

t.test('a collector that is away: so many wait, the rest is dropped and counted, and the log says it once', async t => {
  const { provider, exports, counts, logged, end } = start(t)
  end(3_000)
  t.strictSame(counts, { delivered: 0, dropped: 952 })
  t.equal(exports.length, 1, 'one batch is on its way, and the others wait')
  const flushed = provider.forceFlush()
  const refused = Object.assign(new Error('connect ECONNREFUSED secret'), { code: 'ECONNREFUSED' })
  for (const { done } of exports) done(failure(refused))
  await flushed
  t.strictSame(counts, { delivered: 0, dropped: 3_000 })
  t.strictSame(logged, [[{ reason: 'ECONNREFUSED' }, 'spans cannot be delivered: they are dropped until they can']])

  end(1)
  const again = provider.forceFlush()
  exports.at(-1)?.done(SUCCESS)
  await again
  t.strictSame(counts, { delivered: 1, dropped: 3_000 })
  t.strictSame(logged[1], [{ dropped: 2_048 }, 'spans are delivered again'])
})

t.test('one that never answers is given up, and has no say any more', async t => {
  const { clock, exports, counts, logged, end } = start(t)
  end(512)
  t.equal(exports.length, 1)
  await clock.advance(15_000)
  t.strictSame(counts, { delivered: 0, dropped: 512 })
  t.match(logged, [[{ reason: 'Error' }, /cannot be delivered/]])
  exports[0]?.done(SUCCESS)
  t.strictSame(counts, { delivered: 0, dropped: 512 })
  end(2_049)
  t.strictSame(counts, { delivered: 0, dropped: 513 }, 'there is room again')
})

t.test('a refusal by its status; one without a reason', async t => {
  for (const [error, reason] of [
    [Object.assign(new Error('body of the answer'), { code: 401 }), '401'],
    [undefined, 'Error'],
  ] as const) {
    const { provider, exports, logged, end } = start(t)
    end(1)
    const flushed = provider.forceFlush()
    exports[0]?.done(failure(error))
    await flushed
    t.match(logged, [[{ reason }, String]])
  }
})

t.test('what is not listed is taken out: attributes, events, texts of errors', async t => {
  const { tracer, provider, exports } = start(t)
  const spans = [
    [SpanKind.SERVER, 404, SpanStatusCode.UNSET],
    [SpanKind.SERVER, 503, SpanStatusCode.ERROR],
    [SpanKind.CLIENT, 400, SpanStatusCode.ERROR],
  ] as const
  for (const [kind, status] of spans) {
    const span = tracer.startSpan('GET /v1/users', {
      kind,
      attributes: { 'url.path': '/tap-in/callback?code=secret', 'http.response.status_code': status },
    })
    span.setAttribute('fastify.root', 'x').setStatus({ code: SpanStatusCode.ERROR, message: 'secret' })
    span.recordException(new Error('secret'))
    span.end()
  }
  const flushed = provider.forceFlush()
  exports[0]?.done(SUCCESS)
  await flushed
  const got = exports[0]?.spans.map(({ attributes, events, status }) => ({ attributes, events, status }))
  t.strictSame(
    got,
    spans.map(([, status, code]) => ({
      attributes: { 'http.response.status_code': status },
      events: [],
      status: { code },
    })),
  )
})
