/**
 * A span for each request of the API and of the hosted callback, named after its route: see docs/tracing.md. Health, metrics and
 * pages have none. Loads OpenTelemetry: to be loaded itself where traces are wanted alone.
 */
import { FastifyOtelInstrumentation } from '@fastify/otel'
import { context, type Span } from '@opentelemetry/api'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { STRANGER } from '../src/tracing/propagation.ts'
import type { Traces } from '../src/tracing/traces.ts'
import { guidInPath } from './audit.ts'

export default fp(
  async (app: FastifyInstance, { traces }: { traces: Pick<Traces, 'provider'> }) => {
    const instrumentation = new FastifyOtelInstrumentation({
      instrumentHooks: false,
      instrumentHandler: false,
      recordExceptions: false,
      requestHook: nameAfterRoute,
    })
    instrumentation.setTracerProvider(traces.provider)

    // What the audit stream tells of is traced.
    app.addHook('onRoute', route => {
      if (route.config?.audit === undefined) route.config = { ...route.config, otel: false }
    })
    // Whoever has no key to show, as a browser, does not say which of our traces their request belongs to.
    app.addHook('onRequest', (request, _reply, done) => {
      if (request.routeOptions.config.permission !== undefined) done()
      else context.with(context.active().setValue(STRANGER, true), done)
    })
    await app.register(instrumentation.plugin())

    // An answer that had to wait for another on its connection ends where that one did.
    app.addHook('onResponse', (request, _reply, done) => {
      const { context: own } = request.opentelemetry()
      if (own === null) done()
      else context.with(own, done)
    })

    app.addHook('onSend', (request, _reply, payload, done) => {
      request.opentelemetry().span?.setAttributes(factsOf(request))
      done(null, payload)
    })
  },
  { name: 'tracing' },
)

/** The library calls every request `request`. */
function nameAfterRoute(span: Span, { method, routeOptions }: FastifyRequest): void {
  span.updateName(routeOptions.url === undefined ? method : `${method} ${routeOptions.url}`)
}

/** What logs know as well. */
function factsOf({ audited, caller, id, params, problem }: FastifyRequest) {
  // Of a request that was refused nobody has looked whether what stands in its path is a guid at all.
  const guid = audited?.guid ?? (problem === null ? guidInPath(params) : undefined)
  return {
    'htgw.request_id': id,
    ...(caller === null ? {} : { 'htgw.caller': caller.name }),
    ...(guid === undefined ? {} : { 'htgw.guid': guid }),
    ...(problem === null ? {} : { 'htgw.problem': problem }),
  }
}
