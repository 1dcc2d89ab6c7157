/** What is counted, for Prometheus: see docs/metrics.md. No guid, no username and no secret is ever a label; callers are, the first hundred. */
import { collectDefaultMetrics, Registry } from 'prom-client'
import { countedEvents, createMeter } from './metrics/broker.ts'
import { gaugesOf } from './metrics/gauge.ts'
import { type ProviderMetrics, providerMetrics } from './metrics/provider.ts'
import { redisMetrics } from './metrics/redis.ts'
import { type RequestFacts, requestMetrics } from './metrics/requests.ts'
import { type Sources, type Standing, standingMetrics } from './metrics/standing.ts'
import { traceMetrics } from './metrics/traces.ts'
import type { Events } from './ports/events.ts'
import type { Meter } from './ports/meter.ts'
import type { OnCommand } from './store/redis/scripts.ts'
import type { OnSpans } from './tracing/traces.ts'
import { VERSION } from './version.ts'

export interface Metrics {
  readonly contentType: string
  /** All of it, as Prometheus reads it. Soon there, and never failing, whatever is away. */
  text(): Promise<string>
  answered(request: RequestFacts): void
  /** Counts what happens to grants and records. */
  readonly events: Events
  readonly meter: Meter
  readonly provider: ProviderMetrics
  readonly redis: OnCommand
  readonly spans: OnSpans
  /** What to ask for each time, once the parts are put together. */
  watch(sources: Sources): void
}

export function createMetrics(): Metrics {
  const registry = new Registry()
  const registers = [registry]
  let standing: Standing | null = null
  gaugesOf({
    name: 'htgw_build_info',
    help: 'Always 1; which version runs here.',
    registers,
    label: 'version',
    values: () => ({ [VERSION]: 1 }),
  })

  return {
    contentType: registry.contentType,
    async text() {
      await standing?.look()
      return `${await processMetrics().metrics()}\n${await registry.metrics()}`
    },
    ...requestMetrics(registers),
    events: countedEvents(registers),
    meter: createMeter(registers),
    provider: providerMetrics(registers),
    redis: redisMetrics(registers),
    spans: traceMetrics(registers),
    watch(sources) {
      standing = standingMetrics(registers, sources)
    },
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
