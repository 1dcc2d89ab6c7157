/** Pairs that a grant leaves behind, by a provider in both of its modes. */
import t from 'tap'
import type { Provider, TokenAnswer } from '../../src/ports/provider.ts'
import { Secret } from '../../src/ports/secret.ts'
import { StoreUnavailable } from '../../src/ports/store.ts'
import { createWorld } from '../support/broker.ts'
import { pending } from '../support/pending.ts'

const MINUTE_MS = 60_000
const LIFETIME_MS = 7_200_000
const refused404 = { kind: 'refused', upstream: { status: 404 } } as const
const rejected = { kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } } as const
const lost = {
  kind: 'unknown',
  upstream: { status: 500 },
  settled: true,
  unreadable: false,
  retryAfterSeconds: null,
} as const

interface Pair {
  readonly id: number
  readonly from: Pair | null
  readonly expiresAtMs: number
  isAlive: boolean
}

/** A provider that keeps account of each pair: which was refreshed from which, and which is alive. */
function setUp({ mode, hasResource = true }: { mode: 'instant' | 'on_use'; hasResource?: boolean }) {
  const world = createWorld()
  const { clock, provider } = world
  const pairs: Pair[] = []
  const asked: Record<string, number> = {}
  const options = { mode, hasResource }

  function issue(from: Pair | null, guid: string | null): { kind: 'ok'; value: TokenAnswer } {
    const pair = { id: pairs.length, from, expiresAtMs: clock.now() + LIFETIME_MS, isAlive: true }
    pairs.push(pair)
    const tokens = { accessToken: new Secret(`access-${pair.id}`), refreshToken: new Secret(`refresh-${pair.id}`) }
    const times = { expiresInSeconds: LIFETIME_MS / 1000, refreshTokenExpiresInSeconds: null }
    return { kind: 'ok', value: { pair: tokens, ...times, scope: 's', guid } }
  }

  function pairOf(token: Secret): Pair | undefined {
    return pairs[Number(token.reveal().split('-')[1])]
  }

  function count(operation: string): void {
    asked[operation] = (asked[operation] ?? 0) + 1
  }

  const kept: Partial<Provider> = {
    exchange: async () => issue(null, 'ada'),
    async refresh(token) {
      count('refresh')
      const pair = pairOf(token)
      if (pair?.isAlive !== true) return rejected
      if (options.mode === 'instant') pair.isAlive = false
      return issue(pair, null)
    },
    async revoke(token) {
      count('revoke')
      const pair = pairOf(token)
      // Before Doorkeeper 5.8.1: nothing happens once the access token has expired.
      if (pair !== undefined && pair.expiresAtMs > clock.now()) pair.isAlive = false
      return { kind: 'ok', value: null }
    },
    async present(token) {
      count('present')
      if (!options.hasResource) return refused404
      const pair = pairOf(token)
      if (pair?.isAlive === true && pair.from !== null) pair.from.isAlive = false
      return { kind: 'ok', value: pair?.isAlive === true && pair.expiresAtMs > clock.now() }
    },
  }
  Object.assign(provider, kept)
  const broker = world.replica()
  const signIn = (code = 'code') =>
    broker.exchanges.exchange({ code: new Secret(code), redirectUri: 'https://app.example/cb' })
  const refresh = async (version: number, from = broker) => {
    const reported = from.tokens.report('ada', version)
    await clock.advance(100)
    return await reported
  }
  let version = 1
  /** Refreshes so many times, ten seconds apart. */
  const rotate = async (times: number) => {
    for (let time = 0; time < times; time += 1) {
      await refresh(version)
      version += 1
      await clock.advance(10_000)
    }
  }
  const remove = async () => {
    const revoked = broker.revocations.revoke('ada')
    await clock.advance(20_000)
    return await revoked
  }
  const alive = () => pairs.filter(pair => pair.isAlive).map(pair => pair.id)
  const standing = async () => (await world.stores.grants.read('ada'))?.record
  return { ...world, alive, asked, broker, kept, options, refresh, remove, rotate, signIn, standing }
}

