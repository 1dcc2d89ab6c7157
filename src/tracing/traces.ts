import type { TracerProvider } from '@opentelemetry/api'
import type { Tracing } from '../ports/tracing.ts'

/** Traces, where they are wanted. What makes them is loaded then, and not before: this file loads nothing. */
export interface Traces extends Tracing {
  /** For who makes spans of requests. */
  readonly provider: TracerProvider
  /** Sends what is left, for a few seconds at most; what does not arrive by then is lost. Never rejects. */
  close(): Promise<void>
}

/** What became of spans. */
export type OnSpans = (result: 'delivered' | 'dropped', count: number) => void
