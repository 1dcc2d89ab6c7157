import { Counter, Histogram, type Registry } from 'prom-client'
import type { BrokerEvent, Events } from '../ports/events.ts'
import { type Meter, REFRESH_OUTCOMES, TOKEN_SOURCES, type TokenSource } from '../ports/meter.ts'
import { LAG_SECONDS, LIFE_SECONDS } from './buckets.ts'

/** Counters begin at 0, so that the first of anything is seen as a rise. */
export function createMeter(registers: Registry[]): Meter {
  // On the way of every token: a number each, taken over when somebody looks.
  const served: Record<TokenSource, number> = { memory: 0, stored: 0, renewed: 0, joined: 0, kept: 0 }
  new Counter({
    name: 'htgw_tokens_served_total',
    help: 'Access tokens handed out to who asked for one, by how it came: memory, stored (asked of the store, or seen there last while it is away), renewed, joined (another renewal was waited for), kept (it could not be renewed just now, and lives).',
    labelNames: ['source'],
    registers,
    collect() {
      this.reset()
      for (const source of TOKEN_SOURCES) this.inc({ source }, served[source])
    },
  })
  const life = new Histogram({
    name: 'htgw_token_remaining_life_seconds',
    help: 'How long an access token still lived when it was handed out.',
    buckets: LIFE_SECONDS,
    registers,
  })
  const refreshes = new Counter({
    name: 'htgw_refreshes_total',
    help: 'Renewals that were begun, by what came of them.',
    labelNames: ['outcome'],
    registers,
  })
  for (const outcome of REFRESH_OUTCOMES) refreshes.inc({ outcome }, 0)
  const lag = new Histogram({
    name: 'htgw_refresh_lag_seconds',
    help: 'How long a renewal had been due when its pair was stored. Of those that were due.',
    buckets: LAG_SECONDS,
    registers,
  })

  return {
    served(source, lifeMs) {
      served[source] += 1
      life.observe(lifeMs / 1000)
    },
    refreshed(outcome, lagMs) {
      refreshes.inc({ outcome })
      if (lagMs !== null) lag.observe(lagMs / 1000)
    },
  }
}

type Counted = { readonly [Type in BrokerEvent['type']]?: (event: Extract<BrokerEvent, { type: Type }>) => void }

/** Counts what happens to grants and records. */
export function countedEvents(registers: Registry[]): Events {
  const stored = new Counter({
    name: 'htgw_grants_stored_total',
    help: 'Authorizations that were stored, by where they came from.',
    labelNames: ['origin'],
    registers,
  })
  for (const origin of ['authorization_code', 'provisioning', 'import']) stored.inc({ origin }, 0)
  const ended = new Counter({
    name: 'htgw_grants_ended_total',
    help: 'Grants whose refresh token the provider refuses. cause "lost": an answer to a renewal had been lost before, so it probably ended by that; "provider": nothing of ours had gone wrong.',
    labelNames: ['cause'],
    registers,
  })
  for (const cause of ['lost', 'provider']) ended.inc({ cause }, 0)
  const attention = new Counter({
    name: 'htgw_attention_events_total',
    help: 'Times that the refresh of a grant had failed so often in a row that an operator has to look.',
    registers,
  })
  const revoked = new Counter({
    name: 'htgw_grants_revoked_total',
    help: 'Grants that were deleted, and whose end the provider has confirmed.',
    registers,
  })
  const restored = new Counter({
    name: 'htgw_grants_restored_total',
    help: 'Grants that the store had lost the last write of, as by a fail-over, and that were written again.',
    registers,
  })
  const doubled = new Counter({
    name: 'htgw_double_rotations_total',
    help: 'Pairs that came when another renewal of the same pair had been stored already, and were discarded.',
    registers,
  })
  const discards = new Counter({
    name: 'htgw_pairs_revoked_total',
    help: 'Pairs that nobody needs any more, by whether the provider has confirmed their end.',
    labelNames: ['confirmed'],
    registers,
  })
  for (const confirmed of ['true', 'false']) discards.inc({ confirmed }, 0)
  const delayed = new Counter({
    name: 'htgw_commits_delayed_total',
    help: 'New pairs that the store did not take at once, by whether they went into the journal.',
    labelNames: ['journaled'],
    registers,
  })
  for (const journaled of ['true', 'false']) delayed.inc({ journaled }, 0)
  const unreadable = new Counter({
    name: 'htgw_records_unreadable_total',
    help: 'Records that were there and could not be opened.',
    registers,
  })
  const failures = new Counter({
    name: 'htgw_refresher_failures_total',
    help: 'Times that the background loop could not do its work.',
    labelNames: ['reason'],
    registers,
  })
  for (const reason of ['store_unavailable', 'other']) failures.inc({ reason }, 0)

  const counted: Counted = {
    'grant.stored': ({ origin }) => stored.inc({ origin }),
    'grant.ended': ({ afterDoubt }) => ended.inc({ cause: afterDoubt ? 'lost' : 'provider' }),
    'grant.needs_attention': () => attention.inc(),
    'grant.revoked': () => revoked.inc(),
    'grant.restored': () => restored.inc(),
    'pair.discarded': ({ because }) => because === 'rotated_twice' && doubled.inc(),
    'pair.revoked': ({ confirmed }) => discards.inc({ confirmed: String(confirmed) }),
    'commit.delayed': ({ journaled }) => delayed.inc({ journaled: String(journaled) }),
    'record.unreadable': () => unreadable.inc(),
    'refresher.failed': ({ reason }) => {
      failures.inc({ reason: reason === 'store_unavailable' ? reason : 'other' })
    },
  }
  return {
    emit: event => (counted[event.type] as ((event: BrokerEvent) => void) | undefined)?.(event),
  }
}