for (const hasResource of [true, false]) {
  const where = hasResource ? 'a resource is known' : 'no resource is known'

  t.test(`on_use: predecessors that no caller's use has ended are ended in the background (${where})`, async t => {
    const { alive, clock, refresh, signIn, standing } = setUp({ mode: 'on_use', hasResource })
    await signIn()
    for (const version of [1, 2, 3]) await refresh(version)
    t.ok(alive().length > 1, 'they live on at the provider')
    await clock.advance(MINUTE_MS)
    t.strictSame(alive(), [3], 'only the standing pair is alive')
    t.equal((await standing())?.leftovers, undefined)
  })

  t.test(`on_use: after DELETE no pair of the grant is alive, also of a chain (${where})`, async t => {
    const { alive, refresh, remove, signIn } = setUp({ mode: 'on_use', hasResource })
    await signIn()
    for (const version of [1, 2]) await refresh(version)
    t.strictSame(alive(), [0, 1, 2])
    t.equal(await remove(), null)
    t.strictSame(alive(), [])
  })
}

t.test('on_use: after DELETE no pair is alive where all access tokens have expired', async t => {
  const { alive, clock, refresh, remove, signIn, stores } = setUp({ mode: 'on_use' })
  await signIn()
  for (const version of [1, 2]) await refresh(version)
  clock.jump(LIFETIME_MS + MINUTE_MS)
  t.ok((await stores.grants.read('ada'))?.record.leftovers?.length === 2)
  t.equal(await remove(), null)
  t.strictSame(alive(), [])
})

t.test('a replica that dies before it has ended a predecessor loses none: the next refresh ends both', async t => {
  const { alive, clock, refresh, replica, signIn } = setUp({ mode: 'on_use' })
  await signIn()
  const dying = replica()
  await refresh(1, dying)
  await dying.stop()
  t.strictSame(alive(), [0, 1])
  await refresh(2)
  await clock.advance(MINUTE_MS)
  t.strictSame(alive(), [2])
})

t.test('a pair that a later authorization replaces is ended, also when the provider refuses that for long', async t => {
  const { alive, clock, kept, provider, refresh, signIn, standing } = setUp({ mode: 'instant' })
  await signIn()
  const { revoke } = kept
  Object.assign(provider, { revoke: async () => lost })
  await signIn('again')
  await clock.advance(10 * MINUTE_MS)
  t.strictSame(alive(), [0, 1])
  t.equal((await standing())?.leftovers?.length, 1, 'the record remembers it')
  Object.assign(provider, { revoke })
  await refresh(2)
  await clock.advance(MINUTE_MS)
  t.strictSame(alive(), [2])
  t.equal((await standing())?.leftovers, undefined)
})

t.test('DELETE is not confirmed before every pair is dead', async t => {
  const { alive, broker, clock, kept, provider, refresh, remove, signIn } = setUp({
    mode: 'on_use',
    hasResource: false,
  })
  await signIn()
  await refresh(1)
  const { revoke } = kept
  Object.assign(provider, { revoke: async () => lost })
  t.match(await remove(), { status: 'revoking' })
  t.strictSame(alive(), [0, 1])
  Object.assign(provider, { revoke })
  await broker.start()
  await clock.advance(MINUTE_MS)
  t.strictSame(alive(), [])
  await broker.stop()
})

t.test('instant: after a few refreshes the mode is known, and a refresh costs one request', async t => {
  const { alive, asked, rotate, signIn, standing } = setUp({ mode: 'instant' })
  await signIn()
  await rotate(12)
  const before = { ...asked }
  await rotate(100)
  const more = (operation: string) => (asked[operation] ?? 0) - (before[operation] ?? 0)
  t.equal(more('refresh'), 100)
  t.equal(more('revoke'), 0)
  t.ok(more('present') <= 4, `${more('present')} looks whether the mode has changed`)
  t.equal((await standing())?.leftovers, undefined)
  t.equal(alive().length, 1)
})

