/** Whatever goes wrong is answered as problem+json (RFC 9457), and says nothing that was not meant to be said. */
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Static } from 'typebox'
import { recordUnreadable } from '../src/broker/context.ts'
import { PROBLEMS, Problem, type ProblemCode } from '../src/errors.ts'
import { RecordUnreadable, StoreUnavailable } from '../src/ports/store.ts'
import type { Problem as ProblemSchema } from '../src/schemas/index.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The problem that is answered; null: none. */
    problem: ProblemCode | null
  }
}

const STORE_RETRY_SECONDS = 1

export default fp(
  async (app: FastifyInstance) => {
    app.decorateRequest('problem', null)
    app.setErrorHandler((error: FastifyError, request, reply) => sendProblem(request, reply, toldOf(request, error)))
    app.setNotFoundHandler((request, reply) => {
      const detail = 'There is no such route. The routes are listed at /docs.'
      return sendProblem(request, reply, new Problem('not_found', detail))
    })
  },
  { name: 'problem' },
)

export function sendProblem(request: FastifyRequest, reply: FastifyReply, problem: Problem) {
  request.problem = problem.code
  if (problem.retryAfterSeconds !== undefined) reply.header('retry-after', problem.retryAfterSeconds)
  return reply
    .code(problem.status)
    .header('cache-control', 'no-store')
    .type('application/problem+json')
    .send(membersOf(request, problem))
}

/** RFC 9457, section 3. How long to wait is for a header to say, or for who has none. */
export function membersOf(request: FastifyRequest, problem: Problem): Static<typeof ProblemSchema> {
  return {
    type: `urn:healthtap-gateway:problem:${problem.code}`,
    title: PROBLEMS[problem.code].title,
    status: problem.status,
    detail: problem.message,
    code: problem.code,
    request_id: request.id,
    ...(problem.errors === undefined ? {} : { errors: [...problem.errors] }),
    ...(problem.upstream === undefined || Object.keys(problem.upstream).length === 0
      ? {}
      : { upstream: problem.upstream }),
  }
}

/** What a failure is called towards callers; what they are not told is logged. */
export function toldOf(request: FastifyRequest, error: FastifyError): Problem {
  const problem = problemFrom(error)
  if (problem.code === 'internal_error') request.log.error({ err: error }, 'internal error')
  return problem
}

function problemFrom(error: FastifyError): Problem {
  if (error instanceof Problem) return error
  if (error instanceof StoreUnavailable) {
    const detail = 'The store cannot be reached just now. Nothing was lost: ask again.'
    return new Problem('store_unavailable', detail, { retryAfterSeconds: STORE_RETRY_SECONDS })
  }
  if (error instanceof RecordUnreadable) return recordUnreadable(error)
  if (error.validation !== undefined) return validationProblem(error)
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return new Problem('payload_too_large', 'The body is larger than this service takes.')
  }
  if (error.code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') {
    return new Problem('unsupported_media_type', 'Send the body as application/json.')
  }
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) {
    // Fastify's own refusals, most often a body that is no JSON. Its message may quote the body.
    const errors = [{ path: '', message: 'cannot be read' }]
    return new Problem('validation_failed', 'The request cannot be read: the body has to be valid JSON.', { errors })
  }
  return new Problem('internal_error', 'Something went wrong that should not. The request_id leads to it in the log.')
}

const PREFIX: Readonly<Record<string, string>> = { body: '', querystring: 'query', params: 'path', headers: 'header' }

function validationProblem(error: FastifyError): Problem {
  const prefix = PREFIX[error.validationContext ?? 'body'] ?? ''
  // What stands under a refused name is named by the refusal of the name itself.
  const told = (error.validation ?? []).filter(({ keyword }) => keyword !== 'not')
  const found = told.map(({ instancePath, keyword, message, params }) => {
    const { missingProperty, additionalProperty, propertyName } = params as Record<string, string | undefined>
    const field = missingProperty ?? additionalProperty ?? propertyName
    const path = `${prefix}${instancePath}${field === undefined ? '' : `/${field}`}`
    return { path, message: MESSAGES[keyword] ?? message ?? 'is not valid' }
  })
  const errors = [...new Map(found.map(entry => [`${entry.path} ${entry.message}`, entry])).values()]
  const fields = errors.map(entry => `${entry.path === '' ? 'the body' : entry.path} ${entry.message}`)
  return new Problem('validation_failed', `${fields.join('; ')}.`, { errors })
}

const MESSAGES: Readonly<Record<string, string>> = {
  required: 'is required',
  additionalProperties: 'is not a known field',
  propertyNames: 'is not allowed here',
  pattern: 'has characters or a length that is not allowed',
}
