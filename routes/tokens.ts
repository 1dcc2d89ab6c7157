import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { checkScope } from '../src/callers/reach.ts'
import { problemAnswers } from '../src/schemas/answers.ts'
import { AccessToken, Guid, MinTtl, ref, Version } from '../src/schemas/index.ts'
import type { RouteOptions } from './options.ts'
import { accessTokenView, auditedToken } from './views.ts'

const tokens: FastifyPluginAsyncTypebox<RouteOptions> = async (app, { broker, clock }) => {
  app.get(
    '/v1/grants/:guid/token',
    {
      config: { permission: 'token:read', audit: 'token.read' },
      schema: {
        operationId: 'getToken',
        tags: ['Tokens'],
        summary: 'A valid access token',
        description:
          'Always a token that HealthTap accepts. It is renewed first where it would not live long enough; many readers share one renewal. Where a renewal fails for a passing reason and the current token still lives, that one is answered. Permission: `token:read`.',
        params: Type.Object({ guid: Guid }),
        querystring: Type.Object(
          {
            min_ttl: Type.Optional(MinTtl),
          },
          { additionalProperties: false },
        ),
        response: {
          200: { description: 'The token.', content: { 'application/json': { schema: ref(AccessToken) } } },
          ...problemAnswers(
            'validation_failed',
            'grant_not_found',
            'reauthorization_required',
            'client_misconfigured',
            'provider_response_invalid',
            'provider_unavailable',
          ),
        },
      },
    },
    async request => {
      const { min_ttl: minTtlSeconds } = request.query
      const wishedTtlMs = minTtlSeconds === undefined ? null : minTtlSeconds * 1000
      const grant = await broker.tokens.read(request.params.guid, wishedTtlMs)
      // What was looked at before may have been replaced since, or be newer than this.
      checkScope(request.caller, grant.scope)
      request.audited = auditedToken(grant)
      return accessTokenView(grant, broker.policy, clock.now())
    },
  )

  app.post(
    '/v1/grants/:guid/refresh',
    {
      config: { permission: 'token:refresh', audit: 'token.refresh' },
      schema: {
        operationId: 'reportRefusedToken',
        tags: ['Tokens'],
        summary: 'HealthTap refused this version',
        description:
          'Renews only if this version is still the current one, else answers the current one: any number of callers who report the same version cause one rotation. Permission: `token:refresh`.',
        params: Type.Object({ guid: Guid }),
        body: Type.Object({ version: Version }, { additionalProperties: false }),
        response: {
          200: { description: 'A newer token.', content: { 'application/json': { schema: ref(AccessToken) } } },
          ...problemAnswers(
            'validation_failed',
            'grant_not_found',
            'reauthorization_required',
            'payload_too_large',
            'unsupported_media_type',
            'client_misconfigured',
            'provider_response_invalid',
            'provider_unavailable',
          ),
        },
      },
    },
    async request => {
      const grant = await broker.tokens.report(request.params.guid, request.body.version)
      checkScope(request.caller, grant.scope)
      request.audited = auditedToken(grant)
      return accessTokenView(grant, broker.policy, clock.now())
    },
  )
}

export default tokens
