/** For load balancers and orchestrators. A provider that is away makes nobody unready: live tokens are still answered. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { StoreUnavailable } from '../src/ports/store.ts'
import { Health, ref } from '../src/schemas/index.ts'

export interface HealthOptions {
  /** Throws `StoreUnavailable`. */
  readonly pingStore: () => Promise<void>
}

const health: FastifyPluginAsyncTypebox<HealthOptions> = async (app, options) => {
  app.get(
    '/health/live',
    {
      schema: {
        operationId: 'getLiveness',
        tags: ['Running it'],
        summary: 'Whether the process lives',
        description: 'Answers as long as the process can answer at all. Restart it when it does not.',
        security: [],
        response: { 200: { description: 'It lives.', content: { 'application/json': { schema: ref(Health) } } } },
      },
    },
    async () => ({ status: 'ok' as const, checks: [{ name: 'process', status: 'ok' as const }] }),
  )

  app.get(
    '/health/ready',
    {
      schema: {
        operationId: 'getReadiness',
        tags: ['Running it'],
        summary: 'Whether requests may be sent here',
        description: 'A line for each thing it needs. 503 while the store is away.',
        security: [],
        response: {
          200: { description: 'It is ready.', content: { 'application/json': { schema: ref(Health) } } },
          503: { description: 'It is not.', content: { 'application/json': { schema: ref(Health) } } },
        },
      },
    },
    async (_request, reply) => {
      const store = await storeCheck(options.pingStore)
      reply.code(store.status === 'ok' ? 200 : 503).header('cache-control', 'no-store')
      return { status: store.status, checks: [store] }
    },
  )
}

async function storeCheck(pingStore: HealthOptions['pingStore']) {
  try {
    await pingStore()
    return { name: 'store', status: 'ok' as const }
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) throw error
    return { name: 'store', status: 'unavailable' as const, detail: error.message }
  }
}

export default health
