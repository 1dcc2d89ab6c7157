import t from 'tap'
import { createBreaker } from '../../src/broker/breaker.ts'
import type { BrokerEvent } from '../../src/ports/events.ts'
import type { Outcome } from '../../src/ports/provider.ts'
import { Secret } from '../../src/ports/secret.ts'
import { PROVIDER } from '../../src/ports/store.ts'
import { createMemoryStores } from '../../src/store/memory.ts'
import { ManualClock } from '../support/clock.ts'
import { ScriptedProvider } from '../support/provider.ts'

const TOKEN = new Secret('refresh')
const CONCURRENCY = 8
const lost = {
  kind: 'unknown',
  upstream: { status: 500 },
  settled: true,
  unreadable: false,
  retryAfterSeconds: null,
} as const
const hung = { ...lost, upstream: {}, settled: false } as const
const html = { kind: 'refused', upstream: { status: 404 } } as const
const refusedClient = { kind: 'client_refused', upstream: { status: 401, error: 'invalid_client' } } as const
const rejected = { kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } } as const
const busy = { kind: 'unavailable', upstream: { status: 429 }, retryAfterSeconds: 60 } as const

function setUp() {
  const clock = new ManualClock()
  const provider = new ScriptedProvider()
  const stores = createMemoryStores(clock)
  const events: BrokerEvent[] = []
  const random = { token: () => 'token', fraction: () => 0.5 }
  const replica = () => {
    return createBreaker(
      { clock, random, stores, provider, events: { emit: event => events.push(event) } },
      CONCURRENCY,
    )
  }
  const breaker = replica()
  let grants = 0
  /** Each time of another grant, unless it is said of which. */
  const refresh = async (answer: Outcome<never>, times = 1, token?: Secret) => {
    for (let time = 0; time < times; time += 1) {
      provider.next('refresh', () => answer)
      grants += 1
      await breaker.provider.refresh(token ?? new Secret(`refresh ${grants}`))
    }
  }
  return { clock, provider, stores, breaker, replica, refresh, events, types: () => events.map(event => event.type) }
}

t.test('five failures in a row open it, one alarm; nobody is asked but by probes, until one succeeds', async t => {
  const { breaker, clock, provider, refresh, types } = setUp()
  await refresh(lost, 4)
  await refresh(rejected)
  await refresh(lost, 4)
  t.equal(breaker.trouble(), null, 'an answer in between counts from the beginning')
  await refresh(html)
  t.equal(breaker.trouble(), 'outage')
  t.strictSame(types(), ['provider.unavailable'])
  t.equal(await breaker.tend(), 0)
  t.equal(provider.times('probe'), 0, 'not at once')
  t.equal((await breaker.whyNot('background'))?.code, 'provider_unavailable')

  for (let probe = 0; probe < 40; probe += 1) provider.next('probe', () => lost)
  for (let second = 0; second < 60; second += 1) {
    await clock.advance(1_000)
    t.equal(await breaker.tend(), 0)
  }
  const probes = provider.times('probe')
  t.ok(probes >= 12 && probes <= 25, `${probes} probes in a minute`)
  t.equal(provider.times('refresh'), 10, 'and no refresh token was risked')

  while (provider.times('probe') < 40) {
    await clock.advance(5_000)
    await breaker.tend()
  }
  await clock.advance(5_000)
  t.equal(await breaker.tend(), 1, 'open again, slowly')
  t.equal(await breaker.whyNot('background'), null)
  t.strictSame(types(), ['provider.unavailable'], 'on trial')
  await breaker.provider.refresh(TOKEN)
  t.strictSame(types(), ['provider.unavailable', 'provider.available'])
})

t.test('the alarm says why the provider does not work', async t => {
  const noConnection = { kind: 'unavailable', upstream: {}, retryAfterSeconds: null } as const
  const failures: [Outcome<never>, string | null][] = [
    [{ ...noConnection, reason: 'connect ECONNREFUSED' }, 'connect ECONNREFUSED'],
    [{ ...lost, reason: 'timeout' }, 'timeout'],
    [html, 'answered 404'],
    [noConnection, null],
  ]
  for (const [failure, reason] of failures) {
    const { events, refresh } = setUp()
    await refresh(lost, 4)
    await refresh(failure)
    t.strictSame(events, [{ type: 'provider.unavailable', reason }])
  }
})

