/** What goes on in the background: how much is taken from the schedule, and when; and what was written of late is looked after. */
import t from 'tap'
import type { Broker } from '../../src/broker/broker.ts'
import type { Outcome, TokenAnswer } from '../../src/ports/provider.ts'
import { Secret } from '../../src/ports/secret.ts'
import { type GrantStore, StoreUnavailable } from '../../src/ports/store.ts'
import { createWorld, LEASE_MS } from '../support/broker.ts'
import { FlakyStores } from '../support/flaky-stores.ts'
import type { ScriptedProvider } from '../support/provider.ts'

const CONCURRENCY = 4
const lost = { kind: 'unknown', upstream: {}, settled: true, unreadable: false, retryAfterSeconds: null } as const

async function importGrants(broker: Broker, count: number): Promise<readonly string[]> {
  const guids = Array.from({ length: count }, (_, index) => `guid-${index}`)
  for (const guid of guids) {
    const pair = { accessToken: new Secret(`a-${guid}`), refreshToken: new Secret(`r-${guid}`) }
    const times = { expiresInSeconds: 7_200, refreshTokenExpiresInSeconds: null }
    await broker.grants.import({ guid, answer: { pair, ...times, scope: null, guid }, username: null })
  }
  return guids
}

/** The next refreshes are answered one by one, when what is put there for each is called. */
function heldRefreshes(provider: ScriptedProvider, count: number): (() => void)[] {
  const open: (() => void)[] = []
  for (let index = 0; index < count; index += 1) {
    provider.next('refresh', () => {
      return new Promise<Outcome<TokenAnswer>>(resolve => open.push(() => resolve(provider.answer())))
    })
  }
  return open
}

/** Grants that are all due at once, and a broker whose looks at the schedule are counted. */
async function setUp(grants: number) {
  const world = createWorld()
  const other = world.replica(world.stores, CONCURRENCY)
  const guids = await importGrants(other, grants)
  world.clock.jump(7_190_000)
  const looks: number[] = []
  const counting: GrantStore = {
    ...world.stores.grants,
    async claimDue(claim) {
      const claimed = await world.stores.grants.claimDue(claim)
      looks.push(claimed.length)
      return claimed
    },
  }
  const broker = world.replica({ ...world.stores, grants: counting }, CONCURRENCY)
  const versions = async () => {
    const found = await Promise.all(guids.map(guid => world.stores.grants.read(guid)))
    return found.map(stored => stored?.record.version)
  }
  return { ...world, broker, other, looks, versions }
}

t.test('a look at the schedule takes enough for two turns, and no more are worked on than may be', async t => {
  const { broker, clock, looks, provider, versions } = await setUp(21)
  const open = heldRefreshes(provider, 21)
  await broker.start()
  const begunMs = clock.now()
  const most: number[] = []
  while (provider.times('refresh') < 21 || open.length > 0) {
    await clock.advance(1)
    most.push(open.length)
    open.shift()?.()
  }
  await clock.advance(1)
  t.ok(clock.now() - begunMs < 100, 'one begins as soon as another has ended')
  t.strictSame(new Set(await versions()), new Set([2]))
  t.equal(Math.max(...most), CONCURRENCY)
  t.strictSame(looks, [8, 8, 5], 'one look for eight of them, the last of which finds no more')
  await clock.advance(500)
  t.strictSame(looks, [8, 8, 5, 0])
  await broker.stop()
})

t.test('nothing is taken while the provider does not work, however much is due', async t => {
  const { broker, clock, looks, provider } = await setUp(50)
  for (let index = 0; index < 50; index += 1) provider.next('refresh', () => lost)
  for (let index = 0; index < 50; index += 1) provider.next('probe', () => lost)
  await broker.start()
  await clock.advance(LEASE_MS)
  t.equal(broker.trouble(), 'outage')
  t.ok(provider.times('refresh') <= 5 + CONCURRENCY, `${provider.times('refresh')} refreshes`)
  t.ok(looks.length <= 2, `${looks.length} looks`)
  await broker.stop()
})

t.test('what was taken and not begun is renewed by another replica after the lease, and by nobody else', async t => {
  const { broker, clock, other, provider, versions } = await setUp(8)
  const open = heldRefreshes(provider, CONCURRENCY)
  await broker.start()
  await clock.advance(LEASE_MS - 1_000)
  await other.start()
  t.equal(provider.times('refresh'), CONCURRENCY, 'the rest waits')
  await clock.advance(2_000)
  const renewedByTheOther = (await versions()).filter(version => version === 2).length
  t.ok(renewedByTheOther >= CONCURRENCY, `${renewedByTheOther}`)
  const asked = provider.times('refresh')
  for (const answer of open) answer()
  await clock.advance(2_000)
  t.strictSame(new Set(await versions()), new Set([2]))
  t.equal(provider.times('refresh'), asked, 'what stood in line finds that it is done')
  await broker.stop()
  await other.stop()
})

