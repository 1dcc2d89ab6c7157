import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from 'typebox'
import { checkPerson, checkScope, checkUsername, reaches } from '../src/callers/reach.ts'
import { Secret } from '../src/ports/secret.ts'
import { problemAnswers } from '../src/schemas/answers.ts'
import {
  AccessToken,
  Grant,
  GrantList,
  GrantStatus,
  Guid,
  RedirectUri,
  ref,
  Scope,
  Seconds,
  State,
  Token,
  Username,
} from '../src/schemas/index.ts'
import type { RouteOptions } from './options.ts'
import { accessTokenView, auditedGrant, auditedToken, grantView } from './views.ts'

const ofGuid = Type.Object({ guid: Guid })

const grants: FastifyPluginAsyncTypebox<RouteOptions> = async (app, { broker, clock }) => {
  app.post(
    '/v1/grants',
    {
      config: { permission: 'authorize', audit: 'grant.exchange' },
      schema: {
        operationId: 'exchangeCode',
        tags: ['Tap-in'],
        summary: 'Exchange an authorization code',
        description:
          "The code exchange (RFC 6749, section 4.1.3). The guid comes from HealthTap's answer, else from the identity URL, else from `guid` here; where HealthTap names another one than `guid`, the tokens are given back. Repeating the same code and redirect_uri within ten minutes, with the same state or again without one, answers the same grant, and no second exchange. Permission: `authorize`.",
        body: Type.Object(
          {
            code: Type.String({ minLength: 1, maxLength: 2048, pattern: '^[\\x20-\\x7e]+$', examples: ['3f1c0b7a9d'] }),
            redirect_uri: RedirectUri,
            state: Type.Optional(State),
            guid: Type.Optional(Guid),
          },
          { additionalProperties: false },
        ),
        response: {
          200: {
            description: 'It was exchanged before.',
            content: { 'application/json': { schema: ref(AccessToken) } },
          },
          201: { description: 'It is exchanged.', content: { 'application/json': { schema: ref(AccessToken) } } },
          ...problemAnswers(
            'validation_failed',
            'redirect_uri_not_allowed',
            'state_invalid',
            'authorization_code_rejected',
            'access_denied',
            'grant_not_found',
            'reauthorization_required',
            'guid_mismatch',
            'payload_too_large',
            'unsupported_media_type',
            'client_misconfigured',
            'provider_response_invalid',
            'guid_unresolved',
            'provider_unavailable',
            'outcome_unknown',
          ),
        },
      },
    },
    async (request, reply) => {
      const { code, redirect_uri: redirectUri, state, guid } = request.body
      const { caller } = request
      checkPerson(caller, guid)
      const { grant, created } = await broker.exchanges.exchange({
        code: new Secret(code),
        redirectUri,
        state,
        guid,
        checkScope: scope => checkScope(caller, scope),
      })
      request.audited = auditedToken(grant)
      checkPerson(caller, grant.guid)
      checkScope(caller, grant.scope)
      reply.code(created ? 201 : 200).header('location', `/v1/grants/${grant.guid}`)
      return accessTokenView(grant, broker.policy, clock.now())
    },
  )

  app.get(
    '/v1/grants',
    {
      config: { permission: 'grant:read', audit: 'grant.list' },
      schema: {
        operationId: 'listGrants',
        tags: ['Grants'],
        summary: 'All grants, page by page',
        description:
          'In no particular order. A grant that stays through the whole listing is shown at least once. Permission: `grant:read`.',
        querystring: Type.Object(
          {
            status: Type.Optional(GrantStatus),
            username: Type.Optional(Username),
            limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, default: 50 })),
            cursor: Type.Optional(Type.String({ maxLength: 512, pattern: '^[A-Za-z0-9_-]+$' })),
          },
          { additionalProperties: false },
        ),
        response: {
          200: { description: 'A page.', content: { 'application/json': { schema: ref(GrantList) } } },
          ...problemAnswers('validation_failed'),
        },
      },
    },
    async request => {
      const { status, username, limit = 50, cursor } = request.query
      const page = await broker.grants.list({ status, username, limit, cursor })
      const items = page.grants.filter(grant => reaches(request.caller, grant)).map(grantView)
      return { items, next_cursor: page.nextCursor }
    },
  )

  app.get(
    '/v1/grants/:guid',
    {
      config: { permission: 'grant:read', audit: 'grant.read' },
      schema: {
        operationId: 'getGrant',
        tags: ['Grants'],
        summary: 'One grant',
        description: 'Without its secrets, whatever its status. Permission: `grant:read`.',
        params: ofGuid,
        response: {
          200: { description: 'The grant.', content: { 'application/json': { schema: ref(Grant) } } },
          ...problemAnswers('validation_failed', 'grant_not_found'),
        },
      },
    },
    async request => {
      const grant = await broker.grants.read(request.params.guid)
      request.audited = auditedGrant(grant)
      return grantView(grant)
    },
  )

  app.put(
    '/v1/grants/:guid',
    {
      config: { permission: 'grant:write', audit: 'grant.import' },
      schema: {
        operationId: 'importGrant',
        tags: ['Grants'],
        summary: 'Import a grant',
        description:
          'Takes over tokens that were obtained elsewhere, as the next version of the grant. The pair that it replaces is revoked at HealthTap. Sending the current pair again, or the pair that began this authorization, changes nothing: 200. A pair of an authorization that a later one has replaced, or of a grant revoked in the last 30 days, is refused: 409 `pair_superseded`. Permission: `grant:write`.',
        params: ofGuid,
        body: Type.Object(
          {
            access_token: Token,
            refresh_token: Token,
            expires_in: { ...Seconds, description: 'Seconds the access token still lives.', examples: [7199] },
            scope: Type.Optional(Scope),
            username: Type.Optional(Username),
            refresh_token_expires_in: Type.Optional({ ...Seconds, minimum: 1 }),
          },
          { additionalProperties: false },
        ),
        response: {
          200: {
            description: 'It took the place of another, or it stands already and is unchanged.',
            content: { 'application/json': { schema: ref(Grant) } },
          },
          201: { description: 'It is new.', content: { 'application/json': { schema: ref(Grant) } } },
          ...problemAnswers(
            'validation_failed',
            'username_taken',
            'pair_superseded',
            'payload_too_large',
            'unsupported_media_type',
          ),
        },
      },
    },
    async (request, reply) => {
      const { guid } = request.params
      const { body, caller } = request
      const { grant, created } = await broker.grants.import({
        guid,
        username: body.username ?? null,
        answer: {
          pair: { accessToken: new Secret(body.access_token), refreshToken: new Secret(body.refresh_token) },
          expiresInSeconds: body.expires_in,
          refreshTokenExpiresInSeconds: body.refresh_token_expires_in ?? null,
          scope: body.scope ?? null,
          guid,
        },
        check(before, scope) {
          checkScope(caller, scope)
          checkUsername(caller, body.username, before?.username ?? null)
        },
      })
      request.audited = auditedToken(grant)
      reply.code(created ? 201 : 200).header('location', `/v1/grants/${guid}`)
      return grantView(grant)
    },
  )

  app.delete(
    '/v1/grants/:guid',
    {
      config: { permission: 'grant:write', audit: 'grant.revoke' },
      schema: {
        operationId: 'revokeGrant',
        tags: ['Grants'],
        summary: 'Revoke a grant',
        description:
          'From this moment on no caller is given its token. 204: no pair of this grant works at HealthTap any more, and the grant is gone. 202: HealthTap has not confirmed that yet, and the gateway goes on trying. A user whom the gateway made stays at HealthTap, so `POST /v1/users` with that username is then refused with `username_taken`. Permission: `grant:write`.',
        params: ofGuid,
        response: {
          202: { description: 'Not yet confirmed.', content: { 'application/json': { schema: ref(Grant) } } },
          204: { description: 'Gone.', type: 'null' },
          ...problemAnswers('validation_failed', 'grant_not_found', 'payload_too_large', 'unsupported_media_type'),
        },
      },
    },
    async (request, reply) => {
      const left = await broker.revocations.revoke(request.params.guid)
      if (left !== null) request.audited = auditedGrant(left)
      reply.code(left === null ? 204 : 202)
      return left === null ? null : grantView(left)
    },
  )
}

export default grants
