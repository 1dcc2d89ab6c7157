import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { checkPerson, checkScope } from '../src/callers/reach.ts'
import { problemAnswers } from '../src/schemas/answers.ts'
import { Authorization, AuthorizationOutcome, Guid, RedirectUri, ref, Scope, State } from '../src/schemas/index.ts'
import type { RouteOptions } from './options.ts'
import { outcomeView, timeOf } from './views.ts'

const authorizations: FastifyPluginAsyncTypebox<RouteOptions> = async (app, { broker }) => {
  app.post(
    '/v1/authorizations',
    {
      config: { permission: 'authorize', audit: 'authorization.begin' },
      schema: {
        operationId: 'beginAuthorization',
        tags: ['Tap-in'],
        summary: 'Begin a Tap-in',
        description:
          'Makes a `state` (and a PKCE challenge) and the address to send the person to. A state lives ten minutes and is good for one exchange. Permission: `authorize`.',
        body: Type.Object(
          {
            redirect_uri: Type.Optional(RedirectUri),
            scope: Type.Optional(Scope),
            return_to: Type.Optional(
              Type.String({
                maxLength: 2000,
                description:
                  'With the hosted callback: where the browser goes in the end. Its origin has to be one of `RETURN_TO_ORIGINS`.',
              }),
            ),
            guid: Type.Optional(Guid),
          },
          { additionalProperties: false, examples: [{ scope: 'profile_write' }] },
        ),
        response: {
          201: {
            description: 'Send the person there.',
            content: { 'application/json': { schema: ref(Authorization) } },
          },
          ...problemAnswers(
            'validation_failed',
            'redirect_uri_not_allowed',
            'scope_not_allowed',
            'return_to_not_allowed',
            'payload_too_large',
            'unsupported_media_type',
          ),
        },
      },
    },
    async (request, reply) => {
      const { redirect_uri: redirectUri, scope, return_to: returnTo, guid } = request.body
      checkPerson(request.caller, guid)
      const begun = await broker.authorizations.begin({ redirectUri, scope, returnTo, guid })
      if (guid !== undefined) request.audited = { guid }
      checkScope(request.caller, begun.authorization.scope)
      reply.code(201)
      return {
        state: begun.authorization.state,
        authorization_url: begun.authorizationUrl,
        redirect_uri: begun.authorization.redirectUri,
        scope: begun.authorization.scope,
        expires_at: timeOf(begun.authorization.expiresAtMs),
      }
    },
  )

  app.get(
    '/v1/authorizations/:state',
    {
      config: { permission: 'authorize', audit: 'authorization.read' },
      schema: {
        operationId: 'getAuthorization',
        tags: ['Tap-in'],
        summary: 'How a Tap-in went',
        description:
          'For products that use the hosted callback: the outcome, up to ten minutes after the state has expired. Permission: `authorize`.',
        params: Type.Object({ state: State }),
        response: {
          200: {
            description: 'How it stands.',
            content: { 'application/json': { schema: ref(AuthorizationOutcome) } },
          },
          ...problemAnswers('validation_failed', 'authorization_not_found'),
        },
      },
    },
    async request => {
      const authorization = await broker.authorizations.read(request.params.state)
      if (authorization.guid !== null) request.audited = { guid: authorization.guid }
      checkPerson(request.caller, authorization.guid ?? authorization.expectedGuid ?? undefined)
      return outcomeView(authorization)
    },
  )
}

export default authorizations
