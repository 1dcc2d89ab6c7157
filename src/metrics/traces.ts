import { Counter, type Registry } from 'prom-client'
import type { OnSpans } from '../tracing/traces.ts'

export function traceMetrics(registers: Registry[]): OnSpans {
  const spans = new Counter({
    name: 'htgw_trace_spans_total',
    help: 'Spans that have ended and are kept, by whether the collector has taken them; dropped: it was away, refused them, or was too slow.',
    labelNames: ['result'],
    registers,
  })
  for (const result of ['delivered', 'dropped']) spans.inc({ result }, 0)
  return (result, count) => spans.inc({ result }, count)
}
