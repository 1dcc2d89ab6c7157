import t from 'tap'
import { createCounters } from '../../src/limits/counters.ts'
import { createRateLimits } from '../../src/limits/rate-limits.ts'
import { WINDOW_MS, waitMs } from '../../src/limits/window.ts'
import type { CountChange, CountTotal, SharedCounts } from '../../src/ports/counts.ts'
import { ManualClock } from '../support/clock.ts'

t.test('how long one has to wait', async t => {
  const cases: [Parameters<typeof waitMs>[0], number, number][] = [
    [{ current: 0, before: 0, elapsedMs: 0 }, 10, 0],
    [{ current: 9, before: 0, elapsedMs: 0 }, 10, 0],
    [{ current: 10, before: 0, elapsedMs: 0 }, 10, 11_000],
    [{ current: 10, before: 0, elapsedMs: 9_000 }, 10, 2_000],
    [{ current: 0, before: 10, elapsedMs: 0 }, 10, 1_000],
    [{ current: 0, before: 10, elapsedMs: 999 }, 10, 1],
    [{ current: 0, before: 10, elapsedMs: 1_000 }, 10, 0],
    [{ current: 4, before: 10, elapsedMs: 5_000 }, 10, 0],
    [{ current: 5, before: 10, elapsedMs: 5_000 }, 10, 1_000],
    [{ current: 0, before: 1_000, elapsedMs: 0 }, 10, 9_910],
    [{ current: 1_000, before: 0, elapsedMs: 5_000 }, 10, 14_910],
    [{ current: 0, before: 5, elapsedMs: 0 }, 1, 10_000],
  ]
  for (const [usage, limit, wait] of cases) {
    t.equal(Math.round(waitMs(usage, limit)), wait, `${JSON.stringify(usage)}, ${limit}`)
  }
  const many: [Parameters<typeof waitMs>[0], number, number][] = [
    [{ current: 0, before: 0, elapsedMs: 0 }, 10, 0],
    [{ current: 4, before: 0, elapsedMs: 0 }, 6, 0],
    [{ current: 5, before: 0, elapsedMs: 2_000 }, 6, 10_000],
    [{ current: 1, before: 10, elapsedMs: 3_000 }, 6, 4_000],
    [{ current: 0, before: 0, elapsedMs: 0 }, 11, 0],
    [{ current: 1, before: 0, elapsedMs: 1_000 }, 11, 19_000],
  ]
  for (const [usage, count, wait] of many) {
    t.equal(Math.round(waitMs(usage, 10, count)), wait, `${JSON.stringify(usage)}, ${count} at once`)
  }
})

t.test('who asks without end gets the limit, and waiting for as long as told is enough', async t => {
  const counters = createCounters(10)
  const limit = 50
  let let_through = 0
  const seconds = 120
  for (let nowMs = 0; nowMs < seconds * 1000; nowMs += 7) if (counters.take('a', limit, nowMs) === 0) let_through += 1
  const most = (seconds / 10) * limit
  t.ok(let_through <= most + limit && let_through > 0.8 * most, `${let_through} of ${most}`)

  let nowMs = 1_000_003
  for (let round = 0; round < 500; round += 1) {
    const wait = counters.take('b', limit, nowMs)
    if (wait === 0) continue
    const early = Math.floor(nowMs + wait - 1)
    t.ok(counters.take('b', limit, early) > 0, 'a little earlier it is not')
    nowMs = Math.ceil(nowMs + wait)
    t.equal(counters.take('b', limit, nowMs), 0, 'then it is')
  }
})

t.test('so many at once are counted all, or not at all', async t => {
  const counters = createCounters(10)
  t.equal(counters.take('a', 100, 0, 60), 0)
  t.ok(counters.take('a', 100, 1, 41) > 0)
  t.equal(counters.take('a', 100, 2, 40), 0, 'those that were refused took nothing')
  t.ok(counters.take('a', 100, 3) > 0)
  t.strictSame(
    counters.changes(1).map(({ add }) => add),
    [100],
    'others are told of all of them',
  )
  t.equal(counters.take('b', 100, 4, 101), 1, 'more than ever can be: as many as can be are let through at once')
  t.equal(counters.take('b', 100, 5, 100), 0)
  const wait = counters.take('a', 100, 9_000, 30)
  t.ok(counters.take('a', 100, 9_000 + wait - 1, 30) > 0, 'a little earlier it is not')
  t.equal(counters.take('a', 100, 9_000 + wait, 30), 0, 'waiting for as long as told is enough')
})

t.test('names do not disturb each other, and no more of them are kept than there is room for', async t => {
  const counters = createCounters(3)
  for (const name of ['a', 'b', 'c']) t.equal(counters.take(name, 1, 0), 0)
  for (const name of ['a', 'b', 'c']) t.ok(counters.take(name, 1, 1) > 0)
  t.equal(counters.take('d', 1, 2), 0)
  t.strictSame(
    counters.changes(10).map(({ name }) => name),
    ['b', 'c', 'd'],
    'the oldest is forgotten',
  )
  t.ok(counters.take('d', 1, 2) > 0)
  t.equal(counters.take('a', 1, 3), 0, 'and begins anew')
})

t.test('a clock that is set back or on', async t => {
  const counters = createCounters(10)
  const start = 100 * WINDOW_MS
  t.equal(counters.take('a', 1, start), 0)
  t.ok(counters.take('a', 1, start - 1) > 0, 'a little back')
  t.equal(counters.take('a', 1, start - 5 * WINDOW_MS), 0, 'far back: all is forgotten, and nobody is locked out')
  t.equal(counters.take('a', 1, start + 5 * WINDOW_MS), 0, 'far on')
})

