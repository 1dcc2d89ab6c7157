/** Callers do not wait for a store that takes no writes, nor hear that something is done which is not. */
import t from 'tap'
import { Secret } from '../../src/ports/secret.ts'
import { createWorld, LEASE_MS } from '../support/broker.ts'
import { FlakyStores } from '../support/flaky-stores.ts'

function setUp() {
  const flaky = new FlakyStores()
  const world = createWorld({ stores: flaky.stores })
  return { flaky, world, broker: world.replica() }
}

/** What a promise ended with: the code of its problem, or `ok`; and after how long. */
async function endOf(world: ReturnType<typeof createWorld>, work: Promise<unknown>) {
  const sinceMs = world.clock.now()
  let end: { code: string; afterMs: number } | null = null
  const note = (code: string) => {
    end = { code, afterMs: world.clock.now() - sinceMs }
  }
  work.then(
    () => note('ok'),
    error => note(error.code ?? error.name),
  )
  for (let tick = 0; tick < 400 && end === null; tick += 1) await world.clock.advance(100)
  return end ?? { code: 'never', afterMs: Number.POSITIVE_INFINITY }
}

t.test(
  'the store dies as the answer to a refresh arrives: readers are told within seconds, the pair is stored later',
  async t => {
    const { flaky, world, broker } = setUp()
    await broker.exchanges.exchange({ code: new Secret('code'), redirectUri: 'https://app.example/cb' })
    world.provider.next('refresh', () => {
      flaky.isAway = true
      return world.provider.answer()
    })
    const end = await endOf(world, broker.tokens.report('ada', 1))
    t.equal(end.code, 'store_unavailable')
    t.ok(end.afterMs <= 3_000, `after ${end.afterMs} ms`)
    flaky.isAway = false
    await world.clock.advance(5_000)
    t.match(await broker.tokens.read('ada', null), { version: 2 })
    t.equal(world.provider.times('refresh'), 1)
  },
)

t.test('the same for a code and for a new user', async t => {
  const { flaky, world, broker } = setUp()
  const ask = {
    exchange: () => broker.exchanges.exchange({ code: new Secret('code'), redirectUri: 'https://app.example/cb' }),
    createUser: () => broker.provisionings.provision({ username: '4711', attributes: {} }),
  } as const
  for (const operation of ['exchange', 'createUser'] as const) {
    world.provider.next(operation, () => {
      flaky.isAway = true
      return world.provider.answer({ guid: `of ${operation}` })
    })
    const end = await endOf(world, ask[operation]())
    t.equal(end.code, 'store_unavailable')
    t.ok(end.afterMs <= 3_000, `after ${end.afterMs} ms`)
    flaky.isAway = false
    await world.clock.advance(5_000)
    t.match(await ask[operation](), { created: false, grant: { guid: `of ${operation}`, version: 1 } })
    t.equal(world.provider.times(operation), 1)
  }
})

t.test('who waits for another replica that has stopped hears that its attempt has no outcome', async t => {
  const { world, broker } = setUp()
  const dying = world.replica()
  for (const operation of ['exchange', 'createUser'] as const)
    world.provider.next(operation, () => new Promise(() => {}))
  const exchange = (from = broker) =>
    from.exchanges.exchange({ code: new Secret('code'), redirectUri: 'https://app.example/cb' })
  const provision = (from = broker) => from.provisionings.provision({ username: '4711', attributes: {} })
  const elsewhere = { code: 'provider_unavailable', message: /Another replica's .* has no outcome yet/ }
  exchange(dying).catch(() => {})
  provision(dying).catch(() => {})
  await world.clock.advance(1)
  // Its lease was written by a clock that is ahead: it has not ended when this caller's time has.
  world.clock.jump(-1_000)
  const told = [t.rejects(exchange(), elsewhere), t.rejects(provision(), elsewhere)]
  await world.clock.advance(2 * LEASE_MS + 500)
  await Promise.all(told)
})

t.test(
  'a grant that fails again and again needs attention, once for each row of failures, and is tried less often',
  async t => {
    const { world, broker } = setUp()
    await broker.exchanges.exchange({ code: new Secret('code'), redirectUri: 'https://app.example/cb' })
    const refuse = (times: number) => {
      for (let time = 0; time < times; time += 1)
        world.provider.next('refresh', () => ({ kind: 'refused', upstream: { status: 401 } }))
    }
    const hints = () => world.events.filter(({ type }) => type === 'grant.needs_attention')
    await world.clock.advance(7_000_000)
    await broker.start()
    refuse(30)
    await world.clock.advance(3_600_000)
    const asked = world.provider.times('refresh')
    t.ok(asked < 30, `${asked} requests in the first hour`)
    t.strictSame(hints(), [
      { type: 'grant.needs_attention', guid: 'ada', version: 1, code: 'provider_response_invalid', attempts: 5 },
    ])
    t.equal(broker.trouble(), null, 'the others are not affected')
    await world.clock.advance(3 * 3_600_000)
    t.match(await broker.tokens.read('ada', null), { version: 2 })
    await broker.stop()
  },
)

t.test('a token that lives shorter than asked is refreshed first, whatever life it came with', async t => {
  const { world, broker } = setUp()
  const imported = world.provider.answer({ expiresInSeconds: 40 })
  if (imported.kind === 'ok') await broker.grants.import({ guid: 'ada', answer: imported.value, username: null })
  t.match(await broker.tokens.read('ada', null), { version: 1 }, 'thirty seconds are left')
  world.provider.next('refresh', () => world.provider.answer({ expiresInSeconds: 50 }))
  t.match(await broker.tokens.read('ada', 60_000), { version: 2 })
  t.match(await broker.tokens.read('ada', 60_000), { version: 2 }, 'no new token lives that long: once is enough')
  world.provider.next('exchange', () => world.provider.answer({ guid: 'bob', expiresInSeconds: 20 }))
  const exchanged = broker.exchanges.exchange({ code: new Secret('code'), redirectUri: 'https://app.example/cb' })
  t.match(await exchanged, { created: true, grant: { guid: 'bob', version: 2 } })
})

t.test('after the clock was set back an hour a token is refreshed before it is answered', async t => {
  const { world, broker } = setUp()
  const answer = world.provider.answer({ expiresInSeconds: 600 })
  if (answer.kind === 'ok') await broker.grants.import({ guid: 'ada', answer: answer.value, username: null })
  world.clock.jump(-3_600_000)
  t.match(await broker.tokens.read('ada', null), { version: 2 })
  world.clock.jump(-3_000)
  t.match(await broker.tokens.read('ada', null), { version: 2 }, 'some seconds are nothing')
})
