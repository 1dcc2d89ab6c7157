/** Who calls, and whether they may: an API key as a bearer token (RFC 6750), a permission for each route. */
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { type Caller, type Callers, may, type Permission } from '../src/callers/callers.ts'
import { Problem } from '../src/errors.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a caller needs to be allowed. Every route under /v1 names one. */
    permission?: Permission
  }
  interface FastifyRequest {
    /** Who asks; null outside of /v1. */
    caller: Caller | null
  }
}

export default fp(
  async (app: FastifyInstance, options: { callers: Callers }) => {
    app.decorateRequest('caller', null)

    app.addHook('onRoute', route => {
      if (route.url.startsWith('/v1') && route.config?.permission === undefined) {
        throw new Error(`The route ${route.url} does not say which permission it needs.`)
      }
    })

    app.addHook('onRequest', async (request, reply) => {
      const { permission } = request.routeOptions.config
      if (permission === undefined) return
      const apiKey = /^Bearer +([\x21-\x7e]+)$/i.exec(request.headers.authorization ?? '')?.[1]
      const caller = apiKey === undefined ? null : options.callers.identify(apiKey)
      if (caller === null) {
        const isMissing = request.headers.authorization === undefined
        reply.header('www-authenticate', isMissing ? 'Bearer' : 'Bearer error="invalid_token"')
        const detail = 'Send an API key that is listed in CALLERS: Authorization: Bearer <API key>.'
        throw new Problem('unauthorized', detail)
      }
      request.caller = caller
      if (!may(caller, permission)) {
        reply.header('www-authenticate', `Bearer error="insufficient_scope", scope="${permission}"`)
        throw new Problem('forbidden', `The caller ${caller.name} lacks the permission ${permission}.`)
      }
    })
  },
  { name: 'auth' },
)
