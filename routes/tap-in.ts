import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyError, FastifyReply } from 'fastify'
import { Type } from 'typebox'
import { toldOf } from '../plugins/problem.ts'
import { Problem, type ProblemCode } from '../src/errors.ts'
import { Secret } from '../src/ports/secret.ts'
import type { RouteOptions } from './options.ts'
import { PAGE_HEADERS, type Page, renderPage } from './pages.ts'
import { auditedGrant } from './views.ts'

const htmlPage = { 'text/html': { schema: Type.String() } }

const tapIn: FastifyPluginAsyncTypebox<RouteOptions> = async (app, { broker }) => {
  app.get(
    '/tap-in/callback',
    {
      config: { audit: 'tap_in.callback', door: 'public' },
      // Who only asks for the headers, as link scanners do, does not spend a code.
      exposeHeadRoute: false,
      attachValidation: true,
      errorHandler: (error: FastifyError, request, reply) => showProblem(reply, toldOf(request, error)),
      schema: {
        operationId: 'tapInCallback',
        tags: ['Tap-in'],
        summary: 'The hosted callback',
        description:
          "Where HealthTap sends the person's browser, if this address is the redirect_uri. Exchanges the code, and sends the browser on to the authorization's `return_to` with `state` added, or shows a plain page. Never shows a token. No API key.",
        security: [],
        querystring: Type.Object({
          state: Type.String({ maxLength: 128 }),
          code: Type.Optional(Type.String({ minLength: 1, maxLength: 2048 })),
          error: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
        }),
        response: {
          200: { description: 'Connected, and no `return_to` was given.', content: htmlPage },
          303: { description: 'To `return_to`, with `state` added.', type: 'null' },
          400: { description: 'The state is unknown, used or expired.', content: htmlPage },
          403: { description: 'The person chose Deny, and no `return_to` was given.', content: htmlPage },
          404: { description: 'The grant that this code had brought is gone.', content: htmlPage },
          409: { description: 'Somebody else came back, or HealthTap has ended the grant.', content: htmlPage },
          500: { description: 'Internal error.', content: htmlPage },
          502: { description: 'HealthTap could not do it, and no `return_to` was given.', content: htmlPage },
          503: { description: 'HealthTap, or the store, cannot be reached just now: reload.', content: htmlPage },
          504: { description: 'HealthTap was asked, and its answer was lost.', content: htmlPage },
        },
      },
    },
    async (request, reply) => {
      if (request.validationError !== undefined) throw new Problem('state_invalid', 'The address is not complete.')
      const { state, code, error } = request.query
      const result = await broker.callbacks.complete({
        state,
        code: code === undefined ? null : new Secret(code),
        error: error ?? null,
      })
      request.problem = result.problem?.code ?? null
      if (result.grant !== null) request.audited = auditedGrant(result.grant)
      if (result.returnTo !== null) {
        return reply
          .headers({ 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' })
          .redirect(result.returnTo, 303)
      }
      return result.problem === null ? show(reply, 200, CONNECTED) : showProblem(reply, result.problem)
    },
  )
}

const CONNECTED: Page = {
  title: 'Your HealthTap account is connected',
  text: 'You can close this page and go back to the app.',
}

const FAILED: Page = {
  title: 'Your HealthTap account is not connected',
  text: 'Something went wrong between HealthTap and us. Go back to the app and try again.',
}

const PAGES: Partial<Readonly<Record<ProblemCode, Page>>> = {
  access_denied: {
    title: 'You chose not to connect',
    text: 'Nothing was shared. You can close this page, or go back to the app and try again.',
  },
  state_invalid: {
    title: 'This link cannot be used',
    text: 'It was used already, or is too old. Go back to the app and connect again.',
  },
  guid_mismatch: {
    title: 'This is another HealthTap account',
    text: 'You are signed in at HealthTap as somebody else than the app expects. Sign out there, then connect again.',
  },
}

const LATER: Page = { title: 'Just a moment', text: 'HealthTap cannot be reached. Reload this page in a little while.' }

function showProblem(reply: FastifyReply, problem: Problem) {
  reply.request.problem = problem.code
  if (problem.retryAfterSeconds !== undefined) reply.header('retry-after', problem.retryAfterSeconds)
  return show(reply, problem.status, PAGES[problem.code] ?? (problem.status === 503 ? LATER : FAILED))
}

function show(reply: FastifyReply, status: number, page: Page) {
  return reply.code(status).headers(PAGE_HEADERS).send(renderPage(page))
}

export default tapIn
