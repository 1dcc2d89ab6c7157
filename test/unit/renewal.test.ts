import t from 'tap'
import type { Broker } from '../../src/broker/broker.ts'
import type { Problem } from '../../src/errors.ts'
import { Secret } from '../../src/ports/secret.ts'
import { createWorld, LEASE_MS, type World } from '../support/broker.ts'
import { FlakyStores } from '../support/flaky-stores.ts'
import { pending } from '../support/pending.ts'

const LIFETIME_MS = 7_200_000
const unknown = { kind: 'unknown', upstream: {}, settled: false, unreadable: false }
const invalidGrant = { kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } }

/** A grant for `ada`, version 1, whose access token has just expired. */
async function expired(world: World, broker: Broker): Promise<void> {
  await broker.exchanges.exchange({ code: new Secret('code'), redirectUri: 'https://app.example/cb' })
  await world.clock.advance(LIFETIME_MS)
}

async function statusOf(world: World): Promise<string | undefined> {
  return (await world.stores.grants.read('ada'))?.record.status
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => 'ok',
    (error: Problem) => error.code,
  )
}

t.test('many readers share one renewal, also on two replicas', async t => {
  const world = createWorld()
  const brokers = [world.replica(), world.replica()]
  await expired(world, brokers[0] as Broker)
  const reads = brokers.flatMap(broker => Array.from({ length: 25 }, () => broker.tokens.read('ada', null)))
  const all = Promise.all(reads)
  await world.clock.advance(1_000)
  t.strictSame([...new Set((await all).map(grant => grant.version))], [2])
  t.equal(world.provider.times('refresh'), 1)
})

t.test('the background loop renews inside the margin, before anybody asks', async t => {
  const world = createWorld()
  const broker = world.replica()
  await broker.exchanges.exchange({ code: new Secret('code'), redirectUri: 'https://app.example/cb' })
  await broker.start()
  await world.clock.advance(LIFETIME_MS - 610_000)
  t.equal(world.provider.times('refresh'), 0)
  await world.clock.advance(200_000)
  t.equal((await broker.tokens.read('ada', null)).version, 2)
  t.equal(world.provider.times('refresh'), 1)
  await broker.stop()
})

t.test('a lost answer leaves the grant in doubt; the old refresh token is tried again after the lease', async t => {
  const world = createWorld()
  const broker = world.replica()
  await expired(world, broker)
  world.provider.next('refresh', () => unknown)
  t.equal(await codeOf(broker.tokens.read('ada', null)), 'provider_unavailable')
  t.equal(await statusOf(world), 'in_doubt')
  t.equal(await codeOf(broker.tokens.read('ada', null)), 'provider_unavailable')
  t.equal(world.provider.times('refresh'), 1, 'not before the lease is over')
  await world.clock.advance(LEASE_MS)
  t.equal((await broker.tokens.read('ada', null)).version, 2)
  t.strictSame(
    world.provider.asked.filter(({ operation }) => operation === 'refresh').map(({ token }) => token),
    ['refresh-1', 'refresh-1'],
  )
  t.equal(await statusOf(world), 'active')
})

t.test('only invalid_grant ends a grant', async t => {
  for (const failure of [
    { kind: 'client_refused', upstream: { error: 'invalid_client' } },
    { kind: 'unavailable', upstream: { status: 429 }, retryAfterSeconds: 7 },
    { kind: 'refused', upstream: { error: 'invalid_request' } },
    { kind: 'unknown', upstream: { status: 500 }, settled: true, unreadable: false },
  ]) {
    const world = createWorld()
    const broker = world.replica()
    await expired(world, broker)
    world.provider.next('refresh', () => failure)
    const problem = await broker.tokens.read('ada', null).catch((error: Problem) => error)
    const expectedCode = failure.kind === 'client_refused' ? 'client_misconfigured' : 'provider_unavailable'
    t.match(problem, { code: expectedCode }, failure.kind)
    t.not(await statusOf(world), 'reauthorization_required', failure.kind)
    await world.clock.advance(60_000)
    t.equal((await broker.tokens.read('ada', null)).version, 2, `${failure.kind}: it recovers by itself`)
  }
  const world = createWorld()
  const broker = world.replica()
  await expired(world, broker)
  world.provider.next('refresh', () => invalidGrant)
  t.equal(await codeOf(broker.tokens.read('ada', null)), 'reauthorization_required')
  t.equal(await statusOf(world), 'reauthorization_required')
  t.equal((await world.stores.grants.read('ada'))?.record.version, 1, 'the version stays')
})

