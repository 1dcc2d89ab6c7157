/** A stop waits for the last spans, and not for long. */
import { ExportResultCode } from '@opentelemetry/core'
import type { SpanExporter } from '@opentelemetry/sdk-trace'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { readConfig } from '../../src/config.ts'
import { openTraces } from '../../src/tracing/open.ts'
import { ManualClock } from '../support/clock.ts'
import { LEAST } from '../support/settings.ts'

type Done = Parameters<SpanExporter['export']>[1]

/** With one span that has ended, and a collector that answers when `answer` is called. */
async function closing(t: Test) {
  const config = readConfig({ ...LEAST, OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' }).traces
  if (config === null) throw new Error('there should be traces')
  const clock = new ManualClock()
  const waiting: Done[] = []
  const answer = () => {
    for (const done of waiting.splice(0)) done({ code: ExportResultCode.SUCCESS })
  }
  let asked = () => {}
  const isAsked = new Promise<void>(resolve => {
    asked = resolve
  })
  const exporter: SpanExporter = {
    export(_spans, done) {
      waiting.push(done)
      asked()
    },
    shutdown: async () => {},
  }
  t.teardown(answer)
  const traces = openTraces({ config, logger: pino({ enabled: false }), clock, onSpans() {}, exporter })
  await traces.begin('renewal', {}).run(async () => {})
  let isClosed = false
  const closed = traces.close().then(() => {
    isClosed = true
  })
  await isAsked
  return { clock, answer, closed, isClosed: () => isClosed }
}

t.test('it waits until they have arrived', async t => {
  const { answer, closed, isClosed } = await closing(t)
  t.notOk(isClosed())
  answer()
  await closed
})

t.test('three seconds, and no longer, for a collector that does not answer', async t => {
  const { clock, closed, isClosed } = await closing(t)
  await clock.advance(2_999)
  t.notOk(isClosed())
  await clock.advance(1)
  await closed
})
