/**
 * OpenTelemetry, put together. It is loaded where traces are wanted, and nowhere else. One for the process: context,
 * propagation and diagnostics of OpenTelemetry are the process's own.
 */
import { hostname } from 'node:os'
import { context, DiagLogLevel, diag, propagation } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { setGlobalErrorHandler } from '@opentelemetry/core'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  ParentBasedSampler,
  type Sampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import type { FastifyBaseLogger } from 'fastify'
import type { TracesConfig } from '../config.ts'
import type { Clock } from '../ports/clock.ts'
import { VERSION } from '../version.ts'
import { diagnosticsFor } from './diagnostics.ts'
import { createExporter } from './exporter.ts'
import { traceparent } from './propagation.ts'
import { createSpanQueue } from './queue.ts'
import type { OnSpans, Traces } from './traces.ts'
import { createTracing } from './tracing.ts'

export { logFields } from './tracing.ts'

/** A collector that is away keeps nobody from stopping for longer. */
const LAST_SPANS_WITHIN_MS = 3_000

export interface TracesOptions {
  readonly config: TracesConfig
  readonly logger: FastifyBaseLogger
  readonly clock: Clock
  readonly onSpans: OnSpans
  /** Absent: to the collector that `config` names. */
  readonly exporter?: SpanExporter
}

export function openTraces(options: TracesOptions): Traces {
  const { config, logger, clock, onSpans, exporter = createExporter(config) } = options
  const diagnostics = diagnosticsFor(logger)
  diag.setLogger(diagnostics, DiagLogLevel.WARN)
  setGlobalErrorHandler(error => diagnostics.error(error instanceof Error ? error.name : 'unknown'))
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  propagation.setGlobalPropagator(traceparent)
  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      'host.name': hostname(),
      'process.pid': process.pid,
      ...config.resource,
      'service.name': config.serviceName,
      'service.version': VERSION,
    }),
    sampler: samplerOf(config),
    spanProcessors: [createSpanQueue({ exporter, clock, onSpans, logger })],
  })

  return {
    ...createTracing(provider.getTracer('healthtap-gateway', VERSION)),
    provider,
    async close() {
      const closed = new AbortController()
      const tooLate = clock.sleep(LAST_SPANS_WITHIN_MS, closed.signal)
      await Promise.race([provider.shutdown().catch(() => {}), tooLate])
      closed.abort()
      context.disable()
      propagation.disable()
      diag.disable()
    },
  }
}

function samplerOf({ sampler, share }: TracesConfig): Sampler {
  const [, parentBased, name] = /^(parentbased_)?(.*)$/.exec(sampler) ?? []
  const root = rootSampler(name, share)
  return parentBased === undefined ? root : new ParentBasedSampler({ root })
}

function rootSampler(name: string | undefined, share: number): Sampler {
  if (name === 'always_on') return new AlwaysOnSampler()
  return name === 'always_off' ? new AlwaysOffSampler() : new TraceIdRatioBasedSampler(share)
}