t.test('Retry-After is honoured, and told to the reader', async t => {
  const world = createWorld()
  const broker = world.replica()
  await expired(world, broker)
  world.provider.next('refresh', () => ({ kind: 'unavailable', upstream: { status: 429 }, retryAfterSeconds: 40 }))
  const problem = await broker.tokens.read('ada', null).catch((error: Problem) => error)
  t.match(problem, { retryAfterSeconds: 40 })
  await world.clock.advance(39_000)
  t.equal(await codeOf(broker.tokens.read('ada', null)), 'provider_unavailable')
  t.equal(world.provider.times('refresh'), 1)
  await world.clock.advance(1_000)
  t.equal(await codeOf(broker.tokens.read('ada', null)), 'ok')
})

t.test('after the clock was set back an hour, a refresh that had failed is tried again', async t => {
  const world = createWorld()
  const broker = world.replica()
  await expired(world, broker)
  world.provider.next('refresh', () => unknown)
  t.equal(await codeOf(broker.tokens.report('ada', 1)), 'provider_unavailable')
  world.clock.setBack(3_600_000)
  t.equal(await codeOf(broker.tokens.report('ada', 1)), 'ok')
})

t.test('a refresh during which the clock is set back an hour is tried again after a lease', async t => {
  const world = createWorld()
  const [slow, broker] = [world.replica(), world.replica()]
  await expired(world, slow)
  // One that does not come back leaves the next one in doubt.
  world.provider.next('refresh', () => new Promise(() => {}))
  slow.tokens.report('ada', 1).catch(() => {})
  await world.clock.advance(LEASE_MS + 1)
  for (const outcome of [unknown, invalidGrant]) {
    const answer = pending<unknown>()
    world.provider.next('refresh', () => answer.promise)
    const report = codeOf(broker.tokens.report('ada', 1))
    await world.clock.advance(1)
    world.clock.setBack(3_600_000)
    answer.resolve(outcome)
    t.equal(await report, 'provider_unavailable')
    await world.clock.advance(LEASE_MS)
  }
  t.equal(await codeOf(broker.tokens.report('ada', 1)), 'ok')
})

t.test('a live token is answered while its renewal fails', async t => {
  const world = createWorld()
  const broker = world.replica()
  await broker.exchanges.exchange({ code: new Secret('code'), redirectUri: 'https://app.example/cb' })
  await world.clock.advance(LIFETIME_MS - 20_000)
  world.provider.next('refresh', () => ({ kind: 'unavailable', upstream: {}, retryAfterSeconds: null }))
  t.equal((await broker.tokens.read('ada', null)).version, 1)
  t.equal(world.provider.times('refresh'), 1)
})

t.test('a winner who stalls beyond the lease still commits, and the loser gives its pair back', async t => {
  const world = createWorld()
  const [slow, fast] = [world.replica(), world.replica()]
  await expired(world, slow)
  let release: (outcome: unknown) => void = () => {}
  const stalled = new Promise(resolve => {
    release = resolve
  })
  world.provider.next('refresh', () => stalled)
  const first = slow.tokens.read('ada', null)
  // Its own deadline comes first; what it says then is tested above.
  first.catch(() => {})
  await world.clock.advance(LEASE_MS + 1)
  world.provider.next('refresh', () => invalidGrant)
  t.equal(
    await codeOf(fast.tokens.read('ada', null)),
    'provider_unavailable',
    'not ended while somebody may hold the pair',
  )
  t.equal(await statusOf(world), 'in_doubt')
  release(world.provider.answer())
  await world.clock.advance(1)
  t.equal(await statusOf(world), 'active')
  t.equal((await fast.tokens.read('ada', null)).version, 2)

  await world.clock.advance(LIFETIME_MS)
  const late = new Promise(resolve => {
    release = resolve
  })
  world.provider.next('refresh', () => late)
  slow.tokens.read('ada', null).catch(() => {})
  await world.clock.advance(LEASE_MS + 1)
  const version = (await fast.tokens.read('ada', null)).version
  t.equal(version, 3)
  const loser = world.provider.answer()
  release(loser)
  await world.clock.advance(1)
  t.equal((await world.stores.grants.read('ada'))?.record.version, 3)
  const given = loser.kind === 'ok' ? loser.value.pair.refreshToken.reveal() : ''
  t.match(world.provider.asked.at(-1), { operation: 'revoke', token: given })
})

t.test('a deleted grant that was made anew is not overwritten by a renewal of the old one', async t => {
  const world = createWorld()
  const broker = world.replica()
  await expired(world, broker)
  let release: (outcome: unknown) => void = () => {}
  world.provider.next('refresh', () => new Promise(resolve => (release = resolve)))
  const reading = world.replica().tokens.read('ada', null)
  reading.catch(() => {})
  await world.clock.advance(1)
  const current = await world.stores.grants.read('ada')
  await world.stores.grants.write('ada', current?.revision ?? 0, null)
  await broker.exchanges.exchange({ code: new Secret('again'), redirectUri: 'https://app.example/cb' })
  const anew = (await world.stores.grants.read('ada'))?.record.pair.refreshToken.reveal()
  release(world.provider.answer())
  await world.clock.advance(1)
  t.equal((await world.stores.grants.read('ada'))?.record.pair.refreshToken.reveal(), anew)
})

