/** What is so at this moment, and is asked for when somebody looks: the store, the journal, the breaker, the audit stream. */
import { Counter, type Registry } from 'prom-client'
import type { AuditLog } from '../audit/log.ts'
import type { Trouble } from '../broker/breaker.ts'
import type { Counting } from '../broker/census.ts'
import type { Counted } from '../broker/survey.ts'
import type { Clock } from '../ports/clock.ts'
import type { Backlog } from '../ports/inventory.ts'
import type { Journal } from '../ports/journal.ts'
import type { OutputState } from '../ports/output.ts'
import type { Stores } from '../ports/store.ts'
import { gaugeOf, gaugesOf } from './gauge.ts'
import { nowAndThen } from './now-and-then.ts'

export interface Sources {
  readonly clock: Clock
  readonly inventory: Stores['inventory']
  readonly census: Pick<Counting, 'latest'>
  readonly journal: Pick<Journal, 'prepare' | 'count'>
  readonly audit: Pick<AuditLog, 'trouble' | 'lost'>
  readonly output: OutputState
  /** What keeps us from asking the provider; null: nothing. */
  readonly trouble: () => Trouble | null
}

interface StoreFigures {
  readonly backlog: Backlog
  readonly atMs: number
  /** null: nobody has counted lately. */
  readonly counts: Counted | null
}

interface JournalFigures {
  readonly entries: number
  readonly isWritable: boolean
}

/** Several may scrape, and a store has better things to do. */
const STORE_EVERY_MS = 5_000
/** It writes a file, to see whether that can be done. */
const JOURNAL_EVERY_MS = 15_000

export interface Standing {
  /** Takes a look; soon done, whatever is away, and never failing. What was not told is not known until the next one. */
  look(): Promise<void>
}

export function standingMetrics(registers: Registry[], sources: Sources): Standing {
  const { audit, census, clock, inventory, journal, output } = sources
  let store: StoreFigures | null = null
  let written: JournalFigures | null = null
  let isJournalSilent = false

  const askStore = nowAndThen(clock, STORE_EVERY_MS, async (): Promise<StoreFigures> => {
    const atMs = clock.now()
    const [backlog, counts] = await Promise.all([inventory.backlog(atMs), census.latest()])
    return { backlog, atMs, counts }
  })
  const askJournal = nowAndThen(clock, JOURNAL_EVERY_MS, async (): Promise<JournalFigures | 'none'> => {
    const entries = await journal.count()
    if (entries === null) return 'none'
    const isWritable = await journal.prepare().then(
      () => true,
      () => false,
    )
    return { entries, isWritable }
  })

  gaugeOf({
    name: 'htgw_store_up',
    help: 'Whether the store, all of it, answered in a second. Looked at every five seconds at most.',
    registers,
    value: () => (store === null ? 0 : 1),
  })
  gaugesOf({
    name: 'htgw_grants',
    help: 'Grants in the store by status, as counted last (htgw_grants_counted_timestamp_seconds); the same from each replica. Absent: not known just now.',
    registers,
    label: 'status',
    values: () => store?.counts?.byStatus ?? null,
  })
  gaugesOf({
    name: 'htgw_grants_lapsing',
    help: 'Grants to be kept alive whose access token has lapsed (0), or lapses within so many seconds, as counted last; those at rest are left out. Absent: not known just now.',
    registers,
    label: 'within_seconds',
    values: () => store?.counts?.lapsing ?? null,
  })
  gaugeOf({
    name: 'htgw_grants_needing_attention',
    help: 'Grants whose refresh has failed five times in a row or more, as counted last; the same from each replica. Absent: not known just now.',
    registers,
    value: () => store?.counts?.survey?.attention?.count ?? null,
  })
  gaugeOf({
    name: 'htgw_grants_counted_timestamp_seconds',
    help: 'When the last count of grants began; one replica counts for all, every minute, for as long as it takes. Absent: not known just now.',
    registers,
    value: () => (store?.counts == null ? null : store.counts.atMs / 1000),
  })
  gaugeOf({
    name: 'htgw_grants_due',
    help: 'Grants that are due and that nobody has taken up yet; the same from each replica. Absent: not known just now.',
    registers,
    value: () => store?.backlog.due ?? null,
  })
  gaugeOf({
    name: 'htgw_grants_due_oldest_age_seconds',
    help: 'For how long the oldest of them has been due; 0: none is. Absent: not known just now.',
    registers,
    value: () => store && Math.max(0, store.atMs - (store.backlog.oldestAtMs ?? store.atMs)) / 1000,
  })
  gaugeOf({
    name: 'htgw_journal_entries',
    help: 'Pairs in the journal of this replica that wait to be stored. Absent: there is no journal.',
    registers,
    value: () => written?.entries ?? null,
  })
  gaugeOf({
    name: 'htgw_journal_writable',
    help: 'Whether the journal of this replica could be written to, tried every 15 seconds at most. Absent: there is no journal.',
    registers,
    value: () => (isJournalSilent ? 0 : written && Number(written.isWritable)),
  })
  gaugesOf({
    name: 'htgw_breaker_state',
    help: '1 for the state that this replica is in: closed (the provider is asked), outage, client_refused, paused.',
    registers,
    label: 'state',
    values: () => {
      const state = sources.trouble() ?? 'closed'
      return { closed: 0, outage: 0, client_refused: 0, paused: 0, [state]: 1 }
    },
  })
  gaugeOf({
    name: 'htgw_audit_writable',
    help: 'Whether audit lines are written. 0: they wait, for as long as there is room.',
    registers,
    value: () => (audit.trouble() === null ? 1 : 0),
  })
  new Counter({
    name: 'htgw_audit_lines_lost_total',
    help: 'Audit lines for which there was no room.',
    registers,
    collect() {
      this.reset()
      this.inc(audit.lost())
    },
  })

  gaugeOf({
    name: 'htgw_output_writable',
    help: 'Whether standard output takes lines. 0: its reader takes nothing or too little, or it cannot be written.',
    registers,
    value: () => (output.trouble() === null ? 1 : 0),
  })
  new Counter({
    name: 'htgw_output_lines_dropped_total',
    help: 'Lines for standard output that were dropped because it took too few of them, by kind: log; audit, where AUDIT_LOG is standard output.',
    labelNames: ['kind'],
    registers,
    collect() {
      this.reset()
      const { log, audit: audited } = output.dropped()
      this.inc({ kind: 'log' }, log)
      this.inc({ kind: 'audit' }, audited)
    },
  })

  return {
    async look() {
      const [figures, entries] = await Promise.all([askStore(), askJournal()])
      store = figures
      written = entries === 'none' ? null : entries
      // Whoever cannot even be listed, or does not answer, cannot be written to.
      isJournalSilent = entries === null
    },
  }
}