t.test('a provider that changes to on_use is noticed', async t => {
  const { alive, clock, options, rotate, signIn } = setUp({ mode: 'instant' })
  await signIn()
  await rotate(12)
  options.mode = 'on_use'
  await rotate(60)
  const before = new Set(alive())
  await rotate(5)
  await clock.advance(MINUTE_MS)
  const since = alive().filter(id => !before.has(id))
  t.equal(since.length, 1, 'from then on no predecessor is left alive')
})

t.test('a resource that refuses every token does not look like the instant mode', async t => {
  const { alive, clock, provider, refresh, signIn } = setUp({ mode: 'on_use' })
  Object.assign(provider, { present: async () => ({ kind: 'ok', value: false }) })
  await signIn()
  for (let version = 1; version <= 30; version += 1) {
    await refresh(version)
    await clock.advance(10_000)
  }
  await clock.advance(MINUTE_MS)
  t.equal(alive().length, 1, 'each predecessor is revoked')
})

t.test('a revocation that is refused for its pair ends by the refresh that follows, without an alarm', async t => {
  const { broker, events, provider, remove, signIn } = setUp({ mode: 'instant' })
  await signIn()
  const unauthorized = { kind: 'refused', upstream: { status: 403, error: 'unauthorized_client' } } as const
  Object.assign(provider, { revoke: async () => unauthorized, refresh: async () => rejected })
  t.equal(await remove(), null)
  t.equal(broker.trouble(), null)
  t.notOk(events.some(({ type }) => type === 'client.refused'))
})

t.test('a predecessor is not ended before its successor has stood for five seconds', async t => {
  const { alive, clock, refresh, signIn } = setUp({ mode: 'on_use' })
  await signIn()
  await refresh(1)
  await clock.advance(4_600)
  await refresh(2)
  await clock.advance(400)
  t.ok(alive().includes(1), 'a fail-over may still lose the pair that came last')
  await clock.advance(MINUTE_MS)
  t.strictSame(alive(), [2])
})

t.test('many refreshes in a moment leave nothing alive after DELETE', async t => {
  const { alive, refresh, remove, signIn } = setUp({ mode: 'on_use' })
  await signIn()
  for (let version = 1; version <= 20; version += 1) await refresh(version)
  t.equal(await remove(), null)
  t.strictSame(alive(), [])
})

t.test('a resource that accepts any token ends nothing: each predecessor is revoked', async t => {
  const { alive, clock, provider, refresh, remove, signIn, standing } = setUp({ mode: 'on_use' })
  Object.assign(provider, { present: async () => ({ kind: 'ok', value: true }) })
  await signIn()
  for (const version of [1, 2]) {
    await refresh(version)
    await clock.advance(10_000)
    t.strictSame(alive(), [version], 'only the pair that stands')
    t.equal((await standing())?.leftovers, undefined)
  }
  await refresh(3)
  t.equal(await remove(), null)
  t.strictSame(alive(), [])
})

t.test('a resource that accepts any token, and one that checks them, are told apart once an hour', async t => {
  const { asked, rotate, signIn } = setUp({ mode: 'on_use' })
  await signIn()
  await rotate(1)
  const before = { ...asked }
  await rotate(10)
  t.equal((asked.present ?? 0) - (before.present ?? 0), 10)
})

t.test(
  'DELETE of a person who signs in meanwhile: the pair that was to be revoked is dead before the answer',
  async t => {
    for (const isRefused of [true, false]) {
      const { alive, broker, clock, kept, provider, signIn, standing } = setUp({ mode: 'instant' })
      await signIn()
      const held = pending<void>()
      Object.assign(provider, {
        async revoke(token: Secret) {
          Object.assign(provider, { revoke: kept.revoke })
          await held.promise
          return isRefused
            ? { kind: 'unavailable', upstream: { status: 503 }, retryAfterSeconds: null }
            : kept.revoke?.(token)
        },
      })
      const deleted = broker.revocations.revoke('ada')
      await clock.advance(100)
      await signIn('again')
      held.resolve()
      await clock.advance(100)
      t.equal(await deleted, null)
      t.strictSame(alive(), [1], isRefused ? 'the first try was refused' : 'the first try was late')
      t.match(await standing(), { status: 'active' })
    }
  },
)

