/** How tokens are handed out, and what comes of renewals: as the engine tells it. */
import t from 'tap'
import { Secret } from '../../src/ports/secret.ts'
import { createWorld, LEASE_MS, type World } from '../support/broker.ts'
import { FlakyStores } from '../support/flaky-stores.ts'
import { pending } from '../support/pending.ts'

const LIFETIME_MS = 7_200_000
const invalidGrant = { kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } }
const failed = { kind: 'unavailable', upstream: {}, retryAfterSeconds: null }
const clientRefused = { kind: 'client_refused', upstream: { error: 'invalid_client' } }
const lost = { kind: 'unknown', upstream: {}, settled: false, unreadable: false, retryAfterSeconds: null }

/** A grant for `ada`, of which `lifeMs` are left. */
async function connected(options: Parameters<typeof createWorld>[0] = {}, lifeMs = LIFETIME_MS) {
  const world = createWorld(options)
  const broker = world.replica()
  await broker.exchanges.exchange({ code: new Secret('code'), redirectUri: 'https://app.example/cb' })
  world.clock.jump(LIFETIME_MS - lifeMs)
  const read = (by = broker) => by.tokens.read('ada', null).catch((error: Error) => error)
  return { ...world, broker, read }
}

const sources = (world: Pick<World, 'served'>) => world.served.map(([source]) => source)
const outcomes = (world: Pick<World, 'refreshed'>) => world.refreshed.map(([outcome]) => outcome)

t.test('a token as it stands, with the life that is left', async t => {
  const world = await connected({}, 4_000_000)
  await world.read()
  await world.broker.tokens.report('ada', 7)
  t.strictSame(world.served, [
    ['stored', 4_000_000],
    ['stored', 4_000_000],
  ])
  t.strictSame(world.refreshed, [])
})

t.test('who begins a renewal, and who joins it, here and on another replica', async t => {
  const world = await connected({}, 0)
  const other = world.replica()
  const answer = pending<void>()
  world.provider.next('refresh', () => answer.promise.then(() => world.provider.answer()))
  const reads = [world.read(), world.read(), world.read(other)]
  await world.clock.advance(100)
  answer.resolve()
  await world.clock.advance(1_000)
  await Promise.all(reads)
  t.strictSame(sources(world).sort(), ['joined', 'joined', 'renewed'])
  t.strictSame(outcomes(world), ['renewed'])
  await world.broker.tokens.report('ada', 2)
  t.strictSame(sources(world).slice(3), ['renewed'])
})

t.test('a token that lives, while its renewal has just begun', async t => {
  const world = await connected({}, 60_000)
  const answer = pending<void>()
  world.provider.next('refresh', () => answer.promise.then(() => world.provider.answer()))
  const first = world.broker.tokens.report('ada', 1)
  await world.clock.advance(10)
  const second = world.read()
  answer.resolve()
  await world.clock.advance(1_000)
  await Promise.all([first, second])
  t.strictSame(sources(world), ['renewed', 'joined'])
})

t.test('a token that should have been renewed and could not be', async t => {
  const world = await connected({}, 20_000)
  world.provider.next('refresh', () => failed)
  await world.read()
  t.strictSame(world.served, [['kept', 20_000]])
  t.strictSame(world.refreshed, [['failed', null]])

  const flaky = new FlakyStores()
  const away = await connected({ stores: flaky.stores }, 20_000)
  away.provider.next('refresh', () => failed)
  const { grants } = flaky.stores
  const { write } = grants
  Object.assign(grants, {
    write: (...args: Parameters<typeof write>) => {
      flaky.isAway = true
      return write(...args)
    },
  })
  await away.read()
  t.strictSame(sources(away), ['kept'], 'nor could the store be asked')
})

t.test('how long it had been due', async t => {
  const world = await connected({}, 0)
  const dueAtMs = (await world.broker.grants.read('ada')).refreshDueAtMs
  await world.read()
  t.strictSame(world.refreshed, [['renewed', world.clock.now() - dueAtMs]])
  await world.broker.tokens.report('ada', 2)
  t.strictSame(world.refreshed[1], ['renewed', null], 'one that somebody asks for before it is due has no lag')
})

