/** Callers that are narrowed to some scopes: what they do with a grant, by its guid, is refused where it has others. */
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Broker } from '../src/broker/broker.ts'
import type { Caller } from '../src/callers/caller.ts'
import { checkScope } from '../src/callers/reach.ts'

export default fp(
  async (app: FastifyInstance, { broker }: { broker: Broker }) => {
    app.addHook('preHandler', ({ caller, params }, _reply, done) => {
      const { guid } = params as { guid?: string }
      if (caller === null || caller.scopes === null || guid === undefined) done()
      else checked(caller, guid).then(() => done(), done)
    })

    async function checked(caller: Caller, guid: string): Promise<void> {
      const scope = await scopeOf(guid)
      if (scope !== null) checkScope(caller, scope)
    }

    /** null: there is no such grant, and the route says so, or makes it. */
    async function scopeOf(guid: string): Promise<string | null> {
      const grant = broker.lookup.current(guid) ?? (await broker.lookup.storedOrLast(guid))
      return grant === null || grant.status === 'revoking' ? null : grant.scope
    }
  },
  { name: 'reach' },
)