t.test('a store that is away at the commit: the pair waits in the journal, and the next start stores it', async t => {
  const { flaky, world, broker, reading } = await awayAtCommit()
  await world.clock.advance(LEASE_MS + 1)
  t.equal(await reading, 'store_unavailable')
  t.equal(world.journal.kept.size, 1)
  const stopping = broker.stop()
  await world.clock.advance(5_000)
  await stopping

  const next = world.replica()
  await next.start()
  t.equal(world.journal.kept.size, 1, 'it starts although the store is still away')
  flaky.isAway = false
  await world.clock.advance(5_000)
  t.equal(world.journal.kept.size, 0)
  t.equal((await next.tokens.read('ada', null)).version, 2)
  t.equal(world.provider.times('refresh'), 1)
  await next.stop()
})

t.test('a process that has come to its end begins no renewal: nobody would wait for its pair', async t => {
  const world = createWorld()
  const broker = world.replica()
  await expired(world, broker)
  await broker.stop()
  t.equal(await codeOf(broker.tokens.read('ada', null)), 'provider_unavailable')
  t.equal(world.provider.times('refresh'), 0)
  t.equal((await world.replica().tokens.read('ada', null)).version, 2)
})

t.test('nor one that was waiting for its turn', async t => {
  const world = createWorld()
  const broker = world.replica(world.stores, 1)
  await expired(world, broker)
  const bob = world.provider.answer({ expiresInSeconds: 0 })
  if (bob.kind === 'ok') await broker.grants.import({ guid: 'bob', answer: bob.value, username: null })
  const gate = pending<void>()
  world.provider.next('refresh', async () => {
    await gate.promise
    return world.provider.answer()
  })
  const reads = ['ada', 'bob'].map(guid => codeOf(broker.tokens.read(guid, null)))
  await world.clock.advance(10)
  const stopping = broker.stop()
  gate.resolve()
  await world.clock.advance(10)
  await stopping
  t.strictSame(await Promise.all(reads), ['ok', 'provider_unavailable'])
  t.equal(world.provider.times('refresh'), 1)
})

t.test('a pair that the store does not take keeps nobody else from the provider', async t => {
  const [flaky, well] = [new FlakyStores(), createWorld()]
  const { grants } = well.stores
  const ofAda = flaky.stores.grants
  const routed = {
    ...grants,
    read: (guid: string) => (guid === 'ada' ? ofAda : grants).read(guid),
    standing: (guid: string) => (guid === 'ada' ? ofAda : grants).standing(guid),
    write: (...args: Parameters<typeof grants.write>) => (args[0] === 'ada' ? ofAda : grants).write(...args),
  }
  const broker = well.replica({ ...well.stores, grants: routed }, 1)
  await expired(well, broker)
  well.provider.next('exchange', () => well.provider.answer({ guid: 'bob', expiresInSeconds: 0 }))
  await broker.exchanges.exchange({ code: new Secret('of bob'), redirectUri: 'https://app.example/cb' })
  well.provider.next('refresh', () => {
    flaky.isAway = true
    return well.provider.answer()
  })
  const ada = codeOf(broker.tokens.read('ada', null))
  await well.clock.advance(10)
  t.equal(await codeOf(broker.tokens.read('bob', null)), 'ok')
  flaky.isAway = false
  await well.clock.advance(5_000)
  t.equal(await ada, 'ok')
})

t.test('a record that does not open at the commit: the pair waits in the journal until it does', async t => {
  const flaky = new FlakyStores()
  const world = createWorld({ stores: flaky.stores })
  const broker = world.replica()
  await expired(world, broker)
  world.provider.next('refresh', () => {
    flaky.unreadable = 'ada'
    return world.provider.answer()
  })
  t.equal(await codeOf(broker.tokens.read('ada', null)), undefined, 'no problem of the contract: a fault')
  t.equal(world.journal.kept.size, 1)
  await broker.stop()

  const next = world.replica()
  await next.start()
  await world.clock.advance(1_000)
  t.equal(world.journal.kept.size, 1, 'a start that cannot open it either leaves it there')
  await next.stop()
  flaky.unreadable = null
  const after = world.replica()
  await after.start()
  t.equal(world.journal.kept.size, 0)
  t.equal((await after.tokens.read('ada', null)).version, 2)
  t.equal(world.provider.times('refresh'), 1)
  await after.stop()
})

