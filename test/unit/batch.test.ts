/** Tokens of many people at once: each as it would be alone, and nobody's worse for the others. */
import t from 'tap'
import type { BatchRequest } from '../../src/broker/batch.ts'
import type { Broker } from '../../src/broker/broker.ts'
import { Problem } from '../../src/errors.ts'
import type { Grant } from '../../src/ports/records.ts'
import { Secret } from '../../src/ports/secret.ts'
import { createSightings } from '../../src/store/sightings.ts'
import { createWorld, LEASE_MS } from '../support/broker.ts'
import { FlakyStores } from '../support/flaky-stores.ts'
import { pending } from '../support/pending.ts'

const LIFETIME_MS = 7_200_000
/** Too short to be answered: it is renewed first. */
const SHORT_MS = 500
const refusedClient = { kind: 'client_refused', upstream: { status: 401, error: 'invalid_client' } }
const invalidGrant = { kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } }

function start(options: Parameters<typeof createWorld>[0] = {}) {
  const world = createWorld(options)
  const broker = world.replica()

  /** Their tokens live for so long. */
  async function connect(guids: readonly string[], lifeMs = LIFETIME_MS, scope = 'profile_read'): Promise<void> {
    for (const guid of guids) {
      const pair = { accessToken: new Secret(`${guid} access`), refreshToken: new Secret(`${guid} refresh`) }
      const answer = { pair, expiresInSeconds: lifeMs / 1000, refreshTokenExpiresInSeconds: null, scope, guid }
      await broker.grants.import({ guid, username: null, answer })
    }
  }

  async function told(guids: readonly string[], more: Partial<BatchRequest> = {}, by: Broker = broker) {
    const request = { guids, wishedTtlMs: null, admit() {}, check() {}, ...more }
    return (await by.tokens.readMany(request)).map(answer => {
      return answer.status === 'fulfilled' ? `${answer.value.guid} ${answer.value.version}` : codeOf(answer.reason)
    })
  }

  return { ...world, broker, connect, told }
}

function codeOf(error: Error & { code?: string }): string {
  return error.code ?? error.name
}

async function alone(broker: Broker, guid: string): Promise<string> {
  return await broker.tokens.read(guid, null).then(grant => `${grant.guid} ${grant.version}`, codeOf)
}

t.test('in the order asked, for each what a single read would have brought', async t => {
  const { broker, clock, connect, provider, served, told } = start()
  await connect(['ada', 'bob', 'dora'])
  await connect(['short'], SHORT_MS)
  provider.next('refresh', () => invalidGrant)
  await broker.tokens.report('dora', 1).catch(() => {})
  provider.next('revoke', () => ({ kind: 'unavailable', upstream: {}, retryAfterSeconds: null }))
  await broker.revocations.revoke('bob')
  const guids = ['nobody', 'short', 'bob', 'ada', 'dora']
  const expected = ['grant_not_found', 'short 2', 'grant_not_found', 'ada 1', 'reauthorization_required']
  t.strictSame(await told(guids), expected)
  t.strictSame(await Promise.all(guids.map(guid => alone(broker, guid))), expected)
  t.strictSame(
    served.slice(0, 2).map(([source]) => source),
    ['renewed', 'stored'],
    'those that were given out are counted, each once, and by how they came',
  )
  t.equal(served.length, 4)
  await clock.advance(LIFETIME_MS - 100_000)
  t.strictSame(await told(['ada', 'short'], { wishedTtlMs: 200_000 }), ['ada 2', 'short 3'], 'least life is for all')
  t.strictSame(await told([]), [])
})

t.test('who may not be looked up is not, and whose grant may not be answered is not renewed', async t => {
  const { connect, provider, stores, told } = start()
  await connect(['ada', 'bob'], SHORT_MS)
  await connect(['carol'], SHORT_MS, 'pay')
  const { readMany } = stores.grants
  const looked: string[] = []
  stores.grants.readMany = guids => {
    looked.push(...guids)
    return readMany(guids)
  }
  const admitted: string[] = []
  const request = {
    admit(guid: string) {
      admitted.push(guid)
      if (guid === 'bob') throw new Problem('forbidden', 'not bob')
    },
    check(grant: Grant) {
      if (grant.scope === 'pay') throw new Problem('forbidden', 'no payments')
    },
  }
  t.strictSame(await told(['ada', 'bob', 'carol'], request), ['ada 2', 'forbidden', 'forbidden'])
  t.strictSame(admitted, ['ada', 'bob', 'carol'], 'asked once')
  t.strictSame(looked, ['ada', 'carol'])
  t.strictSame(
    provider.asked.map(({ token }) => token),
    ['ada refresh'],
  )
})