t.test('after an outage the number of renewals at once grows with each that succeeds', async t => {
  const { breaker, clock, refresh } = setUp()
  await refresh(lost, 5)
  await clock.advance(5_000)
  t.equal(await breaker.tend(), 1)
  for (const allowed of [1, 2, 3, 4, 5, 6, 7, 8]) {
    t.equal(await breaker.tend(), allowed)
    for (let success = 0; success < allowed; success += 1) await breaker.provider.refresh(TOKEN)
  }
  t.equal(await breaker.tend(), CONCURRENCY, 'and no further')
})

t.test('where probes succeed and renewals fail: one renewal is risked at a time, and ever more seldom', async t => {
  const { breaker, clock, provider, refresh, types } = setUp()
  await refresh(lost, 5)
  let renewals = 0
  for (let tick = 0; tick < 600; tick += 1) {
    await clock.advance(100)
    await breaker.tend()
    const lane = tick % 2 === 0 ? 'reader' : 'background'
    if ((await breaker.whyNot(lane)) !== null) continue
    renewals += 1
    await refresh(lost)
    t.equal(breaker.trouble(), 'outage', 'one failure is enough')
  }
  t.ok(renewals >= 4 && renewals <= 10, `${renewals} renewals in a minute`)
  t.equal(provider.times('probe'), renewals)
  t.strictSame(types(), ['provider.unavailable'], 'one alarm')

  await clock.advance(15_000)
  await breaker.tend()
  t.equal(breaker.trouble(), 'outage', 'readiness does not flap either')
  await breaker.provider.refresh(TOKEN)
  await refresh(lost, 4)
  t.equal(breaker.trouble(), null, 'one that succeeds, and all is as before')
})

t.test('refused credentials: one alarm however many are refused, and it ends when they are taken again', async t => {
  const { breaker, clock, provider, refresh, types } = setUp()
  await refresh(refusedClient, 20)
  for (let probe = 0; probe < 10; probe += 1) provider.next('probe', () => refusedClient)
  t.equal((await breaker.whyNot('reader'))?.code, 'client_misconfigured')
  t.equal(breaker.trouble(), 'client_refused')
  while (provider.times('probe') < 10) {
    await clock.advance(5_000)
    t.equal(await breaker.tend(), 0)
  }
  t.strictSame(types(), ['client.refused'])
  await clock.advance(5_000)
  t.equal(await breaker.tend(), 1)
  t.equal(breaker.trouble(), null)
  await clock.advance(30_000)
  await breaker.tend()
  t.strictSame(types(), ['client.refused', 'client.accepted'], 'with nothing to renew, after a while without a failure')
})

t.test('a 5xx that asks for patience pauses, and is a failure all the same', async t => {
  const { breaker, clock, provider, refresh, types } = setUp()
  for (let failure = 0; failure < 5; failure += 1) {
    await refresh({ ...lost, retryAfterSeconds: 1 })
    await clock.advance(1_000)
  }
  t.equal(breaker.trouble(), 'outage')
  t.equal(types().filter(type => type === 'provider.unavailable').length, 1)
  await refresh({ ...busy, retryAfterSeconds: 0 })
  t.equal(types().filter(type => type === 'provider.paused').length, 5, 'no patience at all is no pause')
  t.equal(provider.times('refresh'), 6)
})

t.test('credentials that are good for codes and not for refreshes: one alarm', async t => {
  const { breaker, clock, refresh, types } = setUp()
  for (let second = 0; second < 300; second += 1) {
    await clock.advance(1_000)
    await breaker.tend()
    if ((await breaker.whyNot('reader')) === null)
      await refresh({ ...refusedClient, upstream: { error: 'unauthorized_client' } })
  }
  t.strictSame(types(), ['client.refused'])
  t.equal(breaker.trouble(), 'client_refused')
})

