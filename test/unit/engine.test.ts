/** What the engine does beyond one renewal: rests, restores, waits for a word, keeps grants through a wrong secret. */
import t from 'tap'
import type { Broker } from '../../src/broker/broker.ts'
import type { Outcome } from '../../src/ports/provider.ts'
import type { Grant } from '../../src/ports/records.ts'
import { Secret } from '../../src/ports/secret.ts'
import { createWorld, LEASE_MS, type World } from '../support/broker.ts'
import { FlakyStores } from '../support/flaky-stores.ts'

const LIFETIME_MS = 7_200_000
const HOUR_MS = 3_600_000
const refusedClient = { kind: 'client_refused', upstream: { status: 401, error: 'invalid_client' } }

async function exchange(broker: Broker): Promise<void> {
  await broker.exchanges.exchange({ code: new Secret('code'), redirectUri: 'https://app.example/cb' })
}

async function stored(world: World): Promise<Grant> {
  const grant = (await world.stores.grants.read('ada'))?.record
  if (grant === undefined) throw new Error('ada has no grant')
  return grant
}

t.test('a grant that nobody reads rests, and is renewed when next read', async t => {
  const world = createWorld({ policy: { idleAfterMs: HOUR_MS } })
  const broker = world.replica()
  await exchange(broker)
  await broker.start()
  await world.clock.advance(LIFETIME_MS)
  t.equal(world.provider.times('refresh'), 0)
  t.equal((await stored(world)).dueAtMs, null)
  t.equal(world.events.filter(event => event.type === 'grant.rested').length, 1)

  t.equal((await broker.tokens.read('ada', null)).version, 2, 'renewed because somebody asks')
  await world.clock.advance(HOUR_MS / 2)
  await broker.tokens.read('ada', null)
  await world.clock.advance(LIFETIME_MS - HOUR_MS / 2 - 1_000)
  t.equal((await stored(world)).version, 2, 'and rests again, an hour after it was last read')
  await broker.stop()
})

t.test('a grant that is read now and then is renewed ahead of time; reads are noted coarsely', async t => {
  const world = createWorld({ policy: { idleAfterMs: HOUR_MS } })
  const broker = world.replica()
  await exchange(broker)
  await broker.start()
  const notes = new Set<number | undefined>()
  for (let minute = 0; minute < 120; minute += 1) {
    await broker.tokens.read('ada', null)
    await world.clock.advance(60_000)
    notes.add((await stored(world)).lastReadAtMs)
  }
  t.equal((await stored(world)).version, 2)
  t.ok(notes.size >= 7 && notes.size <= 10, `${notes.size} notes of 120 reads`)
  await broker.stop()
})

t.test('a resting grant whose refresh token would expire is renewed all the same', async t => {
  const world = createWorld({ policy: { idleAfterMs: HOUR_MS } })
  const broker = world.replica()
  const answer = world.provider.answer({ guid: 'ada', refreshTokenExpiresInSeconds: 4 * 3_600 })
  world.provider.next('exchange', () => answer)
  await exchange(broker)
  await broker.start()
  await world.clock.advance(4 * HOUR_MS - 3_000_000)
  t.equal(world.provider.times('refresh'), 0)
  await world.clock.advance(1_000_000)
  t.equal(world.provider.times('refresh'), 1)
  await broker.stop()
})

t.test('a resting grant whose refresh token lives long is renewed a day before it expires', async t => {
  const DAY_MS = 24 * HOUR_MS
  const world = createWorld({ policy: { idleAfterMs: HOUR_MS } })
  const broker = world.replica()
  const answer = world.provider.answer({ guid: 'ada', refreshTokenExpiresInSeconds: (30 * DAY_MS) / 1000 })
  world.provider.next('exchange', () => answer)
  await exchange(broker)
  t.equal((await stored(world)).refreshDueAtMs < world.clock.now() + LIFETIME_MS, true)
  await world.clock.advance(29 * DAY_MS - 1_000)
  const later = world.replica()
  await later.start()
  await world.clock.advance(1_000)
  t.equal(world.provider.times('refresh'), 0)
  await world.clock.advance(DAY_MS / 4 + 1_000)
  t.equal(world.provider.times('refresh'), 1)
  await later.stop()
})

t.test('a refresh token that expires before the access token is renewed before it does', async t => {
  const world = createWorld()
  const broker = world.replica()
  const answer = world.provider.answer({ guid: 'ada', refreshTokenExpiresInSeconds: 3_600 })
  world.provider.next('exchange', () => answer)
  await exchange(broker)
  await broker.start()
  await world.clock.advance(HOUR_MS - 400_000)
  t.equal(world.provider.times('refresh'), 1)
  await broker.stop()
})

