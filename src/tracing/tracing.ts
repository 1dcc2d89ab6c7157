/** The port, by OpenTelemetry. */
import {
  context,
  type Span as OtelSpan,
  propagation,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import { Problem } from '../errors.ts'
import type { Facts, Span, Tracing } from '../ports/tracing.ts'

class TracedSpan implements Span {
  readonly #span: OtelSpan

  constructor(span: OtelSpan) {
    this.#span = span
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await context.with(trace.setSpan(context.active(), this.#span), work)
    } catch (error) {
      this.fail(kindOf(error))
      throw error
    } finally {
      this.#span.end()
    }
  }

  tell(facts: Facts): void {
    this.#span.setAttributes(facts)
  }

  fail(type: string): void {
    this.#span.setAttribute('error.type', type).setStatus({ code: SpanStatusCode.ERROR })
  }

  link() {
    return { context: this.#span.spanContext() }
  }
}

/** Not its text: that may quote what failed. */
function kindOf(error: unknown): string {
  if (error instanceof Problem) return error.code
  return error instanceof Error ? error.name : typeof error
}

export function createTracing(tracer: Tracer): Tracing {
  return {
    begin(name, facts, waitsFor) {
      const links = waitsFor instanceof TracedSpan ? [waitsFor.link()] : []
      return new TracedSpan(tracer.startSpan(name, { attributes: facts, links }))
    },
    ask: (name, facts) => new TracedSpan(tracer.startSpan(name, { kind: SpanKind.CLIENT, attributes: facts })),
    headers() {
      const headers: Record<string, string> = {}
      propagation.inject(context.active(), headers)
      return headers
    },
    tell: facts => void trace.getActiveSpan()?.setAttributes(facts),
    isKept: () => trace.getActiveSpan()?.isRecording() === true,
  }
}

/** For log lines: where they belong. */
export function logFields(): { trace_id?: string; span_id?: string } {
  const here = trace.getActiveSpan()?.spanContext()
  return here === undefined ? {} : { trace_id: here.traceId, span_id: here.spanId }
}