t.test('a grant that has another scope once it is renewed is looked at again', async t => {
  const { connect, provider, told } = start()
  await connect(['ada'], SHORT_MS)
  provider.next('refresh', () => provider.answer({ scope: 'pay' }))
  const check = ({ scope }: Grant) => {
    if (scope === 'pay') throw new Problem('forbidden', 'no payments')
  }
  t.strictSame(await told(['ada'], { check }), ['forbidden'])
})

t.test('renewals are shared with whoever else waits for them, and as many are under way as ever', async t => {
  const { broker, clock, connect, provider, told } = start()
  const guids = Array.from({ length: 20 }, (_, index) => `g${index}`)
  await connect(guids, SHORT_MS)
  const gate = pending<void>()
  for (const _ of guids) provider.next('refresh', () => gate.promise.then(() => provider.answer()))
  const single = alone(broker, 'g3')
  const asked = [told(guids), told(guids.toReversed())]
  await clock.advance(10)
  t.equal(provider.times('refresh'), 8, 'as many as there are places')
  gate.resolve()
  await clock.advance(10)
  const all = guids.map(guid => `${guid} 2`)
  t.strictSame(await Promise.all([...asked, single]), [all, all.toReversed(), 'g3 2'])
  t.equal(provider.times('refresh'), 20, 'each once')
})

t.test('a renewal that hangs is told of that one alone, when a single read would be told', async t => {
  const { clock, connect, provider, told } = start()
  await connect(['ada', 'bob'])
  await connect(['hanging', 'quick'], SHORT_MS)
  const never = pending()
  provider.next('refresh', () => never.promise)
  const since = clock.now()
  let tookMs = 0
  const answered = told(['hanging', 'ada', 'quick', 'bob']).finally(() => {
    tookMs = clock.now() - since
  })
  await clock.advance(2 * LEASE_MS)
  t.strictSame(await answered, ['provider_unavailable', 'ada 1', 'quick 2', 'bob 1'])
  t.equal(tookMs, LEASE_MS)
})

t.test('nothing is given out that was replaced, or ended, while it waited for others', async t => {
  const world = start()
  const { broker, clock, connect, provider, served, told } = world
  const other = world.replica()
  await connect(['ada', 'bob', 'carol'])
  await connect(['slow', 'quick'], SHORT_MS)
  const gate = pending<void>()
  provider.next('refresh', () => gate.promise.then(() => provider.answer()))
  const answered = told(['slow', 'ada', 'bob', 'quick', 'carol'])
  await clock.advance(1_000)
  await other.tokens.report('ada', 1)
  await other.revocations.revoke('bob')
  await clock.advance(1_000)
  served.length = 0
  gate.resolve()
  await clock.advance(0)
  t.strictSame(await answered, ['slow 2', 'ada 2', 'grant_not_found', 'quick 2', 'carol 1'])
  t.strictSame(
    served.map(([source]) => source),
    ['renewed', 'stored', 'renewed', 'stored'],
    'counted once, by how they came at first',
  )
  t.equal(await alone(broker, 'bob'), 'grant_not_found')
})

t.test('a token that is no longer good enough by then is renewed, for as long as there is time', async t => {
  const { clock, connect, provider, told } = start()
  await connect(['ada'])
  clock.jump(LIFETIME_MS - 62_000)
  await connect(['slow'], SHORT_MS)
  const gates = [pending<void>(), pending<void>()]
  for (const gate of gates) provider.next('refresh', () => gate.promise.then(() => provider.answer()))
  const answered = told(['ada', 'slow'], { wishedTtlMs: 60_000 })
  await clock.advance(5_000)
  gates[0]?.resolve()
  await clock.advance(0)
  t.equal(provider.times('refresh'), 2, 'now ada has less than a minute left')
  await clock.advance(LEASE_MS)
  t.strictSame(
    await answered,
    ['ada 1', 'slow 2'],
    'it is given out as it is: it lives, and cannot be renewed just now',
  )
})

