/** Provisioned people come back by their stored password (RFC 6749, section 4.3), where that is switched on. */
import t from 'tap'
import { createWorld, LEASE_MS } from '../support/broker.ts'

const rejected = { kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } } as const
const notOffered = { kind: 'refused', upstream: { status: 400, error: 'unsupported_grant_type' } } as const
const conflict = { kind: 'conflict', upstream: { status: 422 } } as const
const lost = {
  kind: 'unknown',
  upstream: {},
  settled: false,
  unreadable: false,
  retryAfterSeconds: null,
} as const
const GUID = 'guid-4711'

function setUp(passwordGrant = true) {
  const world = createWorld({ passwordGrant })
  const broker = world.replica()
  const provision = (from = broker) => from.provisionings.provision({ username: '4711', attributes: {} })
  const standing = async () => (await world.stores.grants.read(GUID))?.record
  return { ...world, broker, provision, standing, types: () => world.events.map(({ type }) => type) }
}

t.test('a refused refresh token is replaced by the password, as the next version', async t => {
  const { broker, provider, provision, types } = setUp()
  await provision()
  provider.next('refresh', () => rejected)
  t.match(await broker.tokens.report(GUID, 1), { version: 2, status: 'active' })
  t.equal(provider.times('authenticate'), 1)
  t.ok(types().includes('grant.password_used'))
  t.notOk(types().includes('grant.ended'))
  t.match(await broker.tokens.report(GUID, 2), { version: 3 }, 'and from then on as ever')
})

t.test('one replica asks once, however many readers wait', async t => {
  const { broker, clock, provider, provision, replica } = setUp()
  await provision()
  const other = replica()
  provider.next('refresh', () => rejected)
  provider.next('authenticate', async () => {
    await clock.sleep(1_000)
    return provider.answer()
  })
  const reads = [broker, other, broker, other].map(each => each.tokens.report(GUID, 1))
  await clock.advance(5_000)
  for (const grant of await Promise.all(reads)) t.match(grant, { version: 2 })
  t.equal(provider.times('authenticate'), 1)
})

t.test('a refused password, and a provider without this grant, end the grant', async t => {
  for (const answer of [rejected, notOffered]) {
    const { broker, clock, provider, provision, standing, types } = setUp()
    await provision()
    provider.next('refresh', () => rejected)
    provider.next('authenticate', () => answer)
    await t.rejects(broker.tokens.report(GUID, 1), { code: 'reauthorization_required' })
    t.match(await standing(), { status: 'reauthorization_required', version: 1, dueAtMs: null })
    t.equal(types().filter(type => type === 'grant.ended').length, 1)
    await clock.advance(60_000)
    await t.rejects(broker.tokens.read(GUID, null), { code: 'reauthorization_required' })
    t.equal(provider.times('authenticate'), 1, 'readers do not ask again at once')
    await clock.advance(600_000)
    t.match(await broker.tokens.read(GUID, null), { version: 2 }, 'much later one reader may')
    t.equal(types().filter(type => type === 'grant.ended').length, 1)
  }
})

t.test('an answer that is lost, or an outage, does not end the grant', async t => {
  const { broker, clock, provider, provision, standing } = setUp()
  await provision()
  provider.next('refresh', () => rejected)
  provider.next('authenticate', () => lost)
  await t.rejects(broker.tokens.report(GUID, 1), { code: 'provider_unavailable' })
  t.match(await standing(), { status: 'in_doubt', version: 1 })
  await clock.advance(60_000)
  provider.next('refresh', () => rejected)
  t.match(await broker.tokens.report(GUID, 1), { version: 2, status: 'active' })
})

t.test('grants that ended before it was switched on come back when they are read', async t => {
  const off = setUp(false)
  await off.provision()
  off.provider.next('refresh', () => rejected)
  await t.rejects(off.broker.tokens.report(GUID, 1), {
    code: 'reauthorization_required',
    message: /no HealthTap password.*docs\/operations\.md/,
  })
  t.equal(off.provider.times('authenticate'), 0)
  const world = createWorld({ stores: off.stores, passwordGrant: true })
  world.clock.jump(600_001)
  t.match(await world.replica().tokens.read(GUID, null), { version: 2, status: 'active' })
})

