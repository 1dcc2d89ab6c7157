/** What `GET /v1/overview` answers. */
import { type TSchema, Type } from 'typebox'
import { Grant, HealthCheck, ref, Time, TimeOrNull } from './index.ts'

const Count = Type.Integer({ minimum: 0 })

function orNull<T extends TSchema>(schema: T, description: string) {
  return Type.Union([schema, Type.Null()], { description })
}

export const Overview = Type.Object(
  {
    counted_at: orNull(
      Time,
      'When the last count of all grants began: one replica counts for all, once a minute. null: nobody has counted lately, and what is made of a count is null too.',
    ),
    grants: orNull(
      Type.Object({ active: Count, in_doubt: Count, reauthorization_required: Count, revoking: Count }),
      'How many there are, by status.',
    ),
    lapsing: orNull(
      Type.Object({ lapsed: Count, within_60_seconds: Count, within_300_seconds: Count }),
      'Of the grants that are to be kept alive, those whose access token has lapsed, or lapses so soon. Those that nobody reads are left out, where `REFRESH_IDLE_AFTER_SECONDS` is set.',
    ),
    renewed: orNull(
      Type.Array(Type.Object({ from: Time, to: Time, count: Count }), { maxItems: 100 }),
      'Grants by when they were renewed **last**, in steps of five minutes over the two hours before the count, oldest first. That is how many renewals there were, as long as no grant was renewed twice in that time: of a grant that was, the last renewal alone is here. null also while replicas of an earlier version count.',
    ),
    due: orNull(
      Type.Array(Type.Object({ from: TimeOrNull, to: Time, count: Count }), { maxItems: 100 }),
      'Grants to be kept alive by when they are due to be renewed, in steps of a quarter of an hour over six hours. The first, with `from` null: those that were due when the count began, and had not been renewed. null as `renewed`.',
    ),
    soonest: orNull(
      Type.Array(ref(Grant), { maxItems: 20 }),
      'Of the grants to be kept alive, those whose access tokens expire first, by the last count, as they stand now; soonest first. Those that have been renewed since are left out, so where all is well and there are many this is short. A caller that is narrowed sees its own alone. null as `renewed`.',
    ),
    needs_reauthorization: orNull(
      Type.Array(
        Type.Object({
          code: Type.Union([Type.String(), Type.Null()], { description: '`last_error.code` of the grants.' }),
          after_failures: Type.Boolean({
            description:
              'Whether other renewals of the same pair had failed before: then an answer may have been lost, and the grant with it. false: HealthTap refused at the first try, as when the person has disconnected the app.',
          }),
          count: Count,
        }),
        { maxItems: 100 },
      ),
      'The grants whose status is `reauthorization_required`, by why. Who they are: `GET /v1/grants?status=reauthorization_required`. null as `renewed`.',
    ),
    needs_attention: orNull(
      Type.Object({
        count: Type.Integer({ minimum: 0, description: 'How many there are, by the last count.' }),
        grants: Type.Array(ref(Grant), {
          maxItems: 20,
          description:
            'Some of them, as they stand now. Grants that were refreshed since the count are left out. A narrowed caller sees only its own.',
        }),
      }),
      'Grants whose refresh has failed five times in a row or more. They are tried again, but an operator has to look: `last_error` says what HealthTap answers. null as `renewed`.',
    ),
    backlog: Type.Object(
      {
        due: Count,
        oldest_age_seconds: Type.Integer({ minimum: 0, description: 'For how long the oldest is due; 0: none is.' }),
      },
      { description: 'Grants that are due at this moment, and that no replica has taken up yet.' },
    ),
    checks: Type.Array(HealthCheck, { description: 'As `GET /health/ready`, of the replica that answers.' }),
    caller: Type.Object(
      {
        name: Type.String(),
        permissions: Type.Array(Type.String({ examples: ['grant:read'] }), { description: '`*` is spelled out.' }),
        narrowed: Type.Boolean({ description: 'Whether it reaches some people or scopes alone.' }),
      },
      { description: 'Who asks.' },
    ),
    version: Type.String({ description: 'Of the gateway that answers.', examples: ['0.1.0'] }),
  },
  { $id: 'Overview', description: 'How it stands with all grants together.' },
)
