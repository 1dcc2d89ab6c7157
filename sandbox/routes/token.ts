import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Sandbox } from '../app.ts'
import { tokens } from '../http/answer.ts'
import { clientCredentials, type Parameter, parametersOf } from '../http/parameters.ts'
import type { Job } from '../http/perform.ts'
import { demandParameter, OAuthError } from '../provider/oauth-error.ts'
import type { Provider } from '../provider/provider.ts'

/** The token endpoint. @see RFC 6749, section 3.2 */
export function tokenRoutes(app: FastifyInstance, { provider, counts, perform }: Sandbox): void {
  app.post('/oauth/token', (request, reply) =>
    counts.duringTokenRequest(() => perform(request, reply, tokenJob(request, provider))),
  )
}

function tokenJob(request: FastifyRequest, provider: Provider): Job {
  const parameter = parametersOf(request)
  const grantType = parameter('grant_type')
  if (grantType === 'authorization_code') return exchange(request, parameter, provider)
  if (grantType === 'refresh_token') return refresh(request, parameter, provider)
  return {
    operation: 'other',
    guid: undefined,
    async attempt() {
      demandParameter(grantType, 'grant_type')
      throw new OAuthError('unsupported_grant_type')
    },
  }
}

function exchange(request: FastifyRequest, parameter: Parameter, provider: Provider): Job {
  const code = parameter('code')
  return {
    operation: 'exchange',
    guid: provider.guidOfCode(code),
    async attempt(pause) {
      const approved = provider.approveExchange({
        code,
        redirectUri: parameter('redirect_uri'),
        codeVerifier: parameter('code_verifier'),
        credentials: clientCredentials(request, parameter),
      })
      await pause()
      const pair = provider.exchange(approved)
      return { answer: tokens(200, pair, provider.settings.guidInExchange ? pair.guid : undefined), outcome: 'ok' }
    },
  }
}

function refresh(request: FastifyRequest, parameter: Parameter, provider: Provider): Job {
  const refreshToken = parameter('refresh_token')
  return {
    operation: 'refresh',
    guid: provider.guidOfToken(refreshToken),
    async attempt(pause) {
      const approved = provider.approveRefresh({
        refreshToken,
        scope: parameter('scope'),
        credentials: clientCredentials(request, parameter),
      })
      await pause()
      return { answer: tokens(200, provider.refresh(approved), undefined), outcome: 'ok' }
    },
  }
}
