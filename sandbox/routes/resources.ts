import type { FastifyInstance } from 'fastify'
import type { Sandbox } from '../app.ts'
import { challenge, empty, json } from '../http/answer.ts'
import { bearerToken } from '../http/parameters.ts'

const REASONS = {
  unknown: 'The access token is invalid',
  revoked: 'The access token was revoked',
  expired: 'The access token expired',
} as const

/** Protected resources: one for anybody with a living access token, and one that wants a scope. */
const RESOURCES = [
  { path: '/api/v2.1/me.json', scope: undefined },
  { path: '/api/v2.1/pay.json', scope: 'pay' },
]

export function resourceRoutes(app: FastifyInstance, { provider, perform }: Sandbox): void {
  for (const { path, scope } of RESOURCES) {
    app.get(path, (request, reply) => {
      const accessToken = bearerToken(request)
      return perform(request, reply, {
        operation: 'me',
        guid: provider.guidOfToken(accessToken),
        async attempt(pause) {
          await pause()
          const check = provider.checkBearer(accessToken, scope)
          if (check.ok) return { answer: json(200, check.person), outcome: 'ok' }
          // Doorkeeper keeps the challenge to itself when it is only the scope that is missing.
          if (check.reason === 'scope') return { answer: empty(403), outcome: 'insufficient_scope' }
          const headers = { 'www-authenticate': challenge('invalid_token', REASONS[check.reason]) }
          return { answer: empty(401, headers), outcome: `invalid_token_${check.reason}` }
        },
      })
    })
  }
}
