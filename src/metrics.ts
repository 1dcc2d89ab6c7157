/** What is counted, for Prometheus. No guid, no username and no secret is ever a label; callers are, the first hundred. */
import { Counter, collectDefaultMetrics, Histogram, Registry } from 'prom-client'
import type { ProblemCode } from './errors.ts'
import type { Events } from './ports/events.ts'

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

export interface Metrics {
  readonly contentType: string
  /** All of it, as Prometheus reads it. */
  text(): Promise<string>
  answered(request: RequestFacts): void
  /** Counts what happens to grants and records. */
  readonly events: Events
}

/** From a token that is at hand to a provider that takes its time. */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
/** Callers may come from a token issuer: what they are called must not grow without end. */
const MAX_CALLERS = 100
const REFUSALS: readonly (ProblemCode | null)[] = ['unauthorized', 'forbidden', 'rate_limited']

export function createMetrics(): Metrics {
  const registry = new Registry()
  const registers = [registry]
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
  const unreadable = new Counter({
    name: 'htgw_records_unreadable_total',
    help: 'Records that were there and could not be opened.',
    registers,
  })
  const counted: Readonly<Record<string, Counter | undefined>> = { 'record.unreadable': unreadable }
  const callers = new Set<string>()

  function named(caller: string): string {
    if (callers.size < MAX_CALLERS) callers.add(caller)
    return callers.has(caller) ? caller : 'other'
  }

  return {
    contentType: registry.contentType,
    text: async () => `${await processMetrics().metrics()}\n${await registry.metrics()}`,
    answered({ method, route, status, seconds, caller, problem }) {
      duration.observe({ method, route, status }, seconds)
      if (REFUSALS.includes(problem)) refused.inc({ reason: problem ?? '', caller: named(caller) })
    },
    events: { emit: ({ type }) => counted[type]?.inc() },
  }
}

let ofProcess: Registry | undefined

/** One for the process: they watch its garbage collector and its event loop, and cannot be stopped. */
function processMetrics(): Registry {
  if (ofProcess === undefined) {
    ofProcess = new Registry()
    collectDefaultMetrics({ register: ofProcess })
  }
  return ofProcess
}