t.test('credentials are only taken when somebody has looked at them', async t => {
  const { breaker, provider, refresh } = setUp()
  await refresh(refusedClient)
  await refresh(rejected)
  t.equal(breaker.trouble(), 'client_refused', 'a refresh token is refused before the credentials are looked at')
  await breaker.provider.revoke(TOKEN)
  t.equal(breaker.trouble(), 'client_refused', 'a revocation is answered 200 whatever was sent')
  provider.next('exchange', () => rejected)
  await breaker.provider.exchange({ code: TOKEN, redirectUri: 'r', codeVerifier: null })
  t.equal(breaker.trouble(), null, 'a code that is refused was looked at after them')
})

t.test('an answer to what was asked before it opened does not close it', async t => {
  const { breaker, provider, refresh, types } = setUp()
  let answer: (outcome: unknown) => void = () => {}
  const held = new Promise(resolve => {
    answer = resolve
  })
  provider.next('refresh', () => held)
  const early = breaker.provider.refresh(TOKEN)
  await refresh(refusedClient)
  answer(provider.answer())
  await early
  t.equal(breaker.trouble(), 'client_refused')
  t.strictSame(types(), ['client.refused'])
})

t.test('a reader is a reason to probe early, but not a storm of probes', async t => {
  const { breaker, clock, provider, refresh } = setUp()
  await refresh(lost, 5)
  provider.next('probe', () => lost)
  const all = await Promise.all(Array.from({ length: 100 }, () => breaker.whyNot('reader')))
  t.strictSame([...new Set(all.map(problem => problem?.code))], ['provider_unavailable'])
  t.equal(provider.times('probe'), 1)
  t.equal((await breaker.whyNot('reader'))?.code, 'provider_unavailable')
  t.equal(provider.times('probe'), 1)
  await clock.advance(300)
  t.equal(await breaker.whyNot('reader'), null, 'the next probe finds it well')
})

t.test('a reader does not wait for a probe that hangs', async t => {
  const { breaker, clock, provider, refresh } = setUp()
  await refresh(lost, 5)
  provider.next('probe', () => new Promise(() => {}))
  const reading = breaker.whyNot('reader')
  await clock.advance(2_000)
  t.equal((await reading)?.code, 'provider_unavailable')
})

t.test('Retry-After pauses all replicas, renewals and revocations, for as long as it says', async t => {
  const { breaker, clock, provider, refresh, replica, types } = setUp()
  const other = replica()
  await refresh(busy)
  const answer = await breaker.provider.refresh(TOKEN)
  t.match(answer, { kind: 'unavailable', retryAfterSeconds: 60 })
  t.equal(provider.times('refresh'), 1)
  t.equal(breaker.trouble(), 'paused')

  const problem = await other.whyNot('reader')
  t.match(problem, { code: 'provider_unavailable', retryAfterSeconds: 60 })
  t.equal(await other.tend(), 0)
  t.equal(other.trouble(), 'paused')
  await other.provider.revoke(TOKEN)
  t.equal(provider.times('revoke'), 0)
  await other.provider.exchange({ code: new Secret('code'), redirectUri: 'https://a', codeVerifier: null })
  t.equal(provider.times('exchange'), 1, 'a person who waits is let through')

  await clock.advance(60_000)
  t.equal(await breaker.tend(), 1)
  t.equal(await other.whyNot('reader'), null)
  t.strictSame(types(), ['provider.paused'])

  await refresh({ ...lost, upstream: { status: 503 }, retryAfterSeconds: 30 })
  t.equal((await other.whyNot('reader'))?.retryAfterSeconds, 30, 'also where it may have done what was asked')
})

t.test('a pause is never longer than five minutes, and a shorter one does not cut a longer one', async t => {
  const { breaker, clock, refresh, stores } = setUp()
  const start = clock.now()
  await refresh({ ...busy, retryAfterSeconds: 86_400 })
  await clock.advance(1)
  await breaker.provider.exchange({ code: new Secret('code'), redirectUri: 'https://a', codeVerifier: null })
  t.equal((await stores.pauses.read(PROVIDER))?.record.untilMs, start + 300_000)
})

t.test('what the identity URL or provisioning say about credentials is not said about the token endpoint', async t => {
  const { breaker, provider } = setUp()
  provider.next('createUser', () => refusedClient)
  provider.next('identify', () => refusedClient)
  await breaker.provider.createUser({ username: 'ada', password: new Secret('password'), attributes: {} })
  await breaker.provider.identify(TOKEN)
  t.equal(breaker.trouble(), null)
})

