import { createContextKey, type TextMapPropagator } from '@opentelemetry/api'
import { TRACE_PARENT_HEADER, W3CTraceContextPropagator } from '@opentelemetry/core'

/** Set in a context: who asks has no say in our traces. */
export const STRANGER = createContextKey('stranger')

const w3c = new W3CTraceContextPropagator()

/**
 * `traceparent` alone, taken over and passed on; one that is malformed counts as none. `tracestate` is text of whoever
 * asks, and not for HealthTap, nor for our collector.
 *
 * @see https://www.w3.org/TR/trace-context/
 */
export const traceparent: TextMapPropagator = {
  fields: () => [TRACE_PARENT_HEADER],
  inject: (context, carrier, setter) => w3c.inject(context, carrier, setter),
  extract(context, carrier, getter) {
    if (context.getValue(STRANGER) === true) return context
    return w3c.extract(context, carrier, {
      keys: from => getter.keys(from),
      get: (from, name) => (name === TRACE_PARENT_HEADER ? getter.get(from, name) : undefined),
    })
  },
}
