/**
 * Behind a door there is only what is marked as its own. The route that the router has found decides, not the text of the
 * address: there is no second reading of it that could differ from the first.
 */
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Door, Doors } from '../src/doors.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** To be opened when the app listens; closed with it. */
    doors: Doors
  }
  interface FastifyContextConfig {
    /** The other listener that serves this route too; absent: the main one alone does. */
    door?: Door
  }
}

export default fp(
  async (app: FastifyInstance, { doors }: { doors: Doors }) => {
    app.decorate('doors', doors)
    app.addHook('onRequest', (request, reply, done) => {
      const door = doors.of(request.raw)
      const isHere = door === undefined || request.is404 || request.routeOptions.config.door === door
      if (isHere) done()
      else reply.callNotFound()
    })

    // All listeners stop listening together; what is under way is waited for by the hook after the main one's own.
    let closed: Promise<void> | undefined
    app.addHook('preClose', async () => {
      closed = doors.close()
    })
    app.addHook('onClose', () => closed)
  },
  { name: 'doors' },
)
