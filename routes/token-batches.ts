import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import { membersOf, toldOf } from '../plugins/problem.ts'
import { refuse } from '../plugins/rate-limit.ts'
import { checkPerson, checkScope } from '../src/callers/reach.ts'
import { Problem } from '../src/errors.ts'
import type { RateLimits } from '../src/limits/rate-limits.ts'
import { problemAnswers } from '../src/schemas/answers.ts'
import { Guid, MinTtl, ref, TokenBatch } from '../src/schemas/index.ts'
import type { RouteOptions } from './options.ts'
import { accessTokenView, auditedToken } from './views.ts'

const MOST_GUIDS = 500
/** So many guids of the longest kind, and white space between them. */
const BODY_LIMIT_BYTES = 128 * 1024

const tokenBatches: FastifyPluginAsyncTypebox<RouteOptions & { limits: RateLimits }> = async (app, options) => {
  const { broker, clock, limits } = options
  app.post(
    '/v1/tokens',
    {
      config: { permission: 'token:read', audit: 'token.read', countsItself: true },
      bodyLimit: BODY_LIMIT_BYTES,
      schema: {
        operationId: 'getTokens',
        tags: ['Tokens'],
        summary: 'Valid access tokens of many people',
        description: `For each guid, in the order asked, what \`GET /v1/grants/{guid}/token\` would answer: a \`token\` or a \`problem\`. One of them keeps no other from being answered, and the answer takes no longer than a single one may. 200 says nothing about the results: look at each. 503 where the store cannot be reached and none of them is in memory; 400 where any guid is none, or is there twice: then nothing was done. Each guid counts against rate limits as a request for it would. Permission: \`token:read\`.`,
        body: Type.Object(
          {
            guids: Type.Array(Guid, {
              minItems: 1,
              maxItems: MOST_GUIDS,
              uniqueItems: true,
              description: 'Each once.',
            }),
            min_ttl: Type.Optional(MinTtl),
          },
          { additionalProperties: false },
        ),
        response: {
          200: {
            description: 'A token or a problem for each guid.',
            content: { 'application/json': { schema: ref(TokenBatch) } },
          },
          ...problemAnswers('validation_failed', 'payload_too_large', 'unsupported_media_type'),
        },
      },
      async preValidation({ body, caller }) {
        const count = guidsIn(body)
        const counted = count > MOST_GUIDS ? 1 : Math.max(1, count)
        if (caller !== null) refuse(caller, limits.refuseCaller(caller, counted), counted)
        // The schema would name what is wrong with each of them.
        if (count > MOST_GUIDS) throw tooMany()
      },
    },
    async request => {
      const { caller, body } = request
      const { guids, min_ttl: minTtlSeconds } = body
      const answers = await broker.tokens.readMany({
        guids,
        wishedTtlMs: minTtlSeconds === undefined ? null : minTtlSeconds * 1000,
        admit(guid) {
          checkPerson(caller, guid)
          if (caller !== null) refuse(caller, limits.refuseGuid(guid))
        },
        check: ({ scope }) => checkScope(caller, scope),
      })
      const results = answers.map(answer =>
        answer.status === 'fulfilled' ? answer.value : toldOf(request, answer.reason),
      )
      request.auditedEach = results.map((result, index) =>
        result instanceof Problem ? { guid: guids[index] ?? '', problem: result } : auditedToken(result),
      )
      const [first] = results
      if (first instanceof Problem && results.every(isStoreAway)) throw first
      const nowMs = clock.now()
      return {
        results: results.map((result, index) =>
          result instanceof Problem
            ? { guid: guids[index] ?? '', problem: problemView(request, result) }
            : { guid: result.guid, token: accessTokenView(result, broker.policy, nowMs) },
        ),
      }
    },
  )
}

/** 0: none, or not as they should be. */
function guidsIn(body: unknown): number {
  const { guids } = (body ?? {}) as { guids?: unknown }
  return Array.isArray(guids) ? guids.length : 0
}

function tooMany(): Problem {
  const message = `has more than ${MOST_GUIDS} items`
  return new Problem('validation_failed', `/guids ${message}.`, { errors: [{ path: '/guids', message }] })
}

/** As a request for it alone would be answered, with what a header says there. */
function problemView(request: FastifyRequest, problem: Problem) {
  const { retryAfterSeconds } = problem
  return {
    ...membersOf(request, problem),
    ...(retryAfterSeconds === undefined ? {} : { retry_after: retryAfterSeconds }),
  }
}

function isStoreAway(result: unknown): boolean {
  return result instanceof Problem && result.code === 'store_unavailable'
}

export default tokenBatches
