/** Spans on their way to the collector: so many at most, whatever it does. Nobody waits for them. */
import { TraceFlags } from '@opentelemetry/api'
import { type ExportResult, ExportResultCode } from '@opentelemetry/core'
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter, type SpanProcessor } from '@opentelemetry/sdk-trace'
import type { FastifyBaseLogger } from 'fastify'
import type { Clock } from '../ports/clock.ts'
import { keepListed } from './listed.ts'
import type { OnSpans } from './traces.ts'

/** Some 3 MB of them. */
const MOST_SPANS = 2_048
const BATCH = 512
const SEND_EVERY_MS = 2_000
/** Beyond its own deadline an export is given up: a collector that sends its answer drop by drop could hold it for ever. */
const GIVE_UP_AFTER_MS = 15_000

export interface SpanQueueOptions {
  readonly exporter: SpanExporter
  readonly clock: Clock
  readonly onSpans: OnSpans
  readonly logger: Pick<FastifyBaseLogger, 'info' | 'warn'>
}

export function createSpanQueue({ exporter, clock, onSpans, logger }: SpanQueueOptions): SpanProcessor {
  let underWay = 0
  /** Since the collector was last heard; null: all that was sent has arrived. */
  let lost: number | null = null

  function settle(count: number, error: Error | undefined): void {
    underWay -= count
    onSpans(error === undefined ? 'delivered' : 'dropped', count)
    if (error === undefined) {
      if (lost !== null) logger.info({ dropped: lost }, 'spans are delivered again')
      lost = null
      return
    }
    if (lost === null)
      logger.warn({ reason: reasonOf(error) }, 'spans cannot be delivered: they are dropped until they can')
    lost = (lost ?? 0) + count
  }

  function drop(): void {
    onSpans('dropped', 1)
    if (lost !== null) lost += 1
  }

  const batches = new BatchSpanProcessor({
    exporter: {
      export(spans: ReadableSpan[], done: (result: ExportResult) => void): void {
        const over = new AbortController()
        const end = (error: Error | undefined) => {
          if (over.signal.aborted) return
          over.abort()
          settle(spans.length, error)
          // A failure is told already.
          done({ code: ExportResultCode.SUCCESS })
        }
        void clock.sleep(GIVE_UP_AFTER_MS, over.signal).then(() => end(new Error('Given up')))
        exporter.export(spans, ({ code, error }) => {
          end(code === ExportResultCode.SUCCESS ? undefined : (error ?? new Error('Not delivered')))
        })
      },
      shutdown: () => exporter.shutdown(),
    },
    maxQueueSize: MOST_SPANS,
    maxExportBatchSize: BATCH,
    scheduledDelayMillis: SEND_EVERY_MS,
    exportTimeoutMillis: 2 * GIVE_UP_AFTER_MS,
  })

  return {
    onStart() {},
    onEnd(span) {
      if ((span.spanContext().traceFlags & TraceFlags.SAMPLED) === 0) return
      if (underWay >= MOST_SPANS) return drop()
      keepListed(span)
      underWay += 1
      batches.onEnd(span)
    },
    forceFlush: () => batches.forceFlush(),
    shutdown: () => batches.shutdown(),
  }
}

/** A status, or a code such as `ECONNREFUSED`; not the text, which may quote what the collector has said. */
function reasonOf(error: Error & { code?: unknown }): string {
  return String(error.code ?? error.name)
}
