import t from 'tap'
import type { Problem } from '../../src/errors.ts'
import { Secret } from '../../src/ports/secret.ts'
import { StoreUnavailable } from '../../src/ports/store.ts'
import { createWorld, LEASE_MS } from '../support/broker.ts'
import { FlakyStores } from '../support/flaky-stores.ts'
import { pending } from '../support/pending.ts'

const rejected = { kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } } as const
const conflict = { kind: 'conflict', upstream: { status: 422 } }

function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'ok',
    (error: Problem) => error.code,
  )
}

t.test('a name whose grant is gone is asked for at the provider again', async t => {
  const world = createWorld()
  const broker = world.replica()
  await world.stores.provisionings.write('4711', 0, { status: 'done', guid: 'gone' })
  world.provider.next('createUser', () => conflict)
  const refused = codeOf(broker.provisionings.provision({ username: '4711', attributes: {} }))
  await world.clock.advance(19_000)
  t.equal(world.provider.times('createUser'), 0, 'not while another replica may restore it')
  await world.clock.advance(1_000)
  t.equal(await refused, 'username_taken')
  t.equal(await world.stores.provisionings.read('4711'), null)
})

t.test('a name whose grant was removed a moment ago is asked for at once', async t => {
  const world = createWorld()
  const broker = world.replica()
  const { grant } = await broker.provisionings.provision({ username: '4711', attributes: {} })
  await world.stores.grants.write(grant.guid, (await world.stores.grants.read(grant.guid))?.revision ?? 0, null)
  world.provider.next('createUser', () => conflict)
  t.equal(await codeOf(broker.provisionings.provision({ username: '4711', attributes: {} })), 'username_taken')
})

t.test('a name is kept while a fail-over has lost its grant', async t => {
  const flaky = new FlakyStores()
  const world = createWorld({ stores: flaky.stores })
  const [writer, other] = [world.replica(), world.replica()]
  await writer.start()
  await writer.provisionings.provision({ username: '4711', attributes: {} })
  flaky.forgetGrants()
  const again = other.provisionings.provision({ username: '4711', attributes: {} })
  await world.clock.advance(20_000)
  t.match(await again, { created: false, grant: { guid: 'guid-4711', status: 'active', version: 1 } })
  t.equal(world.provider.times('createUser'), 1)
  const stopped = writer.stop()
  await world.clock.advance(60_000)
  await stopped
})

t.test('an identity URL that fails for some seconds loses no new user', async t => {
  const world = createWorld()
  const broker = world.replica()
  world.provider.next('createUser', () => world.provider.answer())
  const failing = { kind: 'unavailable', upstream: { status: 503 }, retryAfterSeconds: null }
  for (let time = 0; time < 4; time += 1) world.provider.next('identify', () => failing)
  world.provider.next('identify', () => ({ kind: 'ok', value: 'guid-4711' }))
  const made = broker.provisionings.provision({ username: '4711', attributes: {} })
  await world.clock.advance(3_750)
  t.match(await made, { created: true, grant: { guid: 'guid-4711' } })
})

t.test('a replica that slept settles no claim of another one: what was deleted stays deleted', async t => {
  const world = createWorld({ passwordGrant: true })
  const [sleeper, second, third] = [world.replica(), world.replica(), world.replica()]
  const [late, pendingUser] = [pending<unknown>(), pending<unknown>()]
  const answer = world.provider.answer({ guid: 'guid-4711' })
  world.provider.next('createUser', () => late.promise)
  sleeper.provisionings.provision({ username: '4711', attributes: {} }).catch(() => {})
  await world.clock.advance(2 * LEASE_MS + 1)
  world.provider.next('createUser', () => conflict)
  world.provider.next('authenticate', () => world.provider.answer({ guid: 'guid-4711' }))
  await second.provisionings.provision({ username: '4711', attributes: {} })
  const deleted = second.revocations.revoke('guid-4711')
  await world.clock.advance(1_000)
  t.equal(await deleted, null)
  world.provider.next('createUser', () => pendingUser.promise)
  const again = codeOf(third.provisionings.provision({ username: '4711', attributes: {} }))
  await world.clock.advance(100)
  late.resolve(answer)
  await world.clock.advance(100)
  t.equal(await world.stores.grants.read('guid-4711'), null)
  world.provider.next('authenticate', () => rejected)
  pendingUser.resolve(conflict)
  await world.clock.advance(1_000)
  t.equal(await again, 'username_taken')
})

