import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Sandbox } from '../app.ts'
import { tokens } from '../http/answer.ts'
import { clientCredentials, type Parameter, parametersOf } from '../http/parameters.ts'
import type { Job, Result } from '../http/perform.ts'
import { demandParameter, OAuthError } from '../provider/oauth-error.ts'
import type { Provider } from '../provider/provider.ts'
import type { TokenPair } from '../provider/token-pairs.ts'

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
  if (grantType === 'password') return signIn(request, parameter, provider)
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
      return signedIn(provider.exchange(approved), provider)
    },
  }
}

function signIn(request: FastifyRequest, parameter: Parameter, provider: Provider): Job {
  const username = parameter('username')
  return {
    operation: 'password',
    guid: username === undefined ? undefined : provider.people.byUsername(username)?.guid,
    async attempt(pause) {
      const approved = provider.approvePassword({
        username,
        password: parameter('password'),
        scope: parameter('scope'),
        credentials: clientCredentials(request, parameter),
      })
      await pause()
      return signedIn(provider.signInByPassword(approved), provider)
    },
  }
}

function signedIn(pair: TokenPair, provider: Provider): Result {
  const guid = provider.settings.guidInExchange ? pair.guid : undefined
  return { answer: tokens(200, pair, provider.secondsLeft(pair), guid), outcome: 'ok' }
}

function refresh(request: FastifyRequest, parameter: Parameter, provider: Provider): Job {
  const refreshToken = parameter('refresh_token')
  return {
    operation: 'refresh',
    guid: provider.guidOfToken(refreshToken),
    async attempt(pause, fault) {
      const approved = provider.approveRefresh({
        refreshToken,
        scope: parameter('scope'),
        credentials: clientCredentials(request, parameter),
      })
      await pause()
      // A client that is told no new refresh token goes on with the old one.
      const pair = provider.refresh(approved, { keepsRefreshToken: fault === 'omit_refresh_token' })
      return { answer: tokens(200, pair, provider.secondsLeft(pair), undefined), outcome: 'ok' }
    },
  }
}