t.test('a store that answers slowly is asked three times, and no more', async t => {
  const { stores, ...world } = start()
  const { grants } = stores
  let looks = 0
  const readMany = (guids: readonly string[]) => {
    looks += 1
    return guids.map(guid => world.clock.sleep(200).then(() => grants.read(guid)))
  }
  const broker = world.replica({ ...stores, grants: { ...grants, readMany } })
  await world.connect(['ada', 'bob'])
  await world.connect(['slow'], SHORT_MS)
  world.provider.next('refresh', () => world.clock.sleep(1_000).then(() => world.provider.answer()))
  const answered = world.told(['ada', 'slow', 'bob'], {}, broker)
  await world.clock.advance(2_000)
  t.strictSame(await answered, ['ada 1', 'slow 2', 'bob 1'])
  t.equal(looks, 3)
})

t.test('what is in memory is not asked for, and looked at again at no cost', async t => {
  const { stores: raw, ...world } = start()
  const sightings = createSightings(world.clock, 100)
  sightings.listening()
  const asked: string[][] = []
  const readMany = (guids: readonly string[]) => {
    asked.push([...guids])
    return raw.grants.readMany(guids)
  }
  const broker = world.replica({ ...raw, sightings, grants: sightings.watching({ ...raw.grants, readMany }) })
  await world.connect(['ada', 'bob', 'carol'])
  await broker.tokens.read('ada', null)
  t.strictSame(await world.told(['ada', 'bob'], {}, broker), ['ada 1', 'bob 1'])
  t.strictSame(await world.told(['bob', 'ada', 'carol'], {}, broker), ['bob 1', 'ada 1', 'carol 1'])
  t.strictSame(asked, [['bob'], ['carol']])
  t.strictSame(
    world.served.map(([source]) => source),
    ['stored', 'memory', 'stored', 'memory', 'memory', 'stored'],
  )
  await world.connect(['slow'], SHORT_MS)
  const gate = pending<void>()
  world.provider.next('refresh', () => gate.promise.then(() => world.provider.answer()))
  const answered = world.told(['ada', 'slow'], {}, broker)
  await world.clock.advance(1_000)
  gate.resolve()
  await world.clock.advance(0)
  t.strictSame(await answered, ['ada 1', 'slow 2'])
  t.strictSame(asked.slice(2).flat(), ['slow'], 'who was found early is still in memory')
})

t.test('a store that is away, or a record that does not open, is told of those it concerns', async t => {
  const flaky = new FlakyStores()
  const { clock, connect, provider, told } = start({ stores: flaky.stores })
  await connect(['ada', 'bob'])
  await connect(['slow'], SHORT_MS)
  flaky.unreadable = 'bob'
  t.strictSame(await told(['ada', 'bob', 'nobody']), ['ada 1', 'RecordUnreadable', 'grant_not_found'])
  flaky.unreadable = null
  const gate = pending<void>()
  provider.next('refresh', () => gate.promise.then(() => provider.answer()))
  const answered = told(['ada', 'slow', 'bob'])
  await clock.advance(1_000)
  flaky.isAway = true
  gate.resolve()
  await clock.advance(2 * LEASE_MS)
  t.strictSame(
    await answered,
    ['ada 1', 'store_unavailable', 'bob 1'],
    'who was found before stays found: who would change it needs the store as well',
  )
  t.strictSame(await told(['ada', 'bob']), ['StoreUnavailable', 'StoreUnavailable'])
})

t.test('refused credentials are told of each who has to be renewed, and asked about once', async t => {
  const { clock, connect, provider, told } = start()
  await connect(['ada'])
  await connect(['bob', 'carol', 'dora'], SHORT_MS)
  for (let times = 0; times < 20; times += 1) {
    provider.next('refresh', () => refusedClient)
    provider.next('probe', () => refusedClient)
  }
  const first = told(['bob'])
  await clock.advance(100)
  t.strictSame(await first, ['client_misconfigured'])
  const others = Array(3).fill('client_misconfigured')
  t.strictSame(await told(['bob', 'ada', 'carol', 'dora']), [others[0], 'ada 1', ...others.slice(1)])
  t.equal(provider.times('refresh'), 1)
})
