/** The smaller parts of traces: what is taken over from callers, what OpenTelemetry may say in our log, and the page. */
import { readFileSync } from 'node:fs'
import { defaultTextMapGetter, defaultTextMapSetter, ROOT_CONTEXT, trace } from '@opentelemetry/api'
import t from 'tap'
import { noTracing } from '../../src/ports/tracing.ts'
import { diagnosticsFor } from '../../src/tracing/diagnostics.ts'
import { LISTED } from '../../src/tracing/listed.ts'
import { STRANGER, traceparent } from '../../src/tracing/propagation.ts'

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c'
const GOOD = `00-${TRACE_ID}-b7ad6b7169203331-01`

const extracted = (headers: Record<string, unknown>, from = ROOT_CONTEXT) =>
  trace.getSpanContext(traceparent.extract(from, headers, defaultTextMapGetter))

t.test('a good traceparent is taken over, and passed on; tracestate is neither', async t => {
  const headers = { traceparent: GOOD, tracestate: 'vendor=secret', baggage: 'user=secret' }
  const context = traceparent.extract(ROOT_CONTEXT, headers, defaultTextMapGetter)
  t.match(trace.getSpanContext(context), { traceId: TRACE_ID, spanId: 'b7ad6b7169203331', traceFlags: 1 })
  t.equal(trace.getSpanContext(context)?.traceState, undefined)
  const passedOn = {}
  traceparent.inject(context, passedOn, defaultTextMapSetter)
  t.strictSame(passedOn, { traceparent: GOOD })
  t.strictSame(traceparent.fields(), ['traceparent'])
})

t.test('one that is malformed counts as none', async t => {
  for (const text of [
    '',
    'nonsense',
    `${GOOD}, ${GOOD}`,
    `${GOOD}-more`,
    GOOD.toUpperCase(),
    GOOD.replace('00-', 'ff-'),
    GOOD.replace(TRACE_ID, '0'.repeat(32)),
    GOOD.replace('b7ad6b7169203331', '0'.repeat(16)),
    GOOD.replace('-01', ''),
    'x'.repeat(10_000),
  ]) {
    t.equal(extracted({ traceparent: text }), undefined, text.slice(0, 80))
  }
  t.equal(extracted({}), undefined)
})

t.test('a stranger has no say', async t => {
  t.equal(extracted({ traceparent: GOOD }, ROOT_CONTEXT.setValue(STRANGER, true)), undefined)
})

t.test('what OpenTelemetry finds amiss is logged once, without what follows a colon, and so many at most', async t => {
  const logged: object[] = []
  const diagnostics = diagnosticsFor({ warn: (facts: object) => void logged.push(facts) } as never)
  diagnostics.warn('Dropped 17 spans because maxQueueSize reached')
  diagnostics.warn('Dropped 18 spans because maxQueueSize reached')
  diagnostics.error('Failed to parse trace export response: Unexpected token "secret"')
  diagnostics.error('OTLPExportDelegate', 'secret')
  diagnostics.info('secret')
  diagnostics.debug('secret')
  diagnostics.verbose('secret')
  t.strictSame(logged, [
    { about: 'Dropped … spans because maxQueueSize reached' },
    { about: 'Failed to parse trace export response' },
    { about: 'OTLPExportDelegate' },
  ])
  for (let index = 0; index < 1_000; index += 1) diagnostics.warn('x'.repeat(index))
  t.equal(logged.length, 50)
})

t.test('what spans may bear is what the page says', async t => {
  const rows = readFileSync('docs/tracing.md', 'utf8')
    .split('\n')
    .filter(line => line.startsWith('| `'))
  const named = rows.flatMap(row =>
    [...row.matchAll(/`((?:htgw|http|db|url|error)\.[\w.]+)`/g)].map(([, name]) => name),
  )
  t.strictSame([...new Set(named)].sort(), [...LISTED].sort())
})

t.test('where nothing is traced, work is done all the same', async t => {
  const span = noTracing.begin('renewal', {})
  t.equal(await span.run(async () => 7), 7)
  await t.rejects(
    noTracing.ask('redis get', {}).run(() => Promise.reject(new Error('as it is'))),
    /as it is/,
  )
  t.strictSame([noTracing.headers(), noTracing.isKept()], [{}, false])
})
