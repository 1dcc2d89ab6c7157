/**
 * Before it closes, the service says that it will, and goes on answering: whoever sends requests here learns of it by the
 * readiness, or by a connection that ends with its answer, and has time to send them elsewhere.
 */
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance {
    /** Not ready from now on; `close` is to follow. */
    leave(): void
    isLeaving(): boolean
  }
}

export default fp(
  async (app: FastifyInstance, { onLeave }: { onLeave: () => void }) => {
    let isLeaving = false
    app.decorate('isLeaving', () => isLeaving)
    app.decorate('leave', () => {
      isLeaving = true
      onLeave()
    })
    app.addHook('onRequest', (_request, reply, done) => {
      if (isLeaving) reply.header('connection', 'close')
      done()
    })
    app.addHook('preClose', async () => app.leave())
  },
  { name: 'leaving' },
)