t.test('a try by the password that is left open puts no ended grant in doubt', async t => {
  const { broker, clock, provider, provision, replica, events, standing } = setUp()
  await provision()
  provider.next('refresh', () => rejected)
  provider.next('authenticate', () => rejected)
  await t.rejects(broker.tokens.report(GUID, 1), { code: 'reauthorization_required' })
  await clock.advance(600_001)
  provider.next('authenticate', () => new Promise(() => {}))
  broker.tokens.read(GUID, null).catch(() => {})
  await clock.advance(LEASE_MS + 1)
  const next = replica()
  for (let tries = 0; tries < 6 && (await standing())?.status !== 'active'; tries += 1) {
    const read = next.tokens.read(GUID, null).catch(() => {})
    await clock.advance(LEASE_MS)
    await read
  }
  t.match(await standing(), { status: 'active', version: 2 })
  t.notOk(events.some(({ type }) => type === 'grant.in_doubt'))
})

t.test('after the clock was set back an hour, the wait for the next try by the password is over', async t => {
  const { broker, clock, provider, provision } = setUp()
  await provision()
  provider.next('refresh', () => rejected)
  provider.next('authenticate', () => rejected)
  await t.rejects(broker.tokens.report(GUID, 1), { code: 'reauthorization_required' })
  clock.setBack(3_600_000)
  t.match(await broker.tokens.read(GUID, null), { version: 2, status: 'active' })
})

t.test('a person who signed in themselves, or was imported, has no password to come back by', async t => {
  const { broker, clock, provider, provision, standing } = setUp()
  const { grant } = await provision()
  await clock.advance(1)
  await broker.grants.import({
    guid: GUID,
    username: null,
    answer: {
      pair: { accessToken: grant.pair.refreshToken, refreshToken: grant.pair.accessToken },
      expiresInSeconds: 7_200,
      refreshTokenExpiresInSeconds: null,
      scope: 's',
      guid: null,
    },
  })
  provider.next('refresh', () => rejected)
  await t.rejects(broker.tokens.report(GUID, 2), { code: 'reauthorization_required', message: /PUT/ })
  t.equal(provider.times('authenticate'), 0)
  t.match(await standing(), { origin: 'import', status: 'reauthorization_required' })
})

t.test('a user whose making had no answer is found by the password, in the same request', async t => {
  const { provider, provision } = setUp()
  provider.next('createUser', () => lost)
  provider.next('authenticate', () => provider.answer({ guid: GUID }))
  t.match(await provision(), { created: true, grant: { version: 1, guid: GUID, username: '4711' } })
})

t.test("a name that is taken after a doubt is ours if the password fits, and else another user's", async t => {
  for (const isOurs of [true, false]) {
    const { provider, provision, stores } = setUp()
    provider.next('createUser', () => lost)
    provider.next('authenticate', () => lost)
    await t.rejects(provision(), { code: 'provisioning_in_doubt' })
    provider.next('createUser', () => conflict)
    provider.next('authenticate', () => (isOurs ? provider.answer({ guid: GUID }) : rejected))
    if (isOurs) t.match(await provision(), { created: true, grant: { version: 1 } })
    else {
      await t.rejects(provision(), { code: 'username_taken' })
      t.equal(await stores.provisionings.read('4711'), null, 'nothing is in doubt any more')
    }
  }
})

t.test("a name that is taken at the first request is another user's: no password is tried", async t => {
  const { provider, provision } = setUp()
  provider.next('createUser', () => conflict)
  await t.rejects(provision(), { code: 'username_taken' })
  t.equal(provider.times('authenticate'), 0)
})

t.test('a refusal that is not about the password does not end the grant', async t => {
  for (const status of [403, 404]) {
    const { broker, clock, provider, provision, standing, types } = setUp()
    await provision()
    provider.next('refresh', () => rejected)
    provider.next('authenticate', () => ({ kind: 'refused', upstream: { status } }))
    await t.rejects(broker.tokens.report(GUID, 1), { code: 'provider_unavailable' })
    t.match(await standing(), { status: 'active', version: 1 })
    t.notOk(types().includes('grant.ended'))
    await clock.advance(5_000)
    provider.next('refresh', () => rejected)
    t.match(await broker.tokens.report(GUID, 1), { version: 2 })
  }
})
