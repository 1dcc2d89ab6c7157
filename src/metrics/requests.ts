import { Counter, Histogram, type Registry } from 'prom-client'
import type { ProblemCode } from '../errors.ts'
import { SECONDS } from './buckets.ts'

export interface RequestFacts {
  readonly method: string
  /** As it is declared, with its parameters' names; '' where there is none. */
  readonly route: string
  readonly status: number
  readonly seconds: number
  /** '' where nobody is known. */
  readonly caller: string
  /** What was answered instead; null: no problem. */
  readonly problem: ProblemCode | null
  /** What was answered of some of many whom a request that was answered is about; absent: nothing. */
  readonly within?: readonly ProblemCode[] | undefined
}

/** What a guid in a batch may be answered with. */
const WITHIN_BATCHES: readonly ProblemCode[] = [
  'forbidden',
  'rate_limited',
  'grant_not_found',
  'reauthorization_required',
  'client_misconfigured',
  'provider_response_invalid',
  'provider_unavailable',
  'store_unavailable',
  'internal_error',
]

/** Callers may come from a token issuer: what they are called must not grow without end. */
const MAX_CALLERS = 100
const REFUSALS: readonly (ProblemCode | null)[] = ['unauthorized', 'forbidden', 'rate_limited']

export function requestMetrics(registers: Registry[]) {
  const duration = new Histogram({
    name: 'htgw_request_duration_seconds',
    help: 'How long requests took.',
    labelNames: ['method', 'route', 'status'],
    buckets: SECONDS,
    registers,
  })
  const refused = new Counter({
    name: 'htgw_requests_refused_total',
    help: 'Requests, and guids of batches, turned away: unauthorized, forbidden, rate_limited.',
    labelNames: ['reason', 'caller'],
    registers,
  })
  const within = new Counter({
    name: 'htgw_batch_problems_total',
    help: 'Guids of batches that were answered with a problem, by its code. The requests themselves were answered 200.',
    labelNames: ['code'],
    registers,
  })
  for (const code of WITHIN_BATCHES) within.inc({ code }, 0)
  const callers = new Set<string>()

  function named(caller: string): string {
    if (callers.size < MAX_CALLERS) callers.add(caller)
    return callers.has(caller) ? caller : 'other'
  }

  function countIfRefused(problem: ProblemCode | null, caller: string): void {
    if (REFUSALS.includes(problem)) refused.inc({ reason: problem ?? '', caller: named(caller) })
  }

  return {
    answered({ method, route, status, seconds, caller, problem, within: some = [] }: RequestFacts): void {
      duration.observe({ method, route, status }, seconds)
      countIfRefused(problem, caller)
      for (const code of some) {
        within.inc({ code })
        countIfRefused(code, caller)
      }
    },
  }
}