t.test('other endpoints fail alone: nobody is kept from renewals by users or revocations that are refused', async t => {
  const { breaker, provider } = setUp()
  const user = { username: 'ada', password: new Secret('password'), attributes: {} }
  for (const outcome of [html, lost, { kind: 'unavailable', upstream: {}, retryAfterSeconds: null }]) {
    for (let time = 0; time < 6; time += 1) {
      provider.next('createUser', () => outcome)
      provider.next('revoke', () => outcome)
      await breaker.provider.createUser(user)
      await breaker.provider.revoke(TOKEN)
    }
  }
  t.equal(breaker.trouble(), null)
})

t.test('after trouble readers take turns as well, and are not kept waiting for ever', async t => {
  const { breaker, clock, refresh } = setUp()
  const ends: (() => void)[] = []
  const renewal = () => new Promise<string>(resolve => ends.push(() => resolve('renewed')))
  await refresh(lost, 5)
  await clock.advance(5_000)
  await breaker.tend()
  const readers = Array.from({ length: 3 }, () => breaker.inTurn('reader', renewal))
  await clock.advance(1_000)
  t.equal(ends.length, 1, 'one refresh token is risked')
  const background = breaker.inTurn('background', renewal)
  await clock.advance(1)
  t.equal(ends.length, 2, 'how much runs in the background is for tend to say')
  ends[1]?.()
  await background
  await refresh(lost)
  t.equal(breaker.trouble(), 'outage')
  await clock.advance(0)
  t.equal(ends.length, 4, 'whoever waits is not kept when it opens: they are told why')
  for (const end of ends) end()
  t.strictSame(await Promise.all(readers), ['renewed', 'renewed', 'renewed'])
})

t.test('a turn that does not come', async t => {
  const { breaker, clock, refresh } = setUp()
  await refresh(lost, 5)
  await clock.advance(5_000)
  await breaker.tend()
  void breaker.inTurn('reader', () => new Promise(() => {}))
  const waiting = breaker.inTurn('reader', async () => 'renewed')
  await clock.advance(2_001)
  t.equal(await waiting, null)
})

t.test('what fails with one grant alone stops no other: a probe decides', async t => {
  for (const answer of [lost, html, hung]) {
    const { breaker, clock, provider, refresh, types } = setUp()
    await refresh(answer, 50, TOKEN)
    await clock.advance(0)
    t.equal(provider.times('probe'), 1, 'one suspicion, one probe')
    t.equal(breaker.trouble(), null)
    t.equal(await breaker.whyNot('background'), null)
    t.equal(await breaker.tend(), CONCURRENCY, 'as many at once as before')
    await refresh(answer, 4)
    t.equal(breaker.trouble(), null, 'it does not count for the others')
    await refresh(answer)
    t.equal(breaker.trouble(), 'outage', 'five of the others open it')
    t.strictSame(types(), ['provider.unavailable'])
  }
})

t.test('where a probe fails as well, one grant is enough', async t => {
  const { breaker, clock, provider, refresh } = setUp()
  provider.next('probe', () => lost)
  await refresh(lost, 5, TOKEN)
  await clock.advance(0)
  t.equal(breaker.trouble(), 'outage')
})

t.test('requests that could not be sent open it, whatever they are about', async t => {
  const { breaker, provider, refresh } = setUp()
  await refresh({ kind: 'unavailable', upstream: {}, retryAfterSeconds: null }, 5, TOKEN)
  t.equal(breaker.trouble(), 'outage')
  t.equal(provider.times('probe'), 0)
})

t.test('one grant that always fails ends one trial after an outage, and not the next', async t => {
  const { breaker, clock, provider, refresh, types } = setUp()
  await refresh(lost, 5)
  const probeUntilClosed = async () => {
    while (breaker.trouble() !== null && (await breaker.tend()) === 0) await clock.advance(1_000)
  }
  await probeUntilClosed()
  await refresh(lost, 1, TOKEN)
  t.equal(breaker.trouble(), 'outage', 'it might be an outage of refreshes alone')
  await probeUntilClosed()
  await refresh(lost, 3, TOKEN)
  t.equal(await breaker.tend(), 1, 'still on trial, and open to the others')
  await refresh((await provider.answer()) as never)
  t.strictSame(types(), ['provider.unavailable', 'provider.available'])
})

