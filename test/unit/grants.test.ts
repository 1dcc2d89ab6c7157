/** Imports and provisionings obey the rules of refreshes: a version is one pair, and what was replaced or deleted stays so. */
import t from 'tap'
import type { Problem } from '../../src/errors.ts'
import type { TokenAnswer } from '../../src/ports/provider.ts'
import { Secret } from '../../src/ports/secret.ts'
import { RETIRED_FOR_MS, type Stores, StoreUnavailable } from '../../src/ports/store.ts'
import { createWorld, type World } from '../support/broker.ts'
import { pending } from '../support/pending.ts'

const SUPERSEDED = { code: 'pair_superseded', status: 409 }

function answerOf(name: string, expiresInSeconds = 7_200): TokenAnswer {
  return {
    pair: { accessToken: new Secret(`${name} access`), refreshToken: new Secret(`${name} refresh`) },
    expiresInSeconds,
    refreshTokenExpiresInSeconds: null,
    scope: 's',
    guid: null,
  }
}

function setUp() {
  const world = createWorld()
  world.provider.isInstant = true
  const broker = world.replica()
  const put = (name: string, username: string | null = null, from = broker) =>
    from.grants.import({ guid: 'ada', answer: answerOf(name), username })
  const signIn = (code: string) =>
    broker.exchanges.exchange({ code: new Secret(code), redirectUri: 'https://app.example/cb' })
  return { world, broker, put, signIn }
}

async function standing(world: World, guid = 'ada') {
  return (await world.stores.grants.read(guid))?.record ?? null
}

async function remove(world: World, broker: ReturnType<World['replica']>, guid = 'ada'): Promise<void> {
  const revoked = broker.revocations.revoke(guid)
  await world.clock.advance(1_000)
  t.equal(await revoked, null)
}

t.test('the same import again changes nothing, before a refresh and after several', async t => {
  const { world, broker, put } = setUp()
  t.match(await put('P1'), { created: true, grant: { version: 1 } })
  for (let time = 0; time < 3; time += 1) t.match(await put('P1'), { created: false, grant: { version: 1 } })
  await broker.tokens.report('ada', 1)
  await broker.tokens.report('ada', 2)
  t.match(await put('P1'), { created: false, grant: { version: 3, status: 'active' } })
  const refreshToken = (await standing(world))?.pair.refreshToken
  t.ok(refreshToken !== undefined && world.provider.isAlive(refreshToken), 'the living pair stays')
})

t.test('an import of a replaced pair is refused, and what stands stays', async t => {
  const { world, broker, put, signIn } = setUp()
  await put('P1', 'ada@example.com')
  await put('P2')
  await t.rejects(put('P1', 'ada@example.com'), SUPERSEDED)
  t.match(await standing(world), { version: 2, pair: { refreshToken: answerOf('P2').pair.refreshToken } })
  await signIn('code')
  for (const name of ['P1', 'P2']) await t.rejects(put(name), SUPERSEDED, `${name}, after a sign-in`)
  t.match(await standing(world), { version: 3, origin: 'authorization_code', status: 'active' })
  await broker.tokens.report('ada', 3)
  t.match(await put('P3'), { created: false, grant: { version: 5 } }, 'a new pair is taken')
})

t.test('a refused import gives back the username that it claimed', async t => {
  const { world, put } = setUp()
  await put('P1')
  await put('P2')
  await t.rejects(put('P1', 'a new name'), SUPERSEDED)
  t.equal(await world.stores.provisionings.read('a new name'), null)
})

t.test('an import of a deleted pair is refused for thirty days, by every replica', async t => {
  const { world, broker, put } = setUp()
  await put('P1')
  await broker.tokens.report('ada', 1)
  await remove(world, broker)
  await t.rejects(put('P1'), SUPERSEDED)
  await t.rejects(put('P1', null, world.replica()), SUPERSEDED)
  t.equal(await standing(world), null)
  await world.clock.advance(RETIRED_FOR_MS - 3_600_000)
  await t.rejects(put('P1'), SUPERSEDED)
  t.match(await put('P2'), { created: true, grant: { version: 1 } })
  await world.clock.advance(2 * 3_600_000)
  t.match(await put('P1'), { grant: { version: 2 } }, 'then the mark is over')
})