t.test('a fail-over that loses the last write: who wrote it finds out, and writes it again', async t => {
  const world = createWorld()
  const broker = world.replica()
  await exchange(broker)
  const before = await world.stores.grants.read('ada')
  await broker.start()
  while ((await stored(world)).version === 1) await world.clock.advance(30_000)
  const after = await world.stores.grants.read('ada')
  const lose = async () => {
    const current = await world.stores.grants.read('ada')
    await world.stores.grants.write('ada', current?.revision ?? 0, before?.record ?? null)
  }
  await lose()
  const read = await broker.tokens.read('ada', null)
  t.ok(read.pair.accessToken.equals(after?.record.pair.accessToken as Secret), 'a reader is given the newest')
  t.strictSame(
    world.events.filter(event => event.type === 'grant.restored'),
    [{ type: 'grant.restored', guid: 'ada', version: 2, wentBackTo: 1 }],
  )

  await lose()
  await world.clock.advance(16_000)
  t.equal((await stored(world)).version, 2, 'and nobody needs to ask')
  t.equal(world.provider.times('refresh'), 1)
  await broker.stop()
})

t.test(
  'a fail-over that loses even the first write of a grant: it is written again, unless it was deleted',
  async t => {
    const flaky = new FlakyStores()
    const world = createWorld({ stores: flaky.stores })
    const broker = world.replica()
    const provision = () => broker.provisionings.provision({ username: '4711', attributes: {} })
    await exchange(broker)
    await provision()
    flaky.forgetGrants()
    t.match(await provision(), { created: false, grant: { guid: 'guid-4711', version: 1 } })
    t.equal(world.provider.times('createUser'), 1, 'no second user is asked for')
    t.match(await broker.tokens.read('ada', null), { version: 1 })

    flaky.forgetGrants()
    await broker.start()
    await world.clock.advance(16_000)
    t.match(await stored(world), { version: 1, status: 'active' }, 'and nobody needs to ask')

    await broker.revocations.revoke('ada')
    await t.rejects(broker.tokens.read('ada', null), { code: 'grant_not_found' })
    await world.clock.advance(60_000)
    t.equal(await world.stores.grants.read('ada'), null, 'what was deleted stays so')
    await broker.stop()
  },
)

t.test('a process that is stopped waits for the exchange and the new user that are under way', async t => {
  const world = createWorld()
  const broker = world.replica()
  const answers: ((outcome: unknown) => void)[] = []
  for (const operation of ['exchange', 'createUser'] as const) {
    world.provider.next(operation, () => new Promise(resolve => answers.push(resolve)))
  }
  const asked = [exchange(broker), broker.provisionings.provision({ username: '4711', attributes: {} })]
  await world.clock.advance(1)
  let isStopped = false
  const stopping = broker.stop().then(() => {
    isStopped = true
  })
  await world.clock.advance(1)
  t.notOk(isStopped)
  answers[0]?.(world.provider.answer({ guid: 'ada' }))
  answers[1]?.(world.provider.answer({ guid: 'bob' }))
  await Promise.all([...asked, stopping])
  for (const guid of ['ada', 'bob']) t.match(await world.stores.grants.read(guid), { record: { version: 1 } })
})

t.test('a new authorization after a fail-over is not replaced by what was before it', async t => {
  const world = createWorld()
  const broker = world.replica()
  await exchange(broker)
  const before = await world.stores.grants.read('ada')
  await world.clock.advance(LIFETIME_MS - 60_000)
  await broker.tokens.read('ada', 300_000)
  await world.clock.advance(1_000)
  await broker.tokens.report('ada', 2)
  t.equal((await stored(world)).version, 3)
  const current = await world.stores.grants.read('ada')
  await world.stores.grants.write('ada', current?.revision ?? 0, before?.record ?? null)
  await world.clock.advance(1_000)
  const other = world.replica()
  await other.grants.import({
    guid: 'ada',
    answer: {
      pair: { accessToken: new Secret('new'), refreshToken: new Secret('newer') },
      expiresInSeconds: 7200,
      refreshTokenExpiresInSeconds: null,
      scope: null,
      guid: null,
    },
    username: null,
  })
  t.equal((await broker.tokens.read('ada', null)).pair.accessToken.reveal(), 'new')
})

t.test('refused credentials change no grant, for however long', async t => {
  const world = createWorld()
  const broker = world.replica()
  await exchange(broker)
  const before = await stored(world)
  await broker.start()
  for (let time = 0; time < 5_000; time += 1) {
    world.provider.next('refresh', () => refusedClient)
    world.provider.next('probe', () => refusedClient)
  }
  await world.clock.advance(LIFETIME_MS + HOUR_MS)
  const { status, version, pair, lastError } = await stored(world)
  t.match({ status, version, lastError }, { status: 'active', version: 1, lastError: null })
  t.ok(pair.refreshToken.equals(before.pair.refreshToken))
  t.equal(world.provider.times('refresh'), 1, 'one request was enough to know')
  t.equal(world.events.filter(event => event.type === 'client.refused').length, 1)
  t.equal(broker.trouble(), 'client_refused')
  await broker.stop()
})

