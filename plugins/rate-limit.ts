/** How often a caller may ask, and how often anybody may ask about one guid. What it counts is known by then: after auth. */
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Caller } from '../src/callers/caller.ts'
import { Problem } from '../src/errors.ts'
import type { RateLimits, Refusal } from '../src/limits/rate-limits.ts'
import { GUID_PATTERN } from '../src/schemas/index.ts'

const GUID = new RegExp(GUID_PATTERN)

export default fp(
  async (app: FastifyInstance, { limits }: { limits: RateLimits }) => {
    app.addHook('onRequest', ({ caller, params }, _reply, done) => {
      const refusal = caller === null ? null : limits.refuse(caller, guidOf(params))
      if (caller !== null && refusal !== null) throw problemOf(refusal, caller)
      done()
    })
    app.addHook('onClose', async () => limits.close())
  },
  { name: 'rate-limit', dependencies: ['auth'] },
)

function problemOf({ of, retryAfterSeconds }: Refusal, caller: Caller): Problem {
  const detail =
    of === 'caller'
      ? `The caller ${caller.name} asks more often than it may, or its replicas together do.`
      : 'This guid is asked about more often than it may be, by all callers together.'
  return new Problem('rate_limited', `${detail} Keep tokens until their rotates_at.`, { retryAfterSeconds })
}

/** null: the route has none, or what stands there is none, which its schema refuses. */
function guidOf(params: unknown): string | null {
  const { guid } = (params ?? {}) as { guid?: string }
  return guid !== undefined && GUID.test(guid) ? guid : null
}
