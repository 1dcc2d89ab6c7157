/** What is asked for at a scrape: when it is not there, it is absent, and nobody waits for it for long. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { noAudit } from '../../src/audit/log.ts'
import { certainSkewSeconds } from '../../src/metrics/provider.ts'
import type { Sources } from '../../src/metrics/standing.ts'
import { createMetrics } from '../../src/metrics.ts'
import type { Backlog, Inventory } from '../../src/ports/inventory.ts'
import { otherOutput } from '../../src/ports/output.ts'
import { StoreUnavailable } from '../../src/ports/store.ts'
import { createCodec } from '../../src/store/codec.ts'
import { createMemoryStores } from '../../src/store/memory.ts'
import { createSealer } from '../../src/store/sealing.ts'
import { createFileJournal, noJournal } from '../../src/system/journal.ts'
import { ManualClock } from '../support/clock.ts'
import { newKey } from '../support/keys.ts'
import { parseMetrics } from '../support/metrics.ts'
import { pending } from '../support/pending.ts'

const COUNTS = {
  byStatus: { active: 7, in_doubt: 1, reauthorization_required: 2, revoking: 0 },
  lapsing: { '0': 1, '60': 2, '300': 3 },
}
const STORE_GAUGES = [
  'htgw_grants',
  'htgw_grants_lapsing',
  'htgw_grants_counted_timestamp_seconds',
  'htgw_grants_due',
  'htgw_grants_due_oldest_age_seconds',
]

/** A gateway's figures, of which the store says what the test lets it say. */
function start(more: Partial<Sources> = {}) {
  const clock = new ManualClock()
  const state = {
    asked: 0,
    backlog: async (): Promise<Backlog> => ({ due: 3, oldestAtMs: clock.now() - 90_000 }),
  }
  const inventory: Inventory = {
    ...createMemoryStores(clock).inventory,
    backlog() {
      state.asked += 1
      return state.backlog()
    },
  }
  const metrics = createMetrics()
  const census = { latest: async () => ({ ...COUNTS, atMs: clock.now() - 30_000, survey: null }) }
  metrics.watch({
    clock,
    inventory,
    census,
    journal: noJournal,
    audit: noAudit,
    output: otherOutput,
    trouble: () => null,
    ...more,
  })
  return { clock, state, scrape: async () => parseMetrics(await metrics.text()) }
}

t.test('the store is there', async t => {
  const { clock, scrape, state } = start()
  const told = await scrape()
  t.equal(told.value('htgw_store_up'), 1)
  t.equal(told.value('htgw_grants', { status: 'active' }), 7)
  t.equal(told.value('htgw_grants_lapsing', { within_seconds: '300' }), 3)
  t.equal(told.value('htgw_grants_counted_timestamp_seconds'), clock.now() / 1000 - 30)
  t.equal(told.value('htgw_grants_due'), 3)
  t.equal(told.value('htgw_grants_due_oldest_age_seconds'), 90)
  state.backlog = async () => ({ due: 0, oldestAtMs: null })
  clock.jump(4_999)
  t.equal((await scrape()).value('htgw_grants_due'), 3, 'it is not asked each time')
  t.equal(state.asked, 1)
  clock.jump(1)
  const later = await scrape()
  t.equal(later.value('htgw_grants_due'), 0)
  t.equal(later.value('htgw_grants_due_oldest_age_seconds'), 0)
})

function areAbsent(t: Test, told: ReturnType<typeof parseMetrics>): void {
  t.equal(told.value('htgw_store_up'), 0)
  for (const name of STORE_GAUGES) {
    t.ok(told.types.has(name), name)
    t.equal(told.value(name), undefined, `${name}: neither stale, nor 0`)
  }
}

t.test('the store is away', async t => {
  const { clock, scrape, state } = start()
  await scrape()
  state.backlog = async () => {
    throw new StoreUnavailable('away')
  }
  clock.jump(5_000)
  areAbsent(t, await scrape())
})