t.test('what is told to others, once, in the window it belongs to', async t => {
  const counters = createCounters(10)
  const tell = (answer: CountTotal | null) => {
    const changes = counters.changes(10)
    for (const change of changes) counters.learn(change, answer)
    return changes
  }
  t.notOk(counters.hasChanges())
  for (let times = 0; times < 3; times += 1) counters.take('a', 100, 5)
  t.strictSame(tell(null), [{ name: 'a', window: 0, add: 3, addBefore: 0 }])
  t.strictSame(tell({ total: 3, totalBefore: 0 }), [{ name: 'a', window: 0, add: 3, addBefore: 0 }], 'nobody had heard')
  t.notOk(counters.hasChanges())
  counters.take('a', 100, 9_999)
  counters.take('a', 100, 10_001)
  t.strictSame(tell({ total: 1, totalBefore: 98 }), [{ name: 'a', window: 1, add: 1, addBefore: 1 }])
  t.notOk(counters.hasChanges())
  t.ok(counters.take('a', 100, 10_002) === 0 && counters.take('a', 100, 10_003) > 0, 'it was told how many there were')

  counters.take('b', 100, 19_999)
  const during = counters.changes(10).find(({ name }) => name === 'b') as CountChange
  counters.take('c', 100, 20_000)
  counters.learn(during, { total: 100, totalBefore: 0 })
  t.ok(counters.take('b', 100, 20_001) > 0, 'an answer that comes in the next window counts for the one before')
  counters.learn({ ...during, window: -7 }, { total: 1_000_000, totalBefore: 1_000_000 })
  t.equal(counters.take('b', 100, 29_000), 0, 'and one that comes much later for none')
})

t.test('nobody waits: others are told in the background, as long as there is news', async t => {
  const clock = new ManualClock()
  const heard: (readonly CountChange[])[] = []
  let isAway = true
  const shared: SharedCounts = {
    async exchange(changes) {
      heard.push(changes)
      return changes.map(({ add, addBefore }) => (isAway ? null : { total: add + 8, totalBefore: addBefore }))
    },
  }
  const limits = createRateLimits({ clock, shared, perCaller: 1, perGuid: 0 })
  const ask = () => limits.refuse({ name: 'a', rateLimit: null }, 'ada')
  t.equal(ask(), null)
  await clock.advance(149)
  t.equal(heard.length, 0)
  await clock.advance(1)
  t.equal(heard.length, 1)
  await clock.advance(999)
  t.equal(heard.length, 1, 'it was not heard: not at once again')
  isAway = false
  await clock.advance(1)
  t.match(heard, [[{ name: 'caller:a', add: 1 }], [{ name: 'caller:a', add: 1 }]])
  await clock.advance(60_000)
  t.equal(heard.length, 2, 'no news, no word')
  for (let times = 0; times < 2; times += 1) t.equal(ask(), null)
  await clock.advance(150)
  t.match(ask(), { of: 'caller', retryAfterSeconds: 10 }, 'with the eight of the others that is all')
  limits.close()
  await clock.advance(60_000)
  t.equal(heard.length, 3)
})

t.test('whose limit it is', async t => {
  const clock = new ManualClock()
  const limits = createRateLimits({ clock, shared: null, perCaller: 2, perGuid: 1 })
  const times = (count: number, caller: { name: string; rateLimit: number | null }, guid: string | null) =>
    Array.from({ length: count }, () => limits.refuse(caller, guid)).filter(refusal => refusal !== null)
  t.strictSame(times(20, { name: 'a', rateLimit: null }, null), [])
  t.match(
    times(1, { name: 'a', rateLimit: null }, 'ada'),
    [{ of: 'caller' }],
    'refused for the caller: the guid is not counted',
  )
  t.strictSame(times(10, { name: 'b', rateLimit: null }, 'ada'), [])
  t.match(times(1, { name: 'b', rateLimit: null }, 'ada'), [{ of: 'guid', retryAfterSeconds: 11 }])
  t.strictSame(times(1, { name: 'b', rateLimit: null }, 'bob'), [], 'another guid')
  t.strictSame(times(50, { name: 'c', rateLimit: 5 }, null), [], 'a limit of its own')
  t.match(times(1, { name: 'c', rateLimit: 5 }, null), [{ of: 'caller' }])
  t.strictSame(times(5_000, { name: 'd', rateLimit: 0 }, null), [], '0: none')
  const e = { name: 'e', rateLimit: null }
  t.equal(limits.refuseCaller(e, 15), null)
  t.match(limits.refuseCaller(e, 6), { of: 'caller', most: 20 })
  t.equal(limits.refuseCaller(e, 5), null)
  t.match(limits.refuseCaller({ name: 'f', rateLimit: null }, 500), { retryAfterSeconds: 1, most: 20 })
  t.equal(limits.refuseGuid('carol'), null)
  t.match(times(10, { name: 'g', rateLimit: null }, 'carol'), [{ of: 'guid' }], 'and one before them')
  const none = createRateLimits({ clock, shared: null, perCaller: 0, perGuid: 0 })
  for (let count = 0; count < 5_000; count += 1)
    if (none.refuse({ name: 'a', rateLimit: null }, 'ada') !== null) t.fail('refused')
})
