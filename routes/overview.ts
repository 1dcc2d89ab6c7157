import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Static } from 'typebox'
import { checksOf, type HealthOptions } from '../plugins/health.ts'
import type { Overview, Overviews } from '../src/broker/overview.ts'
import type { Counted, GrantSurvey, Histogram } from '../src/broker/survey.ts'
import { type Caller, permissionsOf } from '../src/callers/caller.ts'
import { isNarrowed, reaches } from '../src/callers/reach.ts'
import { problemAnswers } from '../src/schemas/answers.ts'
import { ref } from '../src/schemas/index.ts'
import { Overview as OverviewSchema } from '../src/schemas/overview.ts'
import { grantView, timeOf, timeOrNull } from './views.ts'

interface OverviewOptions {
  readonly overviews: Overviews
  readonly needs: HealthOptions
  readonly version: string
}

const overview: FastifyPluginAsyncTypebox<OverviewOptions> = async (app, { overviews, needs, version }) => {
  app.get(
    '/v1/overview',
    {
      config: { permission: 'grant:read', audit: 'overview.read' },
      schema: {
        operationId: 'getOverview',
        tags: ['Running it'],
        summary: 'How it stands with all grants',
        description:
          "What the operators' console shows, for scripts too. Cheap, however many grants there are: most of it comes from the last count. Permission: `grant:read`.",
        response: {
          200: { description: 'The overview.', content: { 'application/json': { schema: ref(OverviewSchema) } } },
          ...problemAnswers(),
        },
      },
    },
    async ({ caller }) => {
      const [looked, checks] = await Promise.all([
        overviews.look(grant => reaches(caller, grant)),
        checksOf(needs, app.isLeaving()),
      ])
      return { ...overviewView(looked), checks, caller: callerView(caller), version }
    },
  )
}

type View = Static<typeof OverviewSchema>

function overviewView({
  backlog,
  counted,
  failing,
  nowMs,
  soonest,
}: Overview): Omit<View, 'checks' | 'caller' | 'version'> {
  return {
    counted_at: timeOrNull(counted?.atMs ?? null),
    grants: counted?.byStatus ?? null,
    lapsing: counted && lapsingView(counted),
    ...surveyView(counted),
    soonest: soonest?.map(grantView) ?? null,
    needs_attention: failing && { count: counted?.survey?.attention?.count ?? 0, grants: failing.map(grantView) },
    backlog: {
      due: backlog.due,
      oldest_age_seconds: Math.max(0, Math.floor((nowMs - (backlog.oldestAtMs ?? nowMs)) / 1000)),
    },
  }
}

function lapsingView({ lapsing }: Counted): View['lapsing'] {
  return { lapsed: lapsing['0'], within_60_seconds: lapsing['60'], within_300_seconds: lapsing['300'] }
}

function surveyView(counted: Counted | null): Pick<View, 'renewed' | 'due' | 'needs_reauthorization'> {
  if (!counted?.survey) return { renewed: null, due: null, needs_reauthorization: null }
  const { atMs, survey } = counted
  const overdue = { from: null, to: timeOf(atMs), count: survey.overdue }
  return {
    renewed: stretches(survey.renewed, { latestMs: atMs }),
    due: [overdue, ...stretches(survey.due, { earliestMs: atMs })],
    needs_reauthorization: endsView(survey),
  }
}

/** Nothing was counted before `earliestMs`, nor after `latestMs`. */
function stretches({ fromMs, everyMs, counts }: Histogram, { earliestMs = 0, latestMs = Number.POSITIVE_INFINITY }) {
  return counts.map((count, index) => {
    const beginsMs = fromMs + index * everyMs
    const from = timeOf(Math.max(earliestMs, beginsMs))
    return { from, to: timeOf(Math.min(latestMs, beginsMs + everyMs)), count }
  })
}

function endsView({ ended }: GrantSurvey): View['needs_reauthorization'] {
  return ended.map(({ code, isAfterFailures, count }) => ({ code, after_failures: isAfterFailures, count }))
}

/** Nobody comes here without being known. */
function callerView(caller: Caller | null): View['caller'] {
  if (caller === null) throw new Error('An overview was asked for by nobody.')
  return { name: caller.name, permissions: [...permissionsOf(caller)], narrowed: isNarrowed(caller) }
}

export default overview
