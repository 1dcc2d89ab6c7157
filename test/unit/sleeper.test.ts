/** What must not go wrong where a process sleeps, or waits, between two steps: the world has gone on meanwhile. */
import t from 'tap'
import type { Broker } from '../../src/broker/broker.ts'
import { Secret } from '../../src/ports/secret.ts'
import { createWorld, type World } from '../support/broker.ts'
import { FlakyStores } from '../support/flaky-stores.ts'

const LIFETIME_MS = 7_200_000
const ok = { kind: 'ok', value: null }

async function signIn(broker: Broker, guid?: string): Promise<void> {
  await broker.exchanges.exchange({
    code: new Secret('code'),
    redirectUri: 'https://app.example/cb',
    ...(guid && { guid }),
  })
}

function asked(world: World): string[] {
  return world.provider.asked
    .filter(({ operation }) => operation !== 'exchange')
    .map(entry => Object.values(entry).join(' '))
}

t.test('a fail-over that loses the version which is being renewed: the new pair stands all the same', async t => {
  const world = createWorld()
  const writer = world.replica()
  await signIn(writer)
  const first = await world.stores.grants.read('ada')
  await world.clock.advance(LIFETIME_MS)
  await writer.tokens.read('ada', null)
  await world.clock.advance(LIFETIME_MS)
  world.provider.next('refresh', async () => {
    const second = await world.stores.grants.read('ada')
    await world.stores.grants.write('ada', second?.revision ?? 0, first?.record ?? null)
    return world.provider.answer()
  })
  t.match(await world.replica().tokens.read('ada', null), { version: 3 })
  t.match(await world.stores.grants.read('ada'), { record: { version: 3, status: 'active' } })
  t.match(
    world.events.filter(({ type }) => type === 'grant.restored'),
    [{ guid: 'ada', version: 2, wentBackTo: 1 }],
  )
  t.equal(world.provider.times('revoke'), 0)
})

t.test('a fail-over that loses the grant which is being renewed: the new pair stands all the same', async t => {
  const flaky = new FlakyStores()
  const world = createWorld({ stores: flaky.stores })
  await signIn(world.replica())
  await world.clock.advance(LIFETIME_MS)
  world.provider.next('refresh', () => {
    flaky.forgetGrants()
    return world.provider.answer()
  })
  t.match(await world.replica().tokens.read('ada', null), { version: 2 })
  t.match(await world.stores.grants.read('ada'), { record: { version: 2, status: 'active' } })
})

t.test(
  'a fail-over that loses what a pair in the journal was to replace: it stands in its place all the same',
  async t => {
    const flaky = new FlakyStores()
    const world = createWorld({ stores: flaky.stores })
    const broker = world.replica()
    await signIn(broker)
    const first = (await world.stores.grants.read('ada'))?.record ?? null
    await broker.tokens.report('ada', 1)
    world.provider.next('refresh', () => {
      flaky.isAway = true
      return world.provider.answer()
    })
    broker.tokens.report('ada', 2).catch(() => {})
    await world.clock.advance(1_000)
    const stopping = broker.stop()
    await world.clock.advance(1_000)
    await stopping
    flaky.isAway = false
    flaky.forgetGrants()
    await world.stores.grants.write('ada', 0, first)
    await world.replica().start()
    t.match(await world.stores.grants.read('ada'), { record: { version: 3, status: 'active' } })
    t.equal(world.journal.kept.size, 0)
    t.equal(world.provider.times('revoke'), 0)
  },
)

for (const who of ['who renews it', 'who wrote it'] as const) {
  t.test(
    `a grant that was deleted so long ago that the store has forgotten it stays deleted: ${who} slept`,
    async t => {
      const flaky = new FlakyStores()
      const world = createWorld({ stores: flaky.stores })
      const broker = world.replica()
      const sleep = () => {
        flaky.forgetGrants()
        world.clock.jump(400_000)
      }
      await signIn(broker)
      await world.clock.advance(LIFETIME_MS)
      if (who === 'who renews it') {
        world.provider.next('refresh', () => {
          sleep()
          return world.provider.answer()
        })
      }
      await broker.tokens.read('ada', null).catch(() => {})
      if (who === 'who wrote it') sleep()
      await t.rejects(broker.tokens.read('ada', null), { code: 'grant_not_found' })
      t.equal(await world.stores.grants.read('ada'), null)
    },
  )
}

t.test(
  'a pair to be discarded expires before its revocation arrives: it is brought to life, and revoked again',
  async t => {
    const world = createWorld()
    world.provider.next('revoke', () => {
      world.clock.jump(2 * LIFETIME_MS)
      return ok
    })
    await t.rejects(signIn(world.replica(), 'somebody-else'), { code: 'guid_mismatch' })
    await world.clock.advance(60_000)
    t.strictSame(asked(world), ['revoke refresh-1', 'refresh refresh-1', 'present access-2', 'revoke refresh-2'])
  },
)

t.test('a grant to be deleted expires before its revocation arrives: it is renewed, and revoked again', async t => {
  const world = createWorld()
  const broker = world.replica()
  await signIn(broker)
  world.provider.next('revoke', () => {
    world.clock.jump(2 * LIFETIME_MS)
    return ok
  })
  const deleting = broker.revocations.revoke('ada')
  await world.clock.advance(1_000)
  await deleting
  t.strictSame(asked(world), [
    'revoke refresh-1',
    'refresh refresh-1',
    // The predecessor may be alive, and its access token has expired: it is spent as well.
    'present access-2',
    'refresh refresh-1',
    'revoke refresh-3',
    'revoke refresh-2',
  ])
  t.equal(await world.stores.grants.read('ada'), null)
})

t.test('a reader who sleeps while another replica renews is not answered what has expired meanwhile', async t => {
  const world = createWorld()
  const [sleeper, other] = [world.replica(), world.replica()]
  await signIn(sleeper)
  await world.clock.advance(LIFETIME_MS - 60_000)
  world.provider.next('refresh', () => new Promise(() => {}))
  other.tokens.read('ada', 90_000).catch(() => {})
  await world.clock.advance(1)
  const reading = sleeper.tokens.read('ada', null)
  await world.clock.advance(1)
  world.clock.jump(120_000)
  await world.clock.advance(1_000)
  t.match(await reading, { version: 2, accessTokenExpiresAtMs: world.clock.now() - 1_000 + LIFETIME_MS })
})