/** People whose grants were written lately, and a store that can lose them, keep silent about some, or refuse what renews them. */
async function setUpWritten(count: number) {
  const flaky = new FlakyStores()
  const silent = new Set<string>()
  const refusing = new Set<string>()
  let looks = 0
  const { grants } = flaky.stores
  const stores = {
    ...flaky.stores,
    grants: {
      ...grants,
      async standing(guid: string) {
        looks += 1
        if (silent.has(guid)) throw new StoreUnavailable('away')
        return await grants.standing(guid)
      },
      async write(...[guid, ifRevision, next]: Parameters<GrantStore['write']>) {
        if (refusing.has(guid) && next?.version === 2) throw new StoreUnavailable('refused')
        return await grants.write(guid, ifRevision, next)
      },
    },
  }
  const world = createWorld({ stores })
  const broker = world.replica()
  const guids = await importGrants(broker, count)
  const restored = () => world.events.filter(event => event.type === 'grant.restored').length
  return { ...world, broker, flaky, guids, looks: () => looks, refusing, restored, silent }
}

t.test('after the store was away, what was written last is looked after soon', async t => {
  const { broker, clock, flaky, restored } = await setUpWritten(2)
  await broker.start()
  await clock.advance(1_000)
  flaky.isAway = true
  await clock.advance(1_000)
  // Another server has taken its place, which lacks the last writes.
  flaky.forgetGrants()
  flaky.isAway = false
  await clock.advance(5_000)
  t.equal(restored(), 2)
  await broker.stop()
})

t.test('so it is where only a commit finds the store away; which does not have all looked at all the time', async t => {
  const { broker, clock, flaky, looks, refusing, restored } = await setUpWritten(100)
  await broker.start()
  await clock.advance(1_000)
  refusing.add('guid-0')
  const report = t.rejects(broker.tokens.report('guid-0', 1), { code: 'store_unavailable' })
  await clock.advance(15_000)
  await report
  const before = looks()
  await clock.advance(15_000)
  const more = looks() - before
  t.ok(more >= 200 && more <= 400, `${more} looks at 100 grants in 15 s`)
  flaky.forgetGrants()
  refusing.clear()
  await clock.advance(6_000)
  t.ok(restored() >= 99, `${restored()}`)
  await broker.stop()
})

t.test('one that the store does not tell about keeps no other from being looked after', async t => {
  const { broker, clock, flaky, restored, silent } = await setUpWritten(120)
  await broker.start()
  flaky.forgetGrants()
  for (const guid of ['guid-0', 'guid-60', 'guid-119']) silent.add(guid)
  await clock.advance(16_000)
  t.equal(restored(), 117)
  silent.clear()
  await clock.advance(6_000)
  t.equal(restored(), 120)
  await broker.stop()
})

t.test('a store that is away as a whole is not asked for everything', async t => {
  const { broker, clock, flaky, guids, looks, silent } = await setUpWritten(1_000)
  await broker.start()
  for (const guid of guids) silent.add(guid)
  flaky.isAway = true
  const before = looks()
  await clock.advance(16_000)
  const more = looks() - before
  t.ok(more > 0 && more <= 400, `${more} looks`)
  await broker.stop()
})

t.test('a clock that was set back: what was written last is looked after as ever, and for as long', async t => {
  const { broker, clock, flaky, restored } = await setUpWritten(2)
  await broker.start()
  await clock.advance(1_000)
  clock.setBack(3_600_000)
  flaky.forgetGrants()
  await clock.advance(16_000)
  t.equal(restored(), 2)
  await clock.advance(170_000)
  flaky.forgetGrants()
  await clock.advance(60_000)
  t.equal(restored(), 2, 'it is not remembered for an hour more')
  await broker.stop()
})

t.test('nor is it forgotten at once when the clock is put right', async t => {
  const { broker, clock, flaky, restored } = await setUpWritten(2)
  await broker.start()
  clock.setBack(3_600_000)
  await clock.advance(20_000)
  clock.setBack(-3_600_000)
  await clock.advance(1_000)
  flaky.forgetGrants()
  await clock.advance(16_000)
  t.equal(restored(), 2)
  await broker.stop()
})
