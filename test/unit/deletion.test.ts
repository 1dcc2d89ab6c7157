/** A deletion, and what crosses it: reads, renewals and sign-ins under way. */
import t from 'tap'
import type { Problem } from '../../src/errors.ts'
import { Secret } from '../../src/ports/secret.ts'
import { REMOVAL_REMEMBERED_MS } from '../../src/ports/store.ts'
import { createMemoryStores } from '../../src/store/memory.ts'
import { createWorld, LEASE_MS } from '../support/broker.ts'
import { ManualClock } from '../support/clock.ts'
import { FlakyStores } from '../support/flaky-stores.ts'
import { pending } from '../support/pending.ts'

const LIFETIME_MS = 7_200_000
const unavailable = { kind: 'unavailable', upstream: {}, retryAfterSeconds: null }
const lost = { kind: 'unknown', upstream: {}, settled: false, unreadable: false, retryAfterSeconds: null }

function request(code: string) {
  return { code: new Secret(code), redirectUri: 'https://app.example/cb' }
}

async function answered(work: Promise<{ version: number }>): Promise<string> {
  return await work.then(
    ({ version }) => `version ${version}`,
    (error: Problem) => error.code,
  )
}

for (const isSame of [true, false]) {
  t.test(
    `a read under way is not answered a token after DELETE, on ${isSame ? 'the same' : 'another'} replica`,
    async t => {
      const world = createWorld()
      const broker = world.replica()
      const other = isSame ? broker : world.replica()
      await broker.exchanges.exchange(request('code'))
      await world.clock.advance(LIFETIME_MS - 900_000)
      const [refresh, revoke] = [pending(), pending()]
      world.provider.next('refresh', () => refresh.promise)
      world.provider.next('revoke', () => revoke.promise)
      const reading = answered(broker.tokens.read('ada', 1_200_000))
      await world.clock.advance(1_000)
      const deleting = other.revocations.revoke('ada')
      await world.clock.advance(1_000)
      refresh.resolve(lost)
      t.equal(await reading, 'grant_not_found')
      revoke.resolve({ kind: 'ok', value: null })
      await world.clock.advance(LEASE_MS)
      await deleting
    },
  )
}

t.test('a repeated code is answered as a read is', async t => {
  const world = createWorld()
  const broker = world.replica()
  await broker.exchanges.exchange(request('code'))
  world.provider.next('refresh', () => ({ kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } }))
  await broker.tokens.report('ada', 1).catch(() => {})
  const again = broker.exchanges.exchange(request('code')).then(({ grant }) => grant)
  t.equal(await answered(again), 'reauthorization_required')
})

/** Two sign-ins: the later one is done, the earlier one waits for `slow`. */
async function earlyAndLate() {
  const world = createWorld()
  const broker = world.replica()
  const slow = pending()
  world.provider.next('exchange', () => slow.promise)
  const early = broker.exchanges.exchange(request('early'))
  await world.clock.advance(1_000)
  await broker.exchanges.exchange(request('late'))
  return { world, broker, slow, early }
}

t.test('who signs in while an earlier sign-in is being deleted has a grant, by whatever clock', async t => {
  const { world, broker, slow, early } = await earlyAndLate()
  world.provider.next('revoke', () => unavailable)
  t.match(await broker.revocations.revoke('ada'), { status: 'revoking' })
  slow.resolve(world.provider.answer({ guid: 'ada' }))
  t.match(await early, { created: true, grant: { status: 'active' } })
  const { grant } = await early
  await world.clock.advance(60_000)
  t.match(await broker.tokens.read('ada', null), { version: grant.version })
  const revoked = world.provider.asked.filter(({ operation }) => operation === 'revoke').map(({ token }) => token)
  t.notOk(revoked.includes(grant.pair.refreshToken.reveal()))
})

t.test('where tokens live for a second alone, a deletion does not renew in a circle', async t => {
  const world = createWorld()
  const broker = world.replica()
  world.provider.next('exchange', () => world.provider.answer({ guid: 'ada', expiresInSeconds: 1 }))
  await broker.exchanges.exchange(request('code'))
  for (let times = 0; times < 5; times += 1) {
    world.provider.next('refresh', () => world.provider.answer({ expiresInSeconds: 1 }))
  }
  t.equal(await broker.revocations.revoke('ada'), null)
  t.equal(world.provider.times('refresh'), 2)
  t.equal(world.provider.asked.at(-1)?.operation, 'revoke')
})

t.test('a grant that was ended outranks nobody', async t => {
  const { world, broker, slow, early } = await earlyAndLate()
  world.provider.next('refresh', () => ({ kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } }))
  await broker.tokens.report('ada', 1).catch(() => {})
  slow.resolve(world.provider.answer({ guid: 'ada' }))
  t.match(await early, { grant: { status: 'active', version: 2 } })
})