t.test('DELETE waits for a refresh that another replica is at', async t => {
  const { alive, clock, kept, provider, replica, remove, signIn, broker } = setUp({ mode: 'instant' })
  await signIn()
  const { refresh } = kept
  Object.assign(provider, {
    refresh: async (token: Secret) => {
      const answer = await refresh?.(token)
      await clock.sleep(3_000)
      return answer
    },
  })
  const reported = replica().tokens.report('ada', 1)
  reported.catch(() => {})
  await clock.advance(1)
  t.equal(await remove(), null)
  t.strictSame(alive(), [])
  await t.rejects(broker.tokens.read('ada', null), { code: 'grant_not_found' })
})

t.test('a resource that hangs delays one refresh a minute, and by half a second', async t => {
  const { clock, provider, refresh, signIn } = setUp({ mode: 'on_use' })
  let hanging = 0
  Object.assign(provider, {
    present: () => {
      hanging += 1
      return new Promise(() => {})
    },
  })
  await signIn()
  const first = refresh(1)
  await clock.advance(500)
  await first
  for (let version = 2; version <= 20; version += 1) await refresh(version)
  t.equal(hanging, 1)
  await clock.advance(MINUTE_MS)
})

t.test('a refresh that is rejected while its grant is deleted tells callers that the grant is gone', async t => {
  const { broker, clock, events, provider, refresh, signIn, stores } = setUp({ mode: 'on_use' })
  await signIn()
  await refresh(1)
  Object.assign(provider, {
    refresh: async () => {
      await clock.sleep(1_000)
      return rejected
    },
  })
  const told = t.rejects(broker.tokens.report('ada', 2), { code: 'grant_not_found' })
  await clock.advance(1)
  const revoked = broker.revocations.revoke('ada')
  await clock.advance(30_000)
  await told
  t.equal(await revoked, null)
  t.notOk(events.some(({ type }) => type === 'grant.ended'))
  t.equal(await stores.grants.read('ada'), null)
})

t.test('instant: a refresh that the store refuses does not keep a replica from learning the mode', async t => {
  const { asked, broker, rotate, signIn, stores } = setUp({ mode: 'instant' })
  await signIn()
  const { write } = stores.grants
  Object.assign(stores.grants, {
    write: async () => {
      Object.assign(stores.grants, { write })
      throw new StoreUnavailable('away')
    },
  })
  await t.rejects(broker.tokens.report('ada', 1), { name: 'StoreUnavailable' })
  await rotate(12)
  const before = { ...asked }
  await rotate(50)
  const requests = (asked.present ?? 0) - (before.present ?? 0) + (asked.revoke ?? 0) - (before.revoke ?? 0)
  t.ok(requests <= 2, `${requests} requests beside 50 refreshes`)
})

t.test('after the clock was set back an hour, leftovers are ended all the same', async t => {
  const { alive, clock, refresh, signIn } = setUp({ mode: 'on_use' })
  await signIn()
  await refresh(1)
  clock.setBack(3_600_000)
  await clock.advance(10_000)
  t.strictSame(alive(), [1])
})

t.test('a leftover that is given up because a grant has too many is reported', async t => {
  const { clock, events, provider, refresh, signIn, standing } = setUp({ mode: 'on_use' })
  const unavailable = async () => ({ kind: 'unavailable', upstream: { status: 503 }, retryAfterSeconds: null })
  Object.assign(provider, { present: unavailable, revoke: unavailable })
  await signIn()
  for (let version = 1; version <= 66; version += 1) await refresh(version)
  t.equal((await standing())?.leftovers?.length, 64)
  const reported = events.filter(event => event.type === 'pair.revoked' && !event.confirmed)
  t.equal(reported.length, 2)
  await clock.advance(MINUTE_MS)
})
