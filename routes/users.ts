import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { checkProvisioning } from '../src/callers/reach.ts'
import { problemAnswers } from '../src/schemas/answers.ts'
import { AccessToken, ref, Username } from '../src/schemas/index.ts'
import type { RouteOptions } from './options.ts'
import { accessTokenView, auditedToken } from './views.ts'

const users: FastifyPluginAsyncTypebox<RouteOptions> = async (app, { broker, clock }) => {
  app.post(
    '/v1/users',
    {
      config: { permission: 'provision', audit: 'user.provision' },
      schema: {
        operationId: 'provisionUser',
        tags: ['Provisioning'],
        summary: 'A HealthTap user for a user of yours',
        description:
          'Makes the HealthTap user with a random password that nobody gets to see, and stores the grant. The same username again answers the same grant, also when two calls race. Permission: `provision`.',
        body: Type.Object(
          {
            username: Username,
            attributes: Type.Optional(
              Type.Record(Type.String(), Type.Unknown(), {
                propertyNames: { not: { enum: ['username', 'password'] } },
                description: "More fields for HealthTap's request body; `username` and `password` are not allowed.",
                examples: [{ locale: 'en' }],
              }),
            ),
          },
          { additionalProperties: false, examples: [{ username: '4711' }] },
        ),
        response: {
          200: { description: 'It was made before.', content: { 'application/json': { schema: ref(AccessToken) } } },
          201: { description: 'It is made.', content: { 'application/json': { schema: ref(AccessToken) } } },
          ...problemAnswers(
            'validation_failed',
            'grant_not_found',
            'reauthorization_required',
            'username_taken',
            'provisioning_in_doubt',
            'payload_too_large',
            'unsupported_media_type',
            'client_misconfigured',
            'provider_response_invalid',
            'guid_unresolved',
            'provider_unavailable',
          ),
        },
      },
    },
    async (request, reply) => {
      checkProvisioning(request.caller)
      const { username, attributes = {} } = request.body
      const { grant, created } = await broker.provisionings.provision({ username, attributes })
      request.audited = auditedToken(grant)
      reply.code(created ? 201 : 200).header('location', `/v1/grants/${grant.guid}`)
      return accessTokenView(grant, broker.policy, clock.now())
    },
  )
}

export default users
