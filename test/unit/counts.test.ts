/** What a count makes of all grants: figures by time, by status, and who is first. */
import t from 'tap'
import { countingFrom } from '../../src/broker/counts.ts'
import { beginningOf, countingByTime } from '../../src/broker/histogram.ts'
import { keepingSoonest } from '../../src/broker/soonest.ts'
import { countedIn, keptCounts } from '../../src/broker/survey.ts'
import type { GrantSketch } from '../../src/ports/inventory.ts'

const MINUTE_MS = 60_000
/** Some minutes into a stretch, of five minutes as of fifteen. */
const AT_MS = Date.UTC(2026, 10, 23, 12, 17, 30)

function sketchOf(guid: string, more: Partial<GrantSketch>): GrantSketch {
  const accessTokenExpiresAtMs = AT_MS + 100 * MINUTE_MS
  const dueAtMs = AT_MS + 90 * MINUTE_MS
  const calm = { isTroubled: false, lastRefreshedAtMs: null, lastError: null }
  return { guid, status: 'active', accessTokenExpiresAtMs, dueAtMs, ...calm, ...more }
}

function countsOf(sketches: readonly GrantSketch[]) {
  const counting = countingFrom(AT_MS)
  for (const sketch of sketches) counting.add(sketch, AT_MS)
  const { survey, ...counts } = countedIn(keptCounts(counting.counted()))
  if (survey === null) throw new Error('it has no survey')
  return { ...counts, ...survey }
}

t.test('a stretch of time holds its beginning, and not its end; what lies outside is not counted', async t => {
  const counting = countingByTime({ fromMs: 100, everyMs: 10, size: 3 })
  for (const atMs of [99, 100, 109, 110, 129, 130, Number.NaN, -1]) counting.add(atMs)
  t.strictSame(counting.counted(), { fromMs: 100, everyMs: 10, counts: [2, 1, 1] })
  t.equal(beginningOf(109, 10), 100)
  t.equal(beginningOf(110, 10), 110)
})

t.test('the soonest of any number, in order, each once', async t => {
  const keeping = keepingSoonest(3)
  t.strictSame(keeping.soonest(), [])
  const add = (guid: string, accessTokenExpiresAtMs: number) => keeping.add({ guid, accessTokenExpiresAtMs })
  for (const [guid, at] of [
    ['e', 50],
    ['b', 20],
    ['d', 40],
    ['a', 10],
    ['a', 10],
    ['c', 20],
    ['f', 20],
    ['g', 60],
  ] as const) {
    add(guid, at)
  }
  t.strictSame(
    keeping.soonest().map(({ guid }) => guid),
    ['a', 'b', 'c'],
  )
})

t.test('renewals are counted by when each grant was renewed last', async t => {
  const renewedAgo = [0, 1_000, 2 * MINUTE_MS + 29_999, 2 * MINUTE_MS + 30_000, 119 * MINUTE_MS, 180 * MINUTE_MS]
  // It came while the count was under way.
  const later = sketchOf('later', { lastRefreshedAtMs: AT_MS + 200_000, status: 'revoking' })
  const { renewed } = countsOf([
    ...renewedAgo.map((ago, index) => sketchOf(`${index}`, { lastRefreshedAtMs: AT_MS - ago })),
    later,
    sketchOf('never', {}),
  ])
  t.equal(renewed.everyMs, 5 * MINUTE_MS)
  t.equal(renewed.fromMs + 24 * renewed.everyMs, Date.UTC(2026, 10, 23, 12, 20), 'now is in the last one')
  t.equal(renewed.counts.length, 24)
  t.strictSame(renewed.counts.slice(-2), [0, 5])
  t.equal(
    renewed.counts.reduce((sum, count) => sum + count),
    5,
    'what was longer ago is not there',
  )
})

t.test('what is due, and what is overdue, of those to be kept alive', async t => {
  const { due, overdue } = countsOf([
    sketchOf('overdue', { dueAtMs: AT_MS - 1, accessTokenExpiresAtMs: AT_MS }),
    sketchOf('now', { dueAtMs: AT_MS }),
    sketchOf('soon', { dueAtMs: AT_MS + 1 }),
    sketchOf('in doubt', { status: 'in_doubt', dueAtMs: AT_MS + 15 * MINUTE_MS }),
    sketchOf('at rest', { dueAtMs: null }),
    sketchOf('ended', { status: 'reauthorization_required', dueAtMs: null }),
    sketchOf('going', { status: 'revoking', dueAtMs: AT_MS + 1 }),
    sketchOf('much later', { dueAtMs: AT_MS + 400 * MINUTE_MS, accessTokenExpiresAtMs: AT_MS + 500 * MINUTE_MS }),
  ])
  t.equal(overdue, 2)
  t.equal(due.fromMs, Date.UTC(2026, 10, 23, 12, 15))
  t.strictSame([due.everyMs, due.counts.length, ...due.counts.slice(0, 3)], [15 * MINUTE_MS, 24, 1, 1, 0])
  t.equal(
    due.counts.reduce((sum, count) => sum + count),
    2,
  )
})

t.test('who expires first: neither those at rest, nor those that are ended', async t => {
  const expiring = (guid: string, minutes: number, more: Partial<GrantSketch> = {}) =>
    sketchOf(guid, { accessTokenExpiresAtMs: AT_MS + minutes * MINUTE_MS, dueAtMs: AT_MS, ...more })
  const { soonest, lapsing } = countsOf([
    ...Array.from({ length: 100 }, (_, index) => expiring(`${index}`, 100 - index)),
    expiring('at rest', 0, { dueAtMs: null }),
    expiring('ended', 0, { status: 'reauthorization_required' }),
    expiring('troubled', -1, { isTroubled: true, dueAtMs: AT_MS + 1_000 }),
  ])
  t.equal(soonest.length, 60)
  t.strictSame(
    soonest.slice(0, 3).map(({ guid }) => guid),
    ['troubled', '99', '98'],
  )
  t.strictSame(lapsing, { '0': 1, '60': 2, '300': 6 })
})

t.test('why grants have ended; what a record says that is no code of ours is none', async t => {
  const ended = (code: string | null, attempts = 1) =>
    sketchOf('g', {
      status: 'reauthorization_required',
      dueAtMs: null,
      lastError: code === null ? null : { code, attempts },
    })
  const known = 'reauthorization_required'
  const others = [ended(null), ended('constructor'), ended('made_up'), ended('another')]
  t.strictSame(countsOf([ended(known, 2), ...others, ended(known), ended(known), ended(known, 9)]).ended, [
    { code: null, isAfterFailures: false, count: 4 },
    { code: known, isAfterFailures: true, count: 2 },
    { code: known, isAfterFailures: false, count: 2 },
  ])
})

t.test('a status that nobody knows counts nowhere', async t => {
  const { byStatus, soonest } = countsOf([sketchOf('g', { status: 'nonsense' as 'active' })])
  t.strictSame(byStatus, { active: 0, in_doubt: 0, reauthorization_required: 0, revoking: 0 })
  t.strictSame(soonest, [])
})
