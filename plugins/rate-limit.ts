/** How often a caller may ask, and how often anybody may ask about one guid. What it counts is known by then: after auth. */
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import type { Caller } from '../src/callers/caller.ts'
import { Problem } from '../src/errors.ts'
import type { RateLimits, Refusal } from '../src/limits/rate-limits.ts'
import { GUID_PATTERN } from '../src/schemas/index.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route counts by itself, since what is to be counted stands in the body. */
    countsItself?: boolean
  }
}

const GUID = new RegExp(GUID_PATTERN)

export default fp(
  async (app: FastifyInstance, { limits }: { limits: RateLimits }) => {
    app.addHook('onRequest', ({ caller, params, routeOptions }, _reply, done) => {
      const isCounted = caller !== null && routeOptions.config.countsItself !== true
      if (isCounted) refuse(caller, limits.refuse(caller, guidOf(params)))
      done()
    })
    app.addHook('onClose', async () => limits.close())
  },
  { name: 'rate-limit', dependencies: ['auth'] },
)

/** Throws `rate_limited`, unless there is nothing to refuse. `count`: how many were asked for at once. */
export function refuse(caller: Caller, refusal: Refusal | null, count = 1): void {
  if (refusal === null) return
  const { of, retryAfterSeconds, most } = refusal
  const detail =
    of === 'caller'
      ? `The caller ${caller.name} asks more often than it may, or its replicas together do.`
      : 'This guid is asked about more often than it may be, by all callers together.'
  const advice = count > most ? `It may ask for ${most} at once at most.` : 'Keep tokens until their rotates_at.'
  throw new Problem('rate_limited', `${detail} ${advice}`, { retryAfterSeconds })
}

/** null: the route has none, or what stands there is none, which its schema refuses. */
function guidOf(params: unknown): string | null {
  const { guid } = (params ?? {}) as { guid?: string }
  return guid !== undefined && GUID.test(guid) ? guid : null
}