t.test('while a grant is being deleted, its own pair does not bring it back', async t => {
  const { world, broker, put } = setUp()
  await put('P1')
  world.provider.next('revoke', () => ({
    kind: 'unknown',
    upstream: { status: 500 },
    settled: true,
    unreadable: false,
    retryAfterSeconds: null,
  }))
  const revoked = broker.revocations.revoke('ada')
  await world.clock.advance(100)
  t.match(await revoked, { status: 'revoking' })
  await t.rejects(put('P1'), SUPERSEDED)
  t.match(await standing(world), { status: 'revoking', version: 1 })
})

t.test('an ended grant is not brought back by the pair it ended with', async t => {
  const { world, broker, put } = setUp()
  await put('P1')
  world.provider.next('refresh', () => ({ kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } }))
  await t.rejects(broker.tokens.report('ada', 1), { code: 'reauthorization_required' })
  t.match(await put('P1'), { created: false, grant: { version: 1, status: 'reauthorization_required' } })
  t.match(await put('P2'), { grant: { version: 2, status: 'active' } })
})

t.test(
  'an import that another authorization has outranked by its clock is refused, and its pair left alone',
  async t => {
    const { world, put, signIn } = setUp()
    await signIn('code')
    world.clock.jump(-4_000)
    await t.rejects(put('P1'), SUPERSEDED)
    t.equal(world.provider.times('revoke'), 0)
    world.clock.jump(10_000)
    t.match(await put('P1'), { grant: { version: 2 } }, 'and may be sent again')
  },
)

t.test('after the clock was set back an hour, who signs in or is imported is not taken for an earlier one', async t => {
  const { world, put, signIn } = setUp()
  await signIn('code')
  world.clock.setBack(3_600_000)
  world.provider.next('exchange', () => world.provider.answer({ guid: 'ada', scope: 'profile_read pay' }))
  t.match(await signIn('again'), { grant: { version: 2, scope: 'profile_read pay' } })
  world.clock.setBack(3_600_000)
  t.match(await put('P1'), { grant: { version: 3, origin: 'import' } })
  t.match(await standing(world), { version: 3, pair: { refreshToken: answerOf('P1').pair.refreshToken } })
})

t.test('one name at two replicas, four times: one user, one version', async t => {
  for (let round = 0; round < 10; round += 1) {
    const { world, broker } = setUp()
    const other = world.replica()
    const replicas = [broker, other, broker, other]
    const all = Promise.all(
      replicas.map(replica => replica.provisionings.provision({ username: '4711', attributes: {} })),
    )
    await world.clock.advance(round)
    await world.clock.advance(2_000)
    const answers = await all
    t.strictSame([...new Set(answers.map(({ grant }) => grant.version))], [1])
    t.equal(answers.filter(({ created }) => created).length, 1)
    const first = answers[0]?.grant.pair.accessToken
    const again = await other.tokens.report('guid-4711', 1)
    t.match(again, { version: 2 })
    t.notOk(first !== undefined && again.pair.accessToken.equals(first), 'a report leads to another token')
  }
})

t.test('a replica dies before it notes that the user is made: what is deleted then stays deleted', async t => {
  const world = createWorld()
  world.provider.isInstant = true
  const { provisionings } = world.stores
  const dying = world.replica({
    ...world.stores,
    provisionings: {
      ...provisionings,
      write: (key, revision, next) =>
        next?.status === 'done' ? new Promise(() => {}) : provisionings.write(key, revision, next),
    },
  })
  const provision = (broker: ReturnType<World['replica']>) =>
    broker.provisionings.provision({ username: '4711', attributes: {} })
  provision(dying).catch(() => {})
  await world.clock.advance(100)
  const broker = world.replica()
  t.match(await standing(world, 'guid-4711'), { version: 1 })
  await remove(world, broker, 'guid-4711')
  t.equal(await provisionings.read('4711'), null, 'the name is free')
  world.provider.next('createUser', () => ({ kind: 'conflict', upstream: { status: 422 } }))
  await t.rejects(provision(broker), { code: 'username_taken' })
  t.equal(await standing(world, 'guid-4711'), null)
})