t.test('DELETE is answered within a lease, also while a renewal cannot store what it brought', async t => {
  const flaky = new FlakyStores()
  const world = createWorld({ stores: flaky.stores })
  const broker = world.replica()
  await broker.exchanges.exchange(request('code'))
  const refresh = pending()
  world.provider.next('refresh', () => refresh.promise)
  broker.tokens.report('ada', 1).catch(() => {})
  await world.clock.advance(1)
  const deleting = broker.revocations.revoke('ada')
  await world.clock.advance(1)
  flaky.isAway = true
  refresh.resolve(world.provider.answer())
  await world.clock.advance(LEASE_MS + 1)
  t.match(await deleting, { status: 'revoking' })
  flaky.isAway = false
  await world.clock.advance(5_000)
  t.equal(await world.stores.grants.read('ada'), null, 'and it goes on')
})

t.test('who has asked for more life of a grant that is deleted meanwhile does not renew the one made anew', async t => {
  const world = createWorld()
  const [broker, other] = [world.replica(), world.replica()]
  await broker.exchanges.exchange(request('code'))
  await world.clock.advance(LIFETIME_MS - 900_000)
  const refresh = pending()
  world.provider.next('refresh', () => refresh.promise)
  const readings = [broker, other].map(replica => answered(replica.tokens.read('ada', 1_200_000)))
  await world.clock.advance(1_000)
  const deleting = other.revocations.revoke('ada')
  await world.clock.advance(1_000)
  await other.exchanges.exchange(request('anew'))
  refresh.resolve({ kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } })
  await world.clock.advance(2 * LEASE_MS)
  await deleting
  const [first, second] = await Promise.all(readings)
  t.equal(first, 'version 2', 'what the new authorization has brought')
  t.match(second, /version 2|grant_not_found/, 'it may have looked in between')
  t.equal(world.provider.times('refresh'), 1)
})

/** A store whose server has a clock of its own: it forgets what was removed although ours is set back. */
function setUpWithStoreClock() {
  const storeClock = new ManualClock()
  const stores = createMemoryStores(storeClock)
  const world = createWorld({ stores })
  const looks: string[] = []
  const standing = (guid: string) => {
    looks.push(guid)
    return stores.grants.standing(guid)
  }
  const broker = world.replica({ ...stores, grants: { ...stores.grants, standing } })
  const forgetRemoved = () => storeClock.jump(REMOVAL_REMEMBERED_MS + 1)
  return { ...world, broker, looks, forgetRemoved }
}

t.test('what another replica has deleted stays so, although the clock was set back', async t => {
  const { broker, clock, events, forgetRemoved, replica, stores } = setUpWithStoreClock()
  await broker.exchanges.exchange(request('code'))
  const other = replica()
  await broker.tokens.report('ada', 1)
  await other.tokens.report('ada', 2)
  clock.setBack(3_600_000)
  const deleting = other.revocations.revoke('ada')
  await clock.advance(LEASE_MS)
  t.equal(await deleting, null)
  forgetRemoved()
  t.equal(await answered(broker.tokens.read('ada', null)), 'grant_not_found')
  t.equal(await stores.grants.read('ada'), null)
  t.notOk(events.some(({ type }) => type === 'grant.restored'))
})

for (const how of ['DELETE', 'an invalid_grant after the DELETE of another'] as const) {
  t.test(`what this process has removed is not looked for any more: ${how}`, async t => {
    const { broker, clock, looks, provider, replica, stores } = setUpWithStoreClock()
    await broker.exchanges.exchange(request('code'))
    looks.length = 0
    const refresh = pending()
    provider.next('refresh', () => refresh.promise)
    if (how !== 'DELETE') broker.tokens.report('ada', 1).catch(() => {})
    await clock.advance(1)
    const deleting = (how === 'DELETE' ? broker : replica()).revocations.revoke('ada')
    await clock.advance(1_000)
    refresh.resolve({ kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } })
    await clock.advance(LEASE_MS)
    await deleting
    t.equal(await stores.grants.read('ada'), null)
    t.equal(await answered(broker.tokens.read('ada', null)), 'grant_not_found')
    t.strictSame(looks, [])
  })
}

t.test('a renewal that comes late, after the clock was set back, does not bring a deleted grant back', async t => {
  const { broker, clock, forgetRemoved, provider, replica, stores } = setUpWithStoreClock()
  await broker.exchanges.exchange(request('code'))
  const refresh = pending()
  provider.next('refresh', () => refresh.promise)
  const reading = answered(broker.tokens.report('ada', 1))
  await clock.advance(1)
  const deleting = replica().revocations.revoke('ada')
  await clock.advance(2 * LEASE_MS)
  await deleting
  t.equal(await stores.grants.read('ada'), null)
  clock.setBack(3_600_000)
  forgetRemoved()
  const late = provider.answer()
  refresh.resolve(late)
  await clock.advance(1_000)
  await reading
  t.equal(await stores.grants.read('ada'), null)
  const given = late.kind === 'ok' ? late.value.pair.refreshToken.reveal() : ''
  t.ok(
    provider.asked.some(({ operation, token }) => operation === 'revoke' && token === given),
    'its pair is given back',
  )
})
