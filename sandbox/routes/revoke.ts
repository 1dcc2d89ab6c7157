import type { FastifyInstance } from 'fastify'
import type { Sandbox } from '../app.ts'
import { json, oauthError } from '../http/answer.ts'
import { clientCredentials, parametersOf } from '../http/parameters.ts'
import { OAuthError } from '../provider/oauth-error.ts'

/** Token revocation. @see RFC 7009, section 2 */
export function revokeRoutes(app: FastifyInstance, { provider, perform }: Sandbox): void {
  app.post('/oauth/revoke', (request, reply) => {
    const parameter = parametersOf(request)
    const token = parameter('token')
    return perform(request, reply, {
      operation: 'revoke',
      guid: provider.guidOfToken(token),
      async attempt(pause) {
        if (!provider.isClient(clientCredentials(request, parameter))) {
          // Not `invalid_client` and not 401: Doorkeeper has an answer of its own here.
          const error = new OAuthError('unauthorized_client')
          return { answer: oauthError(403, error), outcome: error.code }
        }
        await pause()
        const revoked = provider.revoke(token)
        return { answer: json(200, {}), outcome: revoked ? 'ok' : 'no_effect' }
      },
    })
  })
}
