/**
 * What keeps browsers from doing with an answer what it is not for (OWASP REST Security and HTTP Headers cheat sheets). The same for
 * every answer, so it is put together once; pages say their own, stricter or looser, over it.
 */
import { TLSSocket } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

const HEADERS = {
  // An API: nothing is loaded from it, and it is framed by nobody.
  'content-security-policy': "default-src 'none';frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
} as const

/** RFC 6797, section 6.1: for a year. Other names below ours are not ours to speak for. */
const HSTS = 'max-age=31536000'

export default fp(
  async (app: FastifyInstance) => {
    app.addHook('onRequest', (request, reply, done) => {
      reply.headers(HEADERS)
      // RFC 6797, section 7.2: never over plain HTTP, where a proxy may serve other names than ours.
      if (request.raw.socket instanceof TLSSocket) reply.header('strict-transport-security', HSTS)
      done()
    })
  },
  { name: 'security-headers' },
)