t.test('a grant that works again counts again', async t => {
  const { breaker, clock, provider, refresh } = setUp()
  await refresh(lost, 5, TOKEN)
  await clock.advance(0)
  await breaker.provider.refresh(TOKEN)
  await refresh(lost, 2, TOKEN)
  await refresh(lost, 3)
  t.equal(breaker.trouble(), 'outage')
  t.equal(provider.times('probe'), 1)
})

const closeAgain = async ({ breaker, clock }: ReturnType<typeof setUp>) => {
  for (let second = 0; second < 60 && (await breaker.tend()) === 0; second += 1) await clock.advance(1_000)
}

t.test('credentials that are refused for one grant alone stop no other', async t => {
  const world = setUp()
  const { breaker, clock, provider, refresh, types } = world
  await refresh(refusedClient, 1, TOKEN)
  t.equal(breaker.trouble(), 'client_refused', 'they may be refused for all')
  await closeAgain(world)
  for (let time = 0; time < 20; time += 1) {
    provider.next('refresh', () => refusedClient)
    t.strictSame(
      await breaker.provider.refresh(TOKEN),
      { kind: 'refused', upstream: refusedClient.upstream },
      'a no to this grant',
    )
    t.equal(breaker.trouble(), null)
  }
  await refresh(provider.answer() as never)
  t.strictSame(types(), ['client.refused', 'client.accepted'])
  t.equal(provider.times('probe'), 1)
  await clock.advance(600_000)
  await refresh(refusedClient, 1, TOKEN)
  t.equal(breaker.trouble(), null, 'for as long as it does not succeed')

  await refresh(refusedClient)
  t.equal(breaker.trouble(), 'client_refused', 'another shows that they are refused for all')
  await closeAgain(world)
  await breaker.provider.refresh(TOKEN)
  await refresh(refusedClient, 1, TOKEN)
  t.equal(breaker.trouble(), 'client_refused', 'one that has succeeded counts again')
})

t.test('a probe that refuses us shows that it is not about one grant', async t => {
  const { breaker, clock, provider, refresh, types } = setUp()
  await refresh(refusedClient, 1, TOKEN)
  for (let probe = 0; probe < 5; probe += 1) provider.next('probe', () => refusedClient)
  while (provider.times('probe') < 5) {
    await clock.advance(5_000)
    t.equal(await breaker.tend(), 0)
  }
  t.strictSame(types(), ['client.refused'])
})

t.test('a probe that is accepted does not clear three grants that are refused; another that succeeds does', async t => {
  const world = setUp()
  const { breaker, provider, refresh, types } = world
  const tokens = ['one', 'two', 'three'].map(name => new Secret(name))
  for (let round = 0; round < 2; round += 1) {
    for (const token of tokens) {
      await refresh(refusedClient, 1, token)
      t.equal(breaker.trouble(), 'client_refused')
      await closeAgain(world)
    }
    if (round === 0) t.strictSame(types(), ['client.refused'], 'refreshes may be refused where codes are not')
  }
  await refresh(provider.answer() as never)
  for (const token of tokens) await refresh(refusedClient, 5, token)
  t.equal(breaker.trouble(), null)
  t.strictSame(types(), ['client.refused', 'client.accepted'])
})

t.test('a code for which credentials are refused again stops no other, and its caller is told so', async t => {
  const world = setUp()
  const { breaker, provider } = world
  const exchange = () => {
    provider.next('exchange', () => refusedClient)
    return breaker.provider.exchange({ code: new Secret('code'), redirectUri: 'https://a.example', codeVerifier: null })
  }
  t.match(await exchange(), { kind: 'client_refused' })
  t.equal(breaker.trouble(), 'client_refused')
  await closeAgain(world)
  t.match(await exchange(), { kind: 'client_refused' })
  t.equal(breaker.trouble(), null)
})