/** Of three grants that come due, one is always answered this, and probes and the others are well. How long all are kept from it. */
async function withOneBad(outcome: Outcome<never>) {
  const world = createWorld()
  const { clock, events, provider } = world
  const refresh = provider.refresh.bind(provider)
  let asked = 0
  provider.refresh = async token => {
    if (token.reveal() !== 'bad refresh') return await refresh(token)
    asked += 1
    return outcome
  }
  const broker = world.replica()
  for (const guid of ['bad', 'good', 'better']) {
    const pair = { accessToken: new Secret(`${guid} access`), refreshToken: new Secret(`${guid} refresh`) }
    const answer = { pair, expiresInSeconds: 7_200, refreshTokenExpiresInSeconds: null, scope: null, guid }
    await broker.grants.import({ guid, answer, username: null })
  }
  clock.jump(LIFETIME_MS - 700_000)
  await broker.start()
  let troubledSeconds = 0
  for (let second = 0; second < 3_000; second += 5) {
    await clock.advance(5_000)
    if (broker.trouble() !== null) troubledSeconds += 5
  }
  const bad = (await world.stores.grants.read('bad'))?.record
  const times = (type: string) => events.filter(event => event.type === type).length
  const attention = events.filter(event => event.type === 'grant.needs_attention')
  await broker.stop()
  return { asked, attention, bad, times, troubledSeconds }
}

t.test('one grant that is refused as if our credentials were wrong keeps no other from its renewal', async t => {
  for (const error of ['unauthorized_client', 'invalid_client']) {
    const refused = { kind: 'client_refused', upstream: { status: 401, error } } as const
    const { asked, attention, bad, times, troubledSeconds } = await withOneBad(refused)
    t.ok(troubledSeconds <= 10, `${troubledSeconds} s`)
    t.equal(times('grant.renewed'), 2)
    t.equal(times('client.refused'), 1)
    t.equal(times('client.accepted'), 1)
    t.ok(asked < 25, `${asked} requests, with backoff`)
    t.match(bad, { status: 'active', version: 1, lastError: { code: 'provider_response_invalid' } })
    t.match(attention, [{ guid: 'bad', version: 1, attempts: 5 }])
  }
})

t.test('one grant that is always told to wait keeps no other waiting', async t => {
  const busy = { kind: 'unavailable', upstream: { status: 429 }, retryAfterSeconds: 300 } as const
  const { asked, attention, bad, times, troubledSeconds } = await withOneBad(busy)
  t.ok(troubledSeconds <= 300, `${troubledSeconds} s`)
  t.equal(times('provider.paused'), 1)
  t.equal(times('grant.renewed'), 2)
  t.ok(asked <= 10, `${asked} requests, each after what it was asked to wait`)
  t.match(bad, { status: 'active', version: 1, lastError: { code: 'provider_unavailable' } })
  t.match(attention, [{ guid: 'bad', version: 1, attempts: 5 }])
})

t.test('a renewal whose lease was long in the taking is not sent: another replica may begin by then', async t => {
  const world = createWorld()
  const { grants } = world.stores
  const slow = {
    ...world.stores,
    grants: {
      ...grants,
      async write(...[guid, ifRevision, next]: Parameters<typeof grants.write>) {
        const written = await grants.write(guid, ifRevision, next)
        if (next?.attempt != null && next.version === 1 && world.events.length < 3) await world.clock.sleep(LEASE_MS)
        return written
      },
    },
  }
  const broker = world.replica(slow)
  await exchange(broker)
  await world.clock.advance(LIFETIME_MS)
  const reading = broker.tokens.read('ada', null).catch(error => error)
  await world.clock.advance(LEASE_MS - 1)
  t.equal(world.provider.times('refresh'), 0)
  const other = world.replica()
  await world.clock.advance(1)
  await reading
  t.equal((await other.tokens.read('ada', null)).version, 2)
  t.equal(world.provider.times('refresh'), 1)
})

t.test('a reader whose grant another replica renews is told at once when that is done', async t => {
  const world = createWorld()
  const [first, second] = [world.replica(), world.replica()]
  await exchange(first)
  await world.clock.advance(LIFETIME_MS)
  let answer: (outcome: unknown) => void = () => {}
  const held = new Promise(resolve => {
    answer = resolve
  })
  world.provider.next('refresh', () => held)
  const renewing = first.tokens.read('ada', null)
  await world.clock.advance(0)
  const waiting = second.tokens.read('ada', null)
  await world.clock.advance(100)
  answer(world.provider.answer())
  t.equal((await renewing).version, 2)
  t.equal((await waiting).version, 2, 'without the clock having moved')
})
