/** The background loop: how much it takes from the schedule, and when. */
import t from 'tap'
import type { Outcome, TokenAnswer } from '../../src/ports/provider.ts'
import { Secret } from '../../src/ports/secret.ts'
import type { GrantStore } from '../../src/ports/store.ts'
import { createWorld, LEASE_MS } from '../support/broker.ts'
import { FlakyStores } from '../support/flaky-stores.ts'

const CONCURRENCY = 4
const lost = { kind: 'unknown', upstream: {}, settled: true, unreadable: false, retryAfterSeconds: null } as const

/** Grants that are all due at once, and a broker whose looks at the schedule are counted. */
async function setUp(grants: number) {
  const world = createWorld()
  const guids = Array.from({ length: grants }, (_, index) => `guid-${index}`)
  const other = world.replica(world.stores, CONCURRENCY)
  for (const guid of guids) {
    const pair = { accessToken: new Secret(`a-${guid}`), refreshToken: new Secret(`r-${guid}`) }
    const times = { expiresInSeconds: 7_200, refreshTokenExpiresInSeconds: null }
    await other.grants.import({ guid, answer: { pair, ...times, scope: null, guid }, username: null })
  }
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
  const open: (() => void)[] = []
  for (let index = 0; index < 21; index += 1) {
    provider.next('refresh', () => {
      return new Promise<Outcome<TokenAnswer>>(resolve => open.push(() => resolve(provider.answer())))
    })
  }
  await broker.start()
  const most: number[] = []
  while (provider.times('refresh') < 21 || open.length > 0) {
    await clock.advance(1)
    most.push(open.length)
    open.shift()?.()
  }
  await clock.advance(1)
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
  const open: (() => void)[] = []
  for (let index = 0; index < CONCURRENCY; index += 1) {
    provider.next('refresh', () => {
      return new Promise<Outcome<TokenAnswer>>(resolve => open.push(() => resolve(provider.answer())))
    })
  }
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

t.test('after the store was away, what was written last is looked after at once', async t => {
  const flaky = new FlakyStores()
  const world = createWorld({ stores: flaky.stores })
  const broker = world.replica()
  await broker.exchanges.exchange({ code: new Secret('code'), redirectUri: 'https://app.example/cb' })
  await broker.start()
  await world.clock.advance(1_000)
  flaky.isAway = true
  await world.clock.advance(1_000)
  // Another server has taken its place, which lacks the last write.
  flaky.forgetGrants()
  flaky.isAway = false
  await world.clock.advance(3_000)
  t.match(await world.stores.grants.read('ada'), { record: { version: 1 } })
  t.equal(world.events.filter(event => event.type === 'grant.restored').length, 1)
  await broker.stop()
})