t.test('the same where the one that deletes dies as well, before it frees the name', async t => {
  const { world, broker } = setUp()
  const { provisionings } = world.stores
  const provision = () => broker.provisionings.provision({ username: '4711', attributes: {} })
  const { grant } = await provision()
  const done = await provisionings.read('4711')
  await remove(world, broker, 'guid-4711')
  const freed = await provisionings.write('4711', (done?.revision ?? 0) + 1, null)
  // As two replicas leave it that die: the answer is noted, the grant was stored and is deleted.
  const revision = freed.ok ? freed.revision : (freed.current?.revision ?? 0)
  await provisionings.write('4711', revision, { status: 'answered', grant })
  t.match(await provision(), { created: true, grant: { version: 1 } }, 'a new user is made')
  const stands = await standing(world, 'guid-4711')
  t.notOk(stands?.pair.refreshToken.equals(grant.pair.refreshToken), 'the deleted pair does not come back')
})

t.test('a write of the grant that is late finds it deleted', async t => {
  const world = createWorld()
  world.provider.isInstant = true
  const { grants } = world.stores
  let late: (() => void) | null = null
  const slow = world.replica({
    ...world.stores,
    grants: {
      ...grants,
      write: (...args) => {
        if (late !== null) return grants.write(...args)
        return new Promise(resolve => {
          late = () => resolve(grants.write(...args))
        })
      },
    },
  })
  const quick = world.replica()
  const provision = (broker: ReturnType<World['replica']>) =>
    broker.provisionings.provision({ username: '4711', attributes: {} })
  const first = provision(slow)
  await world.clock.advance(100)
  t.match(await provision(quick), { created: false, grant: { version: 1 } })
  await remove(world, quick, 'guid-4711')
  const written = late as (() => void) | null
  world.provider.next('createUser', () => ({ kind: 'conflict', upstream: { status: 422 } }))
  const told = t.rejects(first, { code: 'username_taken' })
  written?.()
  await world.clock.advance(1_000)
  await told
  t.equal(await standing(world, 'guid-4711'), null)
})

t.test('a claim whose write was done and whose answer was lost spends no code and puts no name in doubt', async t => {
  const world = createWorld()
  const { exchanges, provisionings } = world.stores
  let isLost = true
  const losing = <Store extends typeof exchanges | typeof provisionings>(store: Store): Store => ({
    ...store,
    async write(...args: Parameters<Store['write']>) {
      const written = await (store.write as (...all: Parameters<Store['write']>) => Promise<unknown>)(...args)
      if (isLost) throw new StoreUnavailable('the answer is lost')
      return written
    },
  })
  const broker = world.replica({
    ...world.stores,
    exchanges: losing(exchanges),
    provisionings: losing(provisionings),
  })
  const exchange = () => broker.exchanges.exchange({ code: new Secret('code'), redirectUri: 'https://app.example/cb' })
  const provision = () => broker.provisionings.provision({ username: '4711', attributes: {} })
  await t.rejects(exchange(), StoreUnavailable)
  await t.rejects(provision(), StoreUnavailable)
  isLost = false
  t.match(await exchange(), { created: true, grant: { guid: 'ada' } })
  t.match(await provision(), { created: true, grant: { version: 1 } })
  t.strictSame([world.provider.times('exchange'), world.provider.times('createUser')], [1, 1])
})

t.test('a code whose grant was deleted while its write was uncertain is not sent again', async t => {
  const world = createWorld()
  const { grants } = world.stores
  let isLost = true
  const broker = world.replica({
    ...world.stores,
    grants: {
      ...grants,
      async write(...args) {
        const written = await grants.write(...args)
        if (isLost && written.ok) throw new StoreUnavailable('the answer is lost')
        return written
      },
    },
  })
  const other = world.replica()
  const exchange = () => broker.exchanges.exchange({ code: new Secret('code'), redirectUri: 'https://app.example/cb' })
  const told = t.rejects(exchange(), { code: 'grant_not_found' })
  await world.clock.advance(10)
  const revoked = other.revocations.revoke('ada')
  await world.clock.advance(10)
  await revoked
  isLost = false
  await world.clock.advance(5_000)
  await told
  await t.rejects(exchange(), { code: 'grant_not_found' })
  t.equal(world.provider.times('exchange'), 1)
})

