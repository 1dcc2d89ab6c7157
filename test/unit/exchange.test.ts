import t from 'tap'
import type { Problem } from '../../src/errors.ts'
import { Secret } from '../../src/ports/secret.ts'
import { type Stores, StoreUnavailable } from '../../src/ports/store.ts'
import { createWorld, LEASE_MS } from '../support/broker.ts'
import { pending } from '../support/pending.ts'

const unavailable = { kind: 'unavailable', upstream: { status: 503 }, retryAfterSeconds: null } as const
const request = { code: new Secret('code'), redirectUri: 'https://app.example/cb' }

t.test('a code counts as abandoned only until its claimant says that nothing was spent', async t => {
  const world = createWorld()
  const [claimant, other] = [world.replica(), world.replica()]
  const held = pending<unknown>()
  world.provider.next('exchange', () => held.promise)
  const refused = claimant.exchanges.exchange(request).catch((error: Problem) => error.code)
  await world.clock.advance(1)
  // The other replica's clock is ahead by more than the lease.
  world.clock.jump(10 * LEASE_MS)
  await t.rejects(other.exchanges.exchange(request), { code: 'outcome_unknown' })
  world.clock.jump(-10 * LEASE_MS)
  held.resolve(unavailable)
  await world.clock.advance(1_000)
  t.equal(await refused, 'provider_unavailable')
  t.match(await other.exchanges.exchange(request), { created: true })
})

t.test('a code that was given back, by a write whose answer was lost, is not given back once more', async t => {
  const world = createWorld()
  const { exchanges } = world.stores
  let isLost = false
  const stores: Stores = {
    ...world.stores,
    exchanges: {
      ...exchanges,
      async write(key, ifRevision, next) {
        const written = await exchanges.write(key, ifRevision, next)
        if (next !== null || isLost) return written
        isLost = true
        throw new StoreUnavailable('away')
      },
    },
  }
  const [first, second] = [world.replica(stores), world.replica()]
  world.provider.next('exchange', () => unavailable)
  const refused = t.rejects(first.exchanges.exchange(request), { code: 'provider_unavailable' })
  await world.clock.advance(0)
  t.ok(isLost)
  const { grant } = await second.exchanges.exchange(request)
  await world.clock.advance(10_000)
  await refused
  t.match(await first.exchanges.exchange(request), { created: false, grant: { guid: grant.guid, version: 1 } })
  t.equal(world.provider.times('exchange'), 2)
})

t.test('a caller who joins an exchange is answered what stands by then', async t => {
  const world = createWorld()
  const { exchanges } = world.stores
  const held = pending<void>()
  const stores: Stores = {
    ...world.stores,
    exchanges: {
      ...exchanges,
      async write(key, ifRevision, next) {
        if (next?.status === 'done') await held.promise
        return await exchanges.write(key, ifRevision, next)
      },
    },
  }
  const slow = world.replica(stores)
  const first = slow.exchanges.exchange(request)
  await world.clock.advance(1)
  t.match(await world.replica().tokens.report('ada', 1), { version: 2 })
  const joined = slow.exchanges.exchange(request)
  await world.clock.advance(1)
  held.resolve()
  await first
  t.match(await joined, { created: false, grant: { version: 2 } })
})
