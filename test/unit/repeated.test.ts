/** An authorization that comes again when its pair has been renewed already: the living pair stays. */
import t, { type Test } from 'tap'
import { Secret } from '../../src/ports/secret.ts'
import { createWorld, type World } from '../support/broker.ts'
import { pending } from '../support/pending.ts'

const LIFETIME_MS = 7_200_000

function createInstantWorld(): World {
  const world = createWorld()
  world.provider.isInstant = true
  return world
}

async function standsAlive(t: Test, world: World, guid: string): Promise<void> {
  const grant = (await world.stores.grants.read(guid))?.record
  t.equal(grant?.status, 'active')
  t.ok(grant !== undefined && world.provider.isAlive(grant.pair.refreshToken), 'its refresh token is not spent')
}

t.test('a username is sent again after a crash between the grant and the note that it is done', async t => {
  const world = createInstantWorld()
  const { provisionings } = world.stores
  const dying = world.replica({
    ...world.stores,
    provisionings: {
      ...provisionings,
      write: (key, revision, next) =>
        next?.status === 'done' ? new Promise(() => {}) : provisionings.write(key, revision, next),
    },
  })
  dying.provisionings.provision({ username: '4711', attributes: {} }).catch(() => {})
  await world.clock.advance(10)
  const broker = world.replica()
  await world.clock.advance(LIFETIME_MS)
  t.match(await broker.tokens.read('guid-4711', null), { version: 2 })
  const again = broker.provisionings.provision({ username: '4711', attributes: {} })
  await world.clock.advance(20_000)
  t.match(await again, { created: false, grant: { version: 2, username: '4711' } })
  await standsAlive(t, world, 'guid-4711')
  t.equal(world.provider.times('createUser'), 1)
})

t.test('an import is sent again', async t => {
  const world = createInstantWorld()
  const broker = world.replica()
  const pair = { accessToken: new Secret('access'), refreshToken: new Secret('refresh') }
  const importOnce = (username: string | null) => {
    const times = { expiresInSeconds: 60, refreshTokenExpiresInSeconds: null }
    return broker.grants.import({ guid: 'ada', username, answer: { pair, ...times, scope: 's', guid: null } })
  }
  t.match(await importOnce(null), { created: true, grant: { version: 1 } })
  t.match(await importOnce(null), { created: false, grant: { version: 1 } }, 'a version is one pair')
  await world.clock.advance(60_000)
  t.match(await broker.tokens.read('ada', null), { version: 2 })
  t.match(await importOnce(null), { created: false, grant: { version: 2, username: null } })
  t.match(await importOnce('4711'), { grant: { version: 2, username: '4711' } }, 'what is new in it is taken')
  await standsAlive(t, world, 'ada')
  t.equal(world.provider.times('revoke'), 0)
})

t.test('a provider hands the same pair out again to who signs in during its renewal', async t => {
  const world = createInstantWorld()
  const broker = world.replica()
  const signIn = (code: string) => {
    return broker.exchanges.exchange({ code: new Secret(code), redirectUri: 'https://app.example/cb' })
  }
  const { pair } = (await signIn('first')).grant
  await world.clock.advance(LIFETIME_MS - 5_000)
  const gate = pending<void>()
  world.provider.next('refresh', async () => {
    await gate.promise
    return world.provider.answer()
  })
  const reading = broker.tokens.read('ada', null)
  await world.clock.advance(10)
  world.provider.next('exchange', () => world.provider.answer({ guid: 'ada', pair, expiresInSeconds: 5 }))
  const again = signIn('second')
  await world.clock.advance(10)
  gate.resolve()
  await world.clock.advance(10_000)
  t.match(await reading, { version: 2 })
  t.match(await again, { grant: { version: 2 } }, 'five seconds are too short a life')
  await standsAlive(t, world, 'ada')
})
