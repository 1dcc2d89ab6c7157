import t from 'tap'
import { COUNT_EVERY_MS, createCensus } from '../../src/broker/census.ts'
import type { GrantSketch } from '../../src/ports/inventory.ts'
import { GRANTS, type Stores, StoreUnavailable } from '../../src/ports/store.ts'
import { createMemoryStores } from '../../src/store/memory.ts'
import { systemRandom } from '../../src/system/random.ts'
import { ManualClock } from '../support/clock.ts'

const MINUTE_MS = 60_000

/** A store of which the sketches are what the test says, in batches of that. */
function world() {
  const clock = new ManualClock()
  const nowMs = clock.now()
  const all: GrantSketch[] = []
  const state = { walks: 0, batch: 1_000, isAway: false }
  async function* walk() {
    state.walks += 1
    for (let start = 0; start < all.length; start += state.batch) {
      if (state.isAway) throw new StoreUnavailable('away')
      yield all.slice(start, start + state.batch)
    }
  }
  const memory = createMemoryStores(clock)
  const stores: Stores = { ...memory, inventory: { ...memory.inventory, walk } }
  const replica = () => createCensus({ clock, random: systemRandom, stores })
  const add = (times: number, lifeMs: number, more: Partial<GrantSketch> = {}) => {
    const accessTokenExpiresAtMs = nowMs + lifeMs
    const dueAtMs = accessTokenExpiresAtMs - 10 * MINUTE_MS
    const calm = { isTroubled: false, lastRefreshedAtMs: null, lastError: null }
    const sketch = { status: 'active', accessTokenExpiresAtMs, dueAtMs, ...calm, ...more } as const
    all.push(...Array.from({ length: times }, () => ({ guid: `guid-${all.length}`, ...sketch })))
  }
  return { clock, stores, state, replica, add }
}

t.test('by status, and those that lapse although they are to be kept alive', async t => {
  const { clock, replica, add } = world()
  add(5, 2 * 60 * MINUTE_MS)
  add(4, 5 * MINUTE_MS)
  add(3, MINUTE_MS, { status: 'in_doubt' })
  add(2, 0)
  add(1, -MINUTE_MS, { isTroubled: true, dueAtMs: clock.now() + 1_000 })
  add(6, -MINUTE_MS, { status: 'reauthorization_required', dueAtMs: null, isTroubled: true })
  add(7, -MINUTE_MS, { status: 'revoking' })
  add(8, -MINUTE_MS, { dueAtMs: null })
  add(9, -MINUTE_MS, { dueAtMs: clock.now() + 60 * MINUTE_MS })
  const census = replica()
  t.equal(await census.latest(), null, 'nobody has counted')
  census.start()
  await clock.advance(0)
  t.match(await census.latest(), {
    atMs: clock.now(),
    byStatus: { active: 29, in_doubt: 3, reauthorization_required: 6, revoking: 7 },
    lapsing: { '0': 3, '60': 6, '300': 10 },
  })
  await census.stop()
})

t.test('one replica counts for all, again after a while; none does when it has stopped', async t => {
  const { clock, replica, add, state } = world()
  add(1, 0)
  const all = [replica(), replica(), replica()]
  for (const census of all) census.start()
  await clock.advance(COUNT_EVERY_MS - 1)
  t.equal(state.walks, 1)
  add(1, 0)
  await clock.advance(15_001)
  t.equal(state.walks, 2)
  for (const census of all) t.equal((await census.latest())?.byStatus.active, 2)
  await Promise.all(all.map(census => census.stop()))
  await clock.advance(9 * MINUTE_MS)
  t.equal(state.walks, 2)
  t.not(await all[0]?.latest(), null)
  await clock.advance(MINUTE_MS)
  t.equal(await all[0]?.latest(), null, 'what was counted long ago says nothing about now')
})

t.test('a count that was begun and not finished is begun anew by another replica', async t => {
  const { clock, replica, add, state } = world()
  add(30, 0)
  state.batch = 10
  const [dies, lives] = [replica(), replica()]
  dies.start()
  await clock.advance(0)
  lives.start()
  await dies.stop()
  await clock.advance(29_000)
  t.equal(state.walks, 1, 'as long as its lease lasts nobody begins another')
  t.equal(await lives.latest(), null)
  await clock.advance(2 * 15_000)
  t.equal(state.walks, 2)
  t.equal((await lives.latest())?.byStatus.active, 30)
  await lives.stop()
})

t.test('a walk that takes long keeps its lease; one that has lost it gives up', async t => {
  const { clock, replica, add, state, stores } = world()
  add(10_000, 0)
  state.batch = 1
  const [first, second] = [replica(), replica()]
  first.start()
  await clock.advance(0)
  second.start()
  await clock.advance(80_000)
  t.equal(state.walks, 1, 'it takes a hundred seconds')
  const standing = await stores.censuses.read(GRANTS)
  await stores.censuses.write(GRANTS, standing?.revision ?? 0, {
    owner: 'somebody else',
    leaseUntilMs: clock.now() + 60_000,
    counts: null,
  })
  await clock.advance(40_000)
  t.equal(await first.latest(), null, 'it does not write over what another counts')
  await Promise.all([first.stop(), second.stop()])
})

t.test('nor does it write in the end over what another has begun since it last looked', async t => {
  const { clock, replica, add, state, stores } = world()
  add(2, 0)
  state.batch = 1
  const census = replica()
  census.start()
  await clock.advance(0)
  const standing = await stores.censuses.read(GRANTS)
  const theirs = { owner: 'somebody else', leaseUntilMs: clock.now() + 60_000, counts: null }
  await stores.censuses.write(GRANTS, standing?.revision ?? 0, theirs)
  await clock.advance(10)
  t.strictSame((await stores.censuses.read(GRANTS))?.record, theirs)
  await census.stop()
})

t.test('a store that is away stops nobody for good', async t => {
  const { clock, replica, add, state } = world()
  add(2, 0)
  state.batch = 1
  state.isAway = true
  const census = replica()
  census.start()
  await clock.advance(MINUTE_MS)
  t.equal(await census.latest(), null)
  state.isAway = false
  await clock.advance(MINUTE_MS)
  t.equal((await census.latest())?.byStatus.active, 2)
  await census.stop()
})
