/**
 * Who calls, and whether they may: an API key or a JWT as a bearer token (RFC 6750), or a client certificate (RFC 8705
 * knows it by the same name); a permission for each route.
 */
import type { TLSSocket } from 'node:tls'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { type Caller, may, type Permission } from '../src/callers/caller.ts'
import type { Callers } from '../src/callers/callers.ts'
import { IssuerUnavailable } from '../src/callers/key-sets.ts'
import { checkPerson } from '../src/callers/reach.ts'
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
  async (app: FastifyInstance, { callers }: { callers: Callers }) => {
    app.decorateRequest('caller', null)

    app.addHook('onRoute', route => {
      if (route.url.startsWith('/v1') && route.config?.permission === undefined) {
        throw new Error(`The route ${route.url} does not say which permission it needs.`)
      }
    })

    app.addHook('onRequest', (request, reply, done) => {
      const { permission } = request.routeOptions.config
      if (permission === undefined) return done()
      // RFC 9111, section 5.2.2.5: what a caller is told is kept by nobody on the way, whichever route it is.
      reply.header('cache-control', 'no-store')
      const caller = callerOf(request)
      if (!(caller instanceof Promise)) {
        admit(caller, permission, request, reply)
        done()
      } else caller.then(known => admit(known, permission, request, reply)).then(() => done(), done)
    })

    /** Throws where it may not go on. */
    function admit(caller: Caller | null, permission: Permission, request: FastifyRequest, reply: FastifyReply): void {
      if (caller === null) throw unauthorized(request, reply)
      // Known also where it is refused: the audit stream says who was.
      request.caller = caller
      if (!may(caller, permission)) {
        reply.header('www-authenticate', `Bearer error="insufficient_scope", scope="${permission}"`)
        throw new Problem('forbidden', `The caller ${caller.name} lacks the permission ${permission}.`)
      }
      const { guid } = request.params as { guid?: string }
      if (guid !== undefined) checkPerson(caller, guid)
    }

    /**
     * At once where it can be told without asking anybody. A bearer token that is no good is not made good by a certificate
     * beside it.
     */
    function callerOf(request: FastifyRequest): Caller | null | Promise<Caller | null> {
      const { authorization } = request.headers
      if (authorization !== undefined) {
        const token = /^Bearer +([\x21-\x7e]+)$/i.exec(authorization)?.[1]
        const caller = token === undefined ? null : callers.bearer(token)
        return caller instanceof Promise ? caller.catch(error => refused(error, request)) : caller
      }
      const socket = request.raw.socket as Partial<TLSSocket>
      const certificate = socket.authorized === true ? socket.getPeerX509Certificate?.() : undefined
      return certificate === undefined ? null : callers.certificate(certificate)
    }

    function refused(error: unknown, request: FastifyRequest): never {
      if (!(error instanceof IssuerUnavailable)) throw error
      request.log.error({ err: error }, 'a token cannot be verified')
      const detail = "The keys of this token's issuer cannot be fetched just now, so it cannot be verified. Ask again."
      throw new Problem('unauthorized', detail, { retryAfterSeconds: 5 })
    }
  },
  { name: 'auth' },
)

function unauthorized(request: FastifyRequest, reply: FastifyReply): Problem {
  const isMissing = request.headers.authorization === undefined
  reply.header('www-authenticate', isMissing ? 'Bearer' : 'Bearer error="invalid_token"')
  const detail =
    'Send an API key that is listed in CALLERS, or a JWT of an issuer that is: Authorization: Bearer <API key>. It has to be in time.'
  return new Problem('unauthorized', detail)
}