t.test(
  'one record that does not open keeps no other from being written again, nor the process from ending',
  async t => {
    const flaky = new FlakyStores()
    const world = createWorld({ stores: flaky.stores })
    const broker = world.replica()
    for (const guid of ['ada', 'bob']) {
      world.provider.next('exchange', () => world.provider.answer({ guid }))
      await broker.exchanges.exchange({ code: new Secret(guid), redirectUri: 'https://app.example/cb' })
    }
    const before = await world.stores.grants.read('bob')
    await world.clock.advance(LIFETIME_MS)
    for (const guid of ['ada', 'bob']) await broker.tokens.read(guid, null)
    const after = await world.stores.grants.read('bob')
    await world.stores.grants.write('bob', after?.revision ?? 0, before?.record ?? null)
    flaky.unreadable = 'ada'
    await broker.stop()
    t.match(await world.stores.grants.read('bob'), { record: { version: 2 } })
  },
)

/** A pair that came when the store was away. */
async function awayAtCommit() {
  const flaky = new FlakyStores()
  const world = createWorld({ stores: flaky.stores })
  const broker = world.replica()
  await expired(world, broker)
  world.provider.next('refresh', () => {
    flaky.isAway = true
    return world.provider.answer()
  })
  const reading = codeOf(broker.tokens.read('ada', null))
  await world.clock.advance(100)
  return { flaky, world, broker, reading }
}

t.test('an entry that stays in the journal after its commit is harmless, however late it is replayed', async t => {
  const { flaky, world, broker } = await awayAtCommit()
  const left = new Map(world.journal.kept)
  flaky.isAway = false
  await world.clock.advance(3_000)
  await broker.tokens.report('ada', 2)
  await world.clock.advance(LIFETIME_MS)
  for (const [name, rotation] of left) world.journal.kept.set(name, rotation)
  const asked = world.provider.times('refresh')
  const next = world.replica()
  await next.start()
  t.equal(world.journal.kept.size, 0)
  t.equal(world.provider.times('refresh'), asked, 'its refresh token has been spent, and is not spent again')
  t.match(await world.stores.grants.read('ada'), { record: { version: 3 } })
  await next.stop()
})

t.test('a start does not wait for a store that is away, however many rotations wait in the journal', async t => {
  const { flaky, world } = await awayAtCommit()
  const [rotation] = [...world.journal.kept.values()]
  if (rotation === undefined) throw new Error('nothing was put into the journal')
  for (let index = 0; index < 50; index += 1) await world.journal.put({ ...rotation, guid: `person${index}` })
  let tries = 0
  const read = (guid: string) => {
    tries += 1
    return flaky.stores.grants.read(guid)
  }
  const counting = { ...flaky.stores, grants: { ...flaky.stores.grants, read } }
  const next = world.replica(counting)
  await next.start()
  t.ok(tries <= 2, `${tries} tries`)
})

t.test(
  'a pair that the store is slow to take is journaled before it says no, and dropped when it is taken',
  async t => {
    const flaky = new FlakyStores()
    const world = createWorld({ stores: flaky.stores })
    let take = () => {}
    const slow = { ...flaky.stores, grants: { ...flaky.stores.grants } }
    const broker = world.replica(slow)
    await expired(world, broker)
    world.provider.next('refresh', () => {
      slow.grants.write = (...args) =>
        new Promise(resolve => {
          take = () => resolve(flaky.stores.grants.write(...args))
        })
      return world.provider.answer()
    })
    const reading = broker.tokens.read('ada', null)
    await world.clock.advance(249)
    t.equal(world.journal.kept.size, 0, 'a store that is well takes it in that time')
    await world.clock.advance(1)
    t.equal(world.journal.kept.size, 1)
    take()
    t.equal((await reading).version, 2)
    t.equal(world.journal.kept.size, 0)
  },
)

t.test('a reader without a living token waits no longer than half a minute for the next try', async t => {
  const world = createWorld()
  const broker = world.replica()
  await broker.exchanges.exchange({ code: new Secret('code'), redirectUri: 'https://app.example/cb' })
  const failing = { kind: 'refused', upstream: { status: 400, error: 'server_error' } }
  const isDue = async () => ((await world.stores.grants.read('ada'))?.record.dueAtMs ?? 0) > world.clock.now() + 60_000
  await world.clock.advance(7_200_000)
  for (let tries = 0; tries < 20 && !(await isDue()); tries += 1) {
    world.provider.next('refresh', () => failing)
    await broker.tokens.read('ada', null).catch(() => {})
    await world.clock.advance(30_000)
  }
  t.ok(await isDue(), 'the background waits for minutes')
  t.match(await broker.tokens.read('ada', null), { version: 2 })
})
