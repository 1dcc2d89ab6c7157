/**
 * A line in the audit stream for each request that a route declares it for, or for each of those whom it is about, written before
 * the answer goes out: who hangs up before it comes has done what they asked for all the same. What is answered in the same turn
 * of the event loop is written together, and then goes out together: docs/performance.md says what that saves.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { RequestEvent } from '../src/audit/line.ts'
import type { AuditLog } from '../src/audit/log.ts'
import type { Caller } from '../src/callers/caller.ts'
import type { Problem } from '../src/errors.ts'
import type { Secret } from '../src/ports/secret.ts'
import { inOwnScope } from '../src/scope.ts'
import { createTurn } from '../src/turn.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a request to this route is called in the audit stream. Every route under /v1 has one. */
    audit?: RequestEvent
  }
  interface FastifyRequest {
    /** What is answered, for the audit stream; null: nothing but what the path names. */
    audited: Audited | null
    /** What is answered of each of many, in a line of its own; null: `audited` is all there is. */
    auditedEach: readonly Audited[] | null
  }
}

/**
 * Node takes no more requests from a client that does not read its answers, once they are there: if they waited for the end of the
 * turn, one that sends thousands in a row would have all of them in memory by then.
 */
const MOST_TOGETHER = 64

export interface Audited {
  readonly guid?: string
  readonly version?: number
  /** Given where a token is handed out, or taken in. */
  readonly accessToken?: Secret
  /** Why this one of many is not answered, although the request is. */
  readonly problem?: Problem
}

export default fp(
  async (app: FastifyInstance, options: { audit: Pick<AuditLog, 'record'> }) => {
    app.decorateRequest('audited', null)
    app.decorateRequest('auditedEach', null)

    app.addHook('onRoute', route => {
      if (route.url.startsWith('/v1') && route.config?.audit === undefined) {
        throw new Error(`The route ${route.url} does not say what it is called in the audit stream.`)
      }
    })

    function record({ request, reply }: Answer): void {
      const event = request.routeOptions.config.audit
      if (event === undefined) return
      for (const audited of request.auditedEach ?? [request.audited]) {
        options.audit.record({ event, ...factsOf(request, reply, audited) })
      }
    }

    const turn = createTurn<Answer>(MOST_TOGETHER, answers => {
      answers.forEach(record)
      answers.forEach(send)
    })
    app.addHook('onSend', (request, reply, payload, done) => {
      turn.put({ request, reply, goOn: inOwnScope(() => done(null, payload)) })
    })
    // Also of those who have hung up, whose answer nobody waits for.
    app.addHook('onClose', async () => {
      await nextTurn()
      turn.end()
    })
  },
  { name: 'audit' },
)

interface Answer {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  /** It goes out. */
  readonly goOn: () => void
}

/** One that cannot go out harms none of the others. */
function send({ request, reply, goOn }: Answer): void {
  try {
    goOn()
  } catch (error) {
    request.log.error({ err: error }, 'an answer cannot be sent')
    reply.raw.destroy()
  }
}

/** Nothing of a query string or a body, and of a path what has the form of a guid. */
function factsOf(request: FastifyRequest, reply: FastifyReply, audited: Audited | null) {
  const { caller, problem } = request
  const own = problem === null ? audited?.problem : undefined
  return {
    by: request.routeOptions.config.permission === undefined ? ('browser' as const) : ('caller' as const),
    caller: whoIs(caller),
    guid: audited?.guid ?? guidInPath(request.params),
    version: audited?.version,
    // Not where it was refused in the end: then nobody was given it.
    accessToken: problem === null ? audited?.accessToken : undefined,
    requestId: request.id,
    outcome: problem ?? own?.code ?? ('ok' as const),
    status: own?.status ?? reply.statusCode,
    remote: request.ip,
  }
}

/** One of many workloads of an issuer is told by its subject too. */
function whoIs(caller: Caller | null): string | undefined {
  return caller?.subject ? `${caller.name}/${caller.subject}` : caller?.name
}

export function guidInPath(params: unknown): string | undefined {
  const guid = (params as { guid?: string } | null)?.guid
  return guid !== undefined && GUID.test(guid) ? guid : undefined
}

/** Refused requests come here before their path is checked. */
const GUID = /^[A-Za-z0-9._~-]{1,128}$/