t.test('one code with two states at the same moment is sent once', async t => {
  const { world, broker } = setUp()
  const states = await Promise.all([1, 2].map(() => broker.authorizations.begin({})))
  const ends = Promise.allSettled(
    states.map(({ authorization: { state } }) =>
      broker.exchanges.exchange({ code: new Secret('code'), redirectUri: 'https://app.example/cb', state }),
    ),
  )
  await world.clock.advance(1_000)
  t.strictSame((await ends).map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  t.equal(world.provider.times('exchange'), 1)
})

t.test('a user who is made late does not bring back what was deleted meanwhile', async t => {
  const world = createWorld({ passwordGrant: true })
  world.provider.isInstant = true
  const [late, broker] = [world.replica(), world.replica()]
  const provision = (from: ReturnType<World['replica']>) =>
    from.provisionings.provision({ username: '4711', attributes: {} })
  let answer = () => {}
  world.provider.next('createUser', () => {
    return new Promise(resolve => {
      answer = () => resolve(world.provider.answer({ guid: 'guid-4711' }))
    })
  })
  provision(late).catch(() => {})
  await world.clock.advance(31_000)
  world.provider.next('createUser', () => ({ kind: 'conflict', upstream: { status: 422 } }))
  world.provider.next('authenticate', () => world.provider.answer({ guid: 'guid-4711' }))
  t.match(await provision(broker), { grant: { version: 1 } })
  await remove(world, broker, 'guid-4711')
  for (const _ of ['late', 'again'])
    world.provider.next('createUser', () => ({ kind: 'conflict', upstream: { status: 422 } }))
  answer()
  await world.clock.advance(60_000)
  t.equal(await standing(world, 'guid-4711'), null)
})

t.test('an imported pair that another has replaced is refused for as long as the grant lives', async t => {
  const { world, put } = setUp()
  await put('P1')
  await put('P2')
  await world.clock.advance(RETIRED_FOR_MS + 3_600_000)
  await t.rejects(put('P1'), SUPERSEDED)
})

/** What a provisioning of `bob` is answered, once every wait in it is over. */
async function provisioned(world: World, broker: ReturnType<World['replica']>) {
  const made = broker.provisionings.provision({ username: 'bob', attributes: {} })
  await world.clock.advance(20_000)
  return (await made).grant
}

t.test('a refused import gives no name to a grant that has another one', async t => {
  for (const how of ['its write is refused once', 'the process dies before that']) {
    const { world, broker, put } = setUp()
    await put('P1', 'ada@example.com')
    await world.clock.advance(1)
    await put('P2')
    const { grants, provisionings } = world.stores
    let isRefusing = true
    const stores: Stores = {
      ...world.stores,
      grants: how.startsWith('its') ? grants : { ...grants, standing: () => new Promise(() => {}) },
      provisionings: {
        ...provisionings,
        async write(name, ifRevision, next) {
          if (next !== null || !isRefusing) return await provisionings.write(name, ifRevision, next)
          isRefusing = false
          throw new StoreUnavailable('away')
        },
      },
    }
    const refused = put('P1', 'bob', world.replica(stores)).catch((error: Problem) => error.code)
    await world.clock.advance(1_000)
    if (how.startsWith('its')) t.equal(await refused, 'pair_superseded', how)
    t.match(await broker.grants.list({ username: 'bob', limit: 1 }), { grants: [] }, how)
    t.match(await provisioned(world, broker), { guid: 'guid-bob', username: 'bob' }, how)
  }
})

t.test('a refused import takes no name from another import that was stored', async t => {
  const { world, broker, put } = setUp()
  await put('P1')
  await world.clock.advance(1)
  await put('P2')
  const slow = pending<void>()
  const { grants } = world.stores
  const stores = {
    ...world.stores,
    grants: { ...grants, standing: (guid: string) => slow.promise.then(() => grants.standing(guid)) },
  }
  const late = put('P1', 'bob', world.replica(stores)).catch((error: Problem) => error.code)
  await world.clock.advance(1)
  t.match(await put('P3', 'bob'), { grant: { username: 'bob', version: 3 } })
  slow.resolve()
  t.equal(await late, 'pair_superseded')
  t.match(await provisioned(world, broker), { guid: 'ada', username: 'bob' })
  t.equal(world.provider.times('createUser'), 0)
})

t.test('a deletion that ends by invalid_grant retires its pairs too', async t => {
  const { world, broker, put } = setUp()
  await broker.grants.import({ guid: 'ada', answer: answerOf('P1', 10), username: null })
  await world.clock.advance(11_000)
  world.provider.next('refresh', () => ({ kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } }))
  await remove(world, broker)
  await t.rejects(put('P1'), SUPERSEDED)
})