t.test('the store says nothing: a scrape waits for a second, and those after it do not', async t => {
  const { clock, scrape, state } = start()
  await scrape()
  const { promise, resolve } = pending<Backlog>()
  state.backlog = () => promise
  clock.jump(5_000)
  const scrapes = [scrape(), scrape()]
  let isAnswered = false
  void Promise.all(scrapes).then(() => {
    isAnswered = true
  })
  await clock.advance(999)
  t.equal(isAnswered, false)
  await clock.advance(1)
  t.equal(isAnswered, true)
  for (const told of scrapes) areAbsent(t, await told)
  areAbsent(t, await scrape())
  t.equal(state.asked, 2)
  resolve({ due: 1, oldestAtMs: null })
  await clock.advance(4_000)
  t.equal((await scrape()).value('htgw_grants_due'), 1)
})

t.test('nobody has counted the grants lately: the backlog is told all the same', async t => {
  const told = await start({ census: { latest: async () => null } }).scrape()
  t.equal(told.value('htgw_store_up'), 1)
  t.equal(told.value('htgw_grants'), undefined)
  t.equal(told.value('htgw_grants_lapsing'), undefined)
  t.equal(told.value('htgw_grants_counted_timestamp_seconds'), undefined)
  t.equal(told.value('htgw_grants_due'), 3)
})

t.test('the journal: entries, those that do not open too, and whether it can be written to', async t => {
  const directory = join(t.testdir(), 'journal')
  mkdirSync(directory)
  const journal = createFileJournal(directory, createCodec(createSealer([newKey('k1')])), () => {})
  const { clock, scrape } = start({ journal })
  t.equal((await scrape()).value('htgw_journal_entries'), 0)
  writeFileSync(join(directory, 'a.rotation'), 'no rotation')
  writeFileSync(join(directory, 'b.rotation.draft'), '')
  clock.jump(15_000)
  const told = await scrape()
  t.equal(told.value('htgw_journal_entries'), 1)
  t.equal(told.value('htgw_journal_writable'), 1)

  rmSync(directory, { recursive: true })
  writeFileSync(directory, 'a file')
  clock.jump(14_999)
  t.equal((await scrape()).value('htgw_journal_writable'), 1, 'it is not tried each time')
  clock.jump(1)
  const gone = await scrape()
  t.equal(gone.value('htgw_journal_writable'), 0)
  t.equal(gone.value('htgw_journal_entries'), undefined)

  const none = await start().scrape()
  t.equal(none.value('htgw_journal_writable'), undefined, 'there is no journal')
  t.equal(none.value('htgw_journal_entries'), undefined)
})

t.test('the breaker and the audit stream', async t => {
  const audit = { trouble: () => 'ENOSPC', lost: () => 5 }
  for (const trouble of [null, 'outage', 'client_refused', 'paused'] as const) {
    const told = await start({ trouble: () => trouble, audit }).scrape()
    const states = told.samples.filter(({ name }) => name === 'htgw_breaker_state')
    t.equal(states.length, 4)
    t.match(
      states.filter(({ value }) => value === 1),
      [{ labels: { state: trouble ?? 'closed' } }],
    )
    t.equal(told.value('htgw_audit_writable'), 0)
    t.equal(told.value('htgw_audit_lines_lost_total'), 5)
  }
  t.equal((await start().scrape()).value('htgw_audit_writable'), 1)
})

t.test("how far the provider's clock is off, as far as that is certain", async t => {
  const at = (sentAtMs: number, receivedAtMs: number) => certainSkewSeconds({ dateMs: 10_000, sentAtMs, receivedAtMs })
  t.equal(at(10_000, 10_050), 0)
  t.equal(at(10_999, 11_100), 0, 'a date is cut off to seconds')
  t.equal(at(11_000, 11_100), 0)
  t.equal(at(9_000, 10_001), 0, 'a request that took long')
  t.equal(at(4_000, 4_500), 5.5, 'ahead')
  t.equal(at(14_000, 14_500), -3, 'behind')
})

t.test('grants that need attention: told where the last count tells it', async t => {
  const attention = (survey: object | null) =>
    start({ census: { latest: async () => ({ ...COUNTS, atMs: 0, survey }) as never } })
  const needing = async (survey: object | null) =>
    (await attention(survey).scrape()).value('htgw_grants_needing_attention')
  t.equal(await needing({ attention: { count: 3, guids: ['ada'] } }), 3)
  t.equal(await needing({ attention: { count: 0, guids: [] } }), 0)
  t.equal(await needing({ attention: null }), undefined, 'counted by a replica of an earlier version')
  t.equal(await needing(null), undefined)
})