t.test('an attempt that was left behind is in doubt, and is finished by whoever comes next', async t => {
  const world = createWorld()
  const crashed = world.replica()
  world.provider.next('createUser', () => new Promise(() => {}))
  crashed.provisionings.provision({ username: '4711', attributes: {} }).catch(() => {})
  await world.clock.advance(31_000)
  world.provider.next('createUser', () => conflict)
  const next = world.replica()
  t.equal(await codeOf(next.provisionings.provision({ username: '4711', attributes: {} })), 'provisioning_in_doubt')
  t.equal(await codeOf(next.provisionings.provision({ username: '4711', attributes: {} })), 'ok')
  t.equal(world.provider.times('createUser'), 3)
})

t.test('a user who was made and not yet stored is stored by whoever comes next', async t => {
  const world = createWorld()
  const { provisionings, grants } = world.stores
  const broker = world.replica()
  const { grant } = await broker.provisionings.provision({ username: '4711', attributes: {} })
  const [mapped, stored] = [await provisionings.read('4711'), await grants.read(grant.guid)]
  await provisionings.write('4711', mapped?.revision ?? 0, { status: 'answered', grant })
  await grants.write(grant.guid, stored?.revision ?? 0, null)
  const again = await world.replica().provisionings.provision({ username: '4711', attributes: {} })
  t.match(again, { created: false, grant: { guid: grant.guid, username: '4711', version: 1 } })
  t.ok(again.grant.password?.equals(grant.password ?? again.grant.pair.accessToken))
  t.equal(world.provider.times('createUser'), 1)
})

t.test('the same name again is answered as a read is: never a token that has expired or was ended', async t => {
  const world = createWorld({ policy: { idleAfterMs: 3_600_000 } })
  const broker = world.replica()
  const provision = () => broker.provisionings.provision({ username: '4711', attributes: {} })
  await provision()
  await world.clock.advance(3 * 7_200_000)
  const { grant, created } = await provision()
  t.match({ version: grant.version, created }, { version: 2, created: false })
  t.ok(grant.accessTokenExpiresAtMs > world.clock.now())

  world.provider.next('refresh', () => ({ kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } }))
  await broker.tokens.report('guid-4711', 2).catch(() => {})
  t.equal(await codeOf(provision()), 'reauthorization_required')
})

t.test('while its grant is being revoked, a name whose process died before it was done is not free', async t => {
  const world = createWorld()
  const { provisionings } = world.stores
  const broker = world.replica()
  const { grant } = await broker.provisionings.provision({ username: '4711', attributes: {} })
  const mapped = await provisionings.read('4711')
  await provisionings.write('4711', mapped?.revision ?? 0, { status: 'answered', grant })
  world.provider.next('revoke', () => ({ kind: 'unavailable', upstream: { status: 503 }, retryAfterSeconds: null }))
  t.match(await broker.revocations.revoke(grant.guid), { status: 'revoking' })

  const next = world.replica()
  t.equal(await codeOf(next.provisionings.provision({ username: '4711', attributes: {} })), 'grant_not_found')
  t.match((await provisionings.read('4711'))?.record, { status: 'answered' })
  t.equal(world.provider.times('createUser'), 1)
  t.equal(await next.revocations.revoke(grant.guid), null)
  t.equal(await provisionings.read('4711'), null)
})

t.test('a deletion that ends by invalid_grant frees the name', async t => {
  const world = createWorld()
  const broker = world.replica()
  await broker.provisionings.provision({ username: '4711', attributes: {} })
  let answer: (outcome: unknown) => void = () => {}
  world.provider.next('refresh', () => new Promise(resolve => (answer = resolve)))
  broker.tokens.report('guid-4711', 1).catch(() => {})
  await world.clock.advance(1)
  const deleting = broker.revocations.revoke('guid-4711')
  await world.clock.advance(1)
  answer({ kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } })
  t.equal(await deleting, null)
  t.strictSame(
    world.events.filter(({ type }) => type === 'grant.revoked'),
    [{ type: 'grant.revoked', guid: 'guid-4711', version: 1 }],
  )
  t.equal(await world.stores.provisionings.read('4711'), null)
})

