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
}

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
    help: 'Requests turned away: unauthorized, forbidden, rate_limited.',
    labelNames: ['reason', 'caller'],
    registers,
  })
  const callers = new Set<string>()

  function named(caller: string): string {
    if (callers.size < MAX_CALLERS) callers.add(caller)
    return callers.has(caller) ? caller : 'other'
  }

  return {
    answered({ method, route, status, seconds, caller, problem }: RequestFacts): void {
      duration.observe({ method, route, status }, seconds)
      if (REFUSALS.includes(problem)) refused.inc({ reason: problem ?? '', caller: named(caller) })
    },
  }
}