t.test('what was asked before a grant was told to wait does not show that it waits alone', async t => {
  const { breaker, clock, provider, refresh } = setUp()
  let answer: (outcome: unknown) => void = () => {}
  const held = new Promise(resolve => {
    answer = resolve
  })
  provider.next('refresh', () => held)
  const early = breaker.provider.refresh(new Secret('early'))
  await refresh(busy, 1, TOKEN)
  answer(provider.answer())
  await early
  await clock.advance(60_000)
  provider.next('probe', () => busy)
  await refresh(busy, 1, TOKEN)
  await clock.advance(0)
  t.equal(breaker.trouble(), 'paused')
})

t.test('one grant that is told to wait again and again, while others succeed, waits alone', async t => {
  const { breaker, clock, provider, refresh, replica, types } = setUp()
  const other = replica()
  await refresh(busy, 1, TOKEN)
  t.equal(breaker.trouble(), 'paused', 'it may be meant for all')
  await clock.advance(60_000)
  await refresh(provider.answer() as never)
  for (let time = 0; time < 5; time += 1) {
    provider.next('refresh', () => busy)
    t.match(
      await breaker.provider.refresh(TOKEN),
      { kind: 'unavailable', retryAfterSeconds: 60 },
      'it is told so itself',
    )
    t.equal(breaker.trouble(), null)
    t.equal(await other.whyNot('reader'), null)
    const times = provider.times('refresh')
    await clock.advance(59_000)
    t.match(await breaker.provider.refresh(TOKEN), { kind: 'unavailable', retryAfterSeconds: 1 })
    t.equal(provider.times('refresh'), times, 'it is not asked about before that')
    await clock.advance(1_000)
  }
  t.strictSame(types(), ['provider.paused'])
  t.equal(provider.times('probe'), 0)

  await refresh(busy)
  t.equal(breaker.trouble(), 'paused', 'what is said to another counts')
  await clock.advance(60_000)
  await breaker.provider.refresh(TOKEN)
  await refresh(busy, 1, TOKEN)
  t.equal(breaker.trouble(), 'paused', 'one that has succeeded counts again')
})

t.test('one grant that is told to wait again, with no other asked meanwhile: a probe decides', async t => {
  for (const [answer, trouble] of [
    [{ kind: 'ok', value: null }, null],
    [busy, 'paused'],
  ] as const) {
    const { breaker, clock, provider, refresh } = setUp()
    await refresh(busy, 1, TOKEN)
    await clock.advance(60_000)
    provider.next('probe', () => answer)
    await refresh(busy, 1, TOKEN)
    await clock.advance(0)
    t.equal(provider.times('probe'), 1)
    t.equal(breaker.trouble(), trouble)
  }
})

t.test('an outage during which the clock is set back an hour ends as soon as ever', async t => {
  for (const lane of ['reader', 'background'] as const) {
    const { breaker, clock, provider, refresh } = setUp()
    await refresh(lost, 5)
    provider.next('probe', () => lost)
    t.equal((await breaker.whyNot('reader'))?.code, 'provider_unavailable')
    clock.setBack(3_600_000)
    if (lane === 'reader') t.equal(await breaker.whyNot('reader'), null)
    else t.equal(await breaker.tend(), 1)
    t.equal(provider.times('probe'), 2, lane)
  }
})

t.test('a pause during which the clock is set back an hour is over, for all replicas', async t => {
  const { breaker, clock, events, refresh, replica, stores } = setUp()
  await refresh(busy)
  const told = replica()
  t.equal(await told.tend(), 0)
  clock.setBack(3_600_000)
  for (const each of [breaker, told, replica()]) {
    t.equal(await each.whyNot('reader'), null)
    t.equal(each.trouble(), null)
  }
  await refresh({ ...busy, retryAfterSeconds: 30 })
  t.equal((await breaker.whyNot('reader'))?.retryAfterSeconds, 30, 'and another pause is one')
  t.match(await told.whyNot('reader'), { retryAfterSeconds: 30 })
  t.equal((await stores.pauses.read(PROVIDER))?.record.untilMs, clock.now() + 30_000)
  t.equal(events.length, 2)
  await clock.advance(3_590_000)
  t.equal(breaker.trouble(), null, 'the first does not begin again when the clock comes there')
})