t.test('who is made again under a guid that was deleted of late is stored, also where the store hesitates', async t => {
  for (const isDone of [false, true]) {
    const world = createWorld()
    const { grants, provisionings } = world.stores
    let isHesitating = false
    const broker = world.replica({
      ...world.stores,
      grants: {
        ...grants,
        async write(guid, ifRevision, next, marks) {
          if (!isHesitating) return await grants.write(guid, ifRevision, next, marks)
          isHesitating = false
          if (isDone) await grants.write(guid, ifRevision, next, marks)
          throw new StoreUnavailable('away')
        },
      },
    })
    const provision = () => broker.provisionings.provision({ username: '4711', attributes: {} })
    const { grant } = await provision()
    await grants.write(grant.guid, (await grants.read(grant.guid))?.revision ?? 0, null)
    await provisionings.write('4711', (await provisionings.read('4711'))?.revision ?? 0, null)
    isHesitating = true
    const again = provision()
    await world.clock.advance(1_000)
    t.match(await again, { created: true, grant: { guid: grant.guid } })
    const standing = (await grants.read(grant.guid))?.record.pair.refreshToken
    t.ok((await again).grant.pair.refreshToken.equals(standing ?? grant.pair.refreshToken))
    t.notOk(standing?.equals(grant.pair.refreshToken))
    t.equal(world.provider.times('revoke'), 0, 'what was given out lives')
  }
})

t.test(
  'what stands under the guid is looked at while the answer is noted, and again where that look fails',
  async t => {
    const world = createWorld()
    const { grants } = world.stores
    let looks = 0
    const broker = world.replica({
      ...world.stores,
      grants: {
        ...grants,
        async standing(guid) {
          looks += 1
          if (looks === 1) throw new StoreUnavailable('away')
          return await grants.standing(guid)
        },
      },
    })
    const provision = (username: string) => broker.provisionings.provision({ username, attributes: {} })
    t.match(await provision('4711'), { created: true, grant: { version: 1 } })
    t.equal(looks, 2)
    await provision('4712')
    t.equal(looks, 3)
  },
)

t.test('what stood there while the answer was noted, and was deleted since, keeps nobody out', async t => {
  const world = createWorld()
  const { provisionings } = world.stores
  let isRefusing = false
  const broker = world.replica({
    ...world.stores,
    provisionings: {
      ...provisionings,
      async write(username, ifRevision, next) {
        if (isRefusing && next?.status === 'answered') throw new StoreUnavailable('away')
        return await provisionings.write(username, ifRevision, next)
      },
    },
  })
  const other = world.replica()
  let answer = () => {}
  world.provider.next('createUser', () => {
    return new Promise(resolve => {
      answer = () => resolve(world.provider.answer({ guid: 'ada' }))
    })
  })
  const provisioned = broker.provisionings.provision({ username: '4711', attributes: {} })
  const told = t.rejects(provisioned, { code: 'store_unavailable' }, 'the caller has not waited for the store')
  await world.clock.advance(2_000)
  // Meanwhile the same person authorizes elsewhere, and is deleted before the note is taken.
  await other.exchanges.exchange({ code: new Secret('code'), redirectUri: 'https://app.example/cb' })
  isRefusing = true
  answer()
  await world.clock.advance(1_000)
  const deleted = other.revocations.revoke('ada')
  await world.clock.advance(1_000)
  await deleted
  isRefusing = false
  await world.clock.advance(5_000)
  await told
  const { pair } = (await broker.provisionings.provision({ username: '4711', attributes: {} })).grant
  t.ok(world.provider.isAlive(pair.refreshToken))
  t.ok((await world.stores.grants.read('ada'))?.record.pair.refreshToken.equals(pair.refreshToken))
})

t.test(
  'a pair that another replica has stored from our note is not revoked when the answer to that note is lost',
  async t => {
    const world = createWorld()
    world.provider.isInstant = true
    const { provisionings } = world.stores
    let isHesitating = true
    const broker = world.replica({
      ...world.stores,
      provisionings: {
        ...provisionings,
        async write(username, ifRevision, next) {
          const written = await provisionings.write(username, ifRevision, next)
          if (next?.status !== 'answered' || !isHesitating) return written
          isHesitating = false
          throw new StoreUnavailable('the answer is lost')
        },
      },
    })
    const other = world.replica()
    const request = { username: '4711', attributes: {} }
    const first = broker.provisionings.provision(request)
    await world.clock.advance(1)
    const second = other.provisionings.provision(request)
    await world.clock.advance(5_000)
    const [{ grant }] = await Promise.all([second, first])
    t.equal(world.provider.times('revoke'), 0)
    t.ok(world.provider.isAlive(grant.pair.refreshToken))
    t.match((await world.stores.grants.read(grant.guid))?.record, { version: 1, status: 'active' })
  },
)