t.test('what comes of a renewal', async t => {
  for (const [answer, outcome] of [
    [failed, 'failed'],
    [lost, 'in_doubt'],
    [clientRefused, 'client_refused'],
    [invalidGrant, 'ended'],
  ] as const) {
    const world = await connected({}, 0)
    world.provider.next('refresh', () => answer)
    await world.read()
    t.strictSame(world.refreshed, [[outcome, null]])
  }
})

t.test('a grant that ends: by itself, or after an answer was lost', async t => {
  const world = await connected({}, 0)
  world.provider.next('refresh', () => invalidGrant)
  await world.read()
  t.match(world.events.at(-1), { type: 'grant.ended', afterDoubt: false })

  const doubted = await connected({}, 0)
  doubted.provider.next('refresh', () => lost)
  doubted.provider.next('refresh', () => invalidGrant)
  await doubted.read()
  await doubted.clock.advance(2 * LEASE_MS)
  await doubted.read()
  t.match(doubted.events.at(-1), { type: 'grant.ended', afterDoubt: true })
  t.strictSame(outcomes(doubted), ['in_doubt', 'ended'])
})

/** Two replicas have the same refresh token on the wire: the first sleeps, and its answer comes when the second has stored its own. */
async function overtaken(meanwhile: (world: Awaited<ReturnType<typeof connected>>) => Promise<unknown>) {
  const world = await connected({}, 0)
  const answer = pending<unknown>()
  world.provider.next('refresh', () => answer.promise)
  const first = world.read()
  await world.clock.advance(LEASE_MS + 1_000)
  await meanwhile(world)
  return { ...world, first, answer }
}

t.test('a pair that comes when another stands is told of, and why it is not needed', async t => {
  const bySecond = (world: Awaited<ReturnType<typeof connected>>) => world.read(world.replica())
  const doubled = await overtaken(bySecond)
  doubled.answer.resolve(doubled.provider.answer())
  await doubled.clock.advance(1_000)
  await doubled.first
  t.match(
    doubled.events.filter(({ type }) => type === 'pair.discarded'),
    [{ guid: 'ada', version: 2, because: 'rotated_twice' }],
  )
  t.strictSame(outcomes(doubled), ['renewed', 'discarded'])

  const anew = await overtaken(world =>
    world.broker.exchanges.exchange({ code: new Secret('another'), redirectUri: 'https://app.example/cb' }),
  )
  anew.answer.resolve(anew.provider.answer())
  await anew.clock.advance(1_000)
  t.match(
    anew.events.filter(({ type }) => type === 'pair.discarded'),
    [{ because: 'authorized' }],
  )

  const late = await overtaken(async () => {})
  late.answer.resolve(late.provider.answer())
  await late.clock.advance(1_000)
  await late.first
  t.strictSame(outcomes(late), ['renewed_late'], 'late, and nobody else was there')

  const beaten = await overtaken(bySecond)
  beaten.answer.resolve(invalidGrant)
  await beaten.clock.advance(1_000)
  await beaten.first
  t.strictSame(outcomes(beaten), ['renewed', 'overtaken'])
})

t.test('what an earlier process has left in the journal', async t => {
  const flaky = new FlakyStores()
  const world = await connected({ stores: flaky.stores }, 0)
  world.provider.next('refresh', () => {
    flaky.isAway = true
    return world.provider.answer()
  })
  const read = world.read()
  await world.clock.advance(1_000)
  t.equal(world.journal.kept.size, 1)
  const left = [...world.journal.kept.values()]
  flaky.isAway = false
  await world.clock.advance(5_000)
  await read
  t.strictSame(outcomes(world), ['renewed'])
  for (const rotation of left) await world.journal.put(rotation)
  await world.broker.tokens.report('ada', 2)
  const next = world.replica()
  await next.start()
  t.strictSame(outcomes(world).slice(2), ['replayed'])
  t.match(
    world.events.filter(({ type }) => type === 'pair.discarded'),
    [{ because: 'replayed' }],
    'it was committed, and renewed since: no double rotation',
  )
  await next.stop()
})
