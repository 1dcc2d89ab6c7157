/** For load balancers and orchestrators. A provider that is away makes nobody unready: live tokens are still answered. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Static } from 'typebox'
import type { Trouble } from '../src/broker/breaker.ts'
import type { OutputState } from '../src/ports/output.ts'
import { StoreUnavailable } from '../src/ports/store.ts'
import { Health, type HealthCheck, ref } from '../src/schemas/index.ts'

export interface HealthOptions {
  /** Throws `StoreUnavailable`. */
  readonly pingStore: () => Promise<void>
  /** How many grants' tokens can be answered while the store is away. */
  readonly sightings: () => number
  /** What keeps us from asking the provider; null: nothing. */
  readonly trouble: () => Trouble | null
  /** The code of what keeps audit lines from being written; null: nothing. */
  readonly auditTrouble: () => string | null
  readonly output: OutputState
}

const TROUBLES: Readonly<Record<Trouble, { name: string; detail: string }>> = {
  outage: { name: 'provider', detail: 'HealthTap does not work just now. It is tried again every few seconds.' },
  paused: { name: 'provider', detail: 'HealthTap has asked us to wait.' },
  client_refused: {
    name: 'client',
    detail: 'HealthTap refuses our credentials. Check HEALTHTAP_APP_ID and HEALTHTAP_APP_SECRET. No grant is lost.',
  },
}

const health: FastifyPluginAsyncTypebox<HealthOptions> = async (app, options) => {
  app.get(
    '/health/live',
    {
      config: { door: 'metrics' },
      schema: {
        operationId: 'getLiveness',
        tags: ['Running it'],
        summary: 'Whether the process lives',
        description: 'Answers as long as the process can answer at all. Restart it when it does not.',
        security: [],
        response: { 200: { description: 'It lives.', content: { 'application/json': { schema: ref(Health) } } } },
      },
    },
    async () => ({ status: 'ok' as const, checks: [{ name: 'process', status: 'ok' as const }] }),
  )

  app.get(
    '/health/ready',
    {
      config: { door: 'metrics' },
      schema: {
        operationId: 'getReadiness',
        tags: ['Running it'],
        summary: 'Whether requests may be sent here',
        description:
          'A line for each thing it needs. 503 while the store is away and no living token is in memory, and when the process is about to stop; 200 and `degraded` while the store is away and there are some, while HealthTap is away, or refuses our credentials, while audit lines cannot be written, or while standard output takes no lines.',
        security: [],
        response: {
          200: { description: 'It is ready.', content: { 'application/json': { schema: ref(Health) } } },
          503: { description: 'It is not.', content: { 'application/json': { schema: ref(Health) } } },
        },
      },
    },
    async (_request, reply) => {
      const checks = await checksOf(options, app.isLeaving())
      const status = worstOf(checks.map(check => check.status))
      reply.code(status === 'unavailable' ? 503 : 200).header('cache-control', 'no-store')
      return { status, checks }
    },
  )
}

/** A line for each thing that the gateway needs. */
export async function checksOf(options: HealthOptions, isLeaving: boolean): Promise<Static<typeof HealthCheck>[]> {
  const store = await storeCheck(options)
  const { trouble, auditTrouble, output } = options
  return [store, ...providerChecks(trouble()), auditCheck(auditTrouble()), outputCheck(output), processCheck(isLeaving)]
}

function processCheck(isLeaving: boolean) {
  if (!isLeaving) return { name: 'process', status: 'ok' as const }
  return { name: 'process', status: 'unavailable' as const, detail: 'It is about to stop. Send requests elsewhere.' }
}

/** A provider that is away, or refuses us, does so for every replica: sending requests elsewhere would not help. */
function providerChecks(trouble: Trouble | null) {
  const troubled = trouble === null ? null : TROUBLES[trouble]
  return ['provider', 'client'].map(name =>
    troubled?.name === name
      ? { name, status: 'degraded' as const, detail: troubled.detail }
      : { name, status: 'ok' as const },
  )
}

/** People's tokens come first: they are answered also while nobody can write down who got them. */
function auditCheck(trouble: string | null) {
  if (trouble === null) return { name: 'audit', status: 'ok' as const }
  const detail = `Audit lines cannot be written (${trouble}). They are kept for as long as there is room. Check AUDIT_LOG and its disk.`
  return { name: 'audit', status: 'degraded' as const, detail }
}

/** A log that is not read does not keep people from their tokens. */
function outputCheck({ trouble, dropped }: OutputState) {
  const code = trouble()
  if (code === null) return { name: 'output', status: 'ok' as const }
  const { log, audit } = dropped()
  const why = code === 'STALLED' ? 'Its reader takes nothing, or too little' : 'It cannot be written'
  const detail = `Standard output: ${why} (${code}). Some lines wait in memory, the rest is dropped: ${log} log lines and ${audit} audit lines so far. Check what collects the log.`
  return { name: 'output', status: 'degraded' as const, detail }
}

type Status = 'ok' | 'degraded' | 'unavailable'

const SEVEREST_FIRST = ['unavailable', 'degraded'] as const

function worstOf(statuses: readonly Status[]): Status {
  return SEVEREST_FIRST.find(status => statuses.includes(status)) ?? 'ok'
}

async function storeCheck({ pingStore, sightings }: HealthOptions) {
  try {
    await pingStore()
    return { name: 'store', status: 'ok' as const }
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) throw error
    const { message } = error
    if (sightings() === 0) return { name: 'store', status: 'unavailable' as const, detail: message }
    const detail = `${message}. Living tokens that are in memory are answered; nothing else is.`
    return { name: 'store', status: 'degraded' as const, detail }
  }
}

export default health
