/** For Prometheus: see docs/metrics.md. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import fp from 'fastify-plugin'
import { Type } from 'typebox'
import type { Metrics } from '../src/metrics.ts'

const plugin: FastifyPluginAsyncTypebox<{ metrics: Metrics }> = async (app, { metrics }) => {
  app.addHook('onResponse', (request, reply, done) => {
    metrics.answered({
      method: request.method,
      route: request.is404 ? '' : (request.routeOptions.url ?? ''),
      status: reply.statusCode,
      seconds: reply.elapsedTime / 1000,
      caller: request.caller?.name ?? '',
      problem: request.problem,
      within: request.problem === null ? request.auditedEach?.flatMap(({ problem }) => problem?.code ?? []) : undefined,
    })
    done()
  })

  app.get(
    '/metrics',
    {
      config: { door: 'metrics' },
      schema: {
        operationId: 'getMetrics',
        tags: ['Running it'],
        summary: 'Figures for Prometheus',
        description: 'In its text format. No guid, no username and no secret stands in it. No API key.',
        security: [],
        response: {
          200: { description: 'All of them.', content: { 'text/plain': { schema: Type.String() } } },
        },
      },
    },
    async (_request, reply) => {
      reply.header('cache-control', 'no-store').type(metrics.contentType)
      return await metrics.text()
    },
  )
}

export default fp(plugin, { name: 'metrics' })
