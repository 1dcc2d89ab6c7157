import { createHash } from 'node:crypto'
import t from 'tap'
import {
  dueSinceMs,
  lifeLeftMs,
  mustWait,
  neededTtlMs,
  type RefreshPolicy,
  refreshDueAtMs,
  retryAtMs,
  rotatesAtMs,
} from '../../src/broker/policy.ts'

const policy: RefreshPolicy = {
  marginMs: 600_000,
  marginRatio: 0.2,
  minTtlMs: 30_000,
  defaultLifetimeMs: 3_600_000,
  leaseMs: 15_000,
  sendWithinMs: 2_500,
  idleAfterMs: 0,
}
const NOW = 1_795_435_200_000
/** As the provider makes them: 32 hex digits. */
const GUIDS = Array.from({ length: 500 }, (_, index) => createHash('md5').update(String(index)).digest('hex'))

/** Of a pair that a refresh brought. */
function lifetime(lifetimeMs: number, guid = 'ada') {
  return {
    guid,
    issuedAtMs: NOW,
    accessTokenExpiresAtMs: NOW + lifetimeMs,
    refreshTokenExpiresAtMs: null,
    lastRefreshedAtMs: NOW + 100,
  }
}

t.test('renewal is due inside the margin: the configured one, or its part of a short life', async t => {
  for (const { lifetimeMs, marginMs } of [
    { lifetimeMs: 7_200_000, marginMs: 600_000 },
    { lifetimeMs: 3_000_000, marginMs: 600_000 },
    { lifetimeMs: 600_000, marginMs: 120_000 },
    { lifetimeMs: 10_000, marginMs: 2_000 },
  ]) {
    const margins = GUIDS.map(guid => NOW + lifetimeMs - refreshDueAtMs(policy, lifetime(lifetimeMs, guid)))
    t.ok(Math.max(...margins) <= marginMs, `${lifetimeMs}: not before the margin`)
    t.ok(Math.min(...margins) >= 0.75 * marginMs - 1, `${lifetimeMs}: not later than three quarters of it`)
  }
})

t.test('its place is fixed for each guid, and spread over the guids', async t => {
  const dues = GUIDS.map(guid => refreshDueAtMs(policy, lifetime(7_200_000, guid)))
  t.strictSame(
    GUIDS.map(guid => refreshDueAtMs(policy, lifetime(7_200_000, guid))),
    dues,
  )
  t.ok(new Set(dues).size > 450, 'few share a moment')
  const first = NOW + 7_200_000 - 600_000
  const quarters = [0, 1, 2, 3].map(quarter => {
    const fromMs = first + quarter * 37_500
    return dues.filter(due => due >= fromMs && due < fromMs + 37_500).length
  })
  t.ok(
    quarters.every(count => count > 75),
    `evenly: ${quarters}`,
  )
  t.ok(dues.every(Number.isInteger), 'whole milliseconds')
})

t.test('no margin means at expiry; a pair that comes expired is not renewed in a circle', async t => {
  t.equal(refreshDueAtMs({ ...policy, marginMs: 0 }, lifetime(7_200_000)), NOW + 7_200_000)
  for (const lifetimeMs of [-5_000, 0, 900]) t.equal(refreshDueAtMs(policy, lifetime(lifetimeMs)), NOW + 1_000)
})

t.test('a wish for life is met up to nine tenths of it; one that no token can meet asks for the margin', async t => {
  const two = lifetime(7_200_000)
  const marginMs = two.accessTokenExpiresAtMs - refreshDueAtMs(policy, two)
  const needed = (wishedMs: number | null) => neededTtlMs(policy, two, wishedMs)
  t.equal(needed(null), 30_000)
  t.equal(needed(0), 0)
  t.equal(needed(60_000), 60_000)
  t.equal(needed(6_480_000), 6_480_000)
  t.equal(needed(7_000_000), 6_480_000)
  t.equal(needed(7_199_999), 6_480_000)
  t.equal(needed(7_200_000), marginMs)
  t.equal(needed(99_999_999), marginMs)
  const short = lifetime(20_000)
  t.equal(
    neededTtlMs(policy, short, null),
    short.accessTokenExpiresAtMs - refreshDueAtMs(policy, short),
    'a least that is longer than the life would renew at every read',
  )
})

t.test('a pair that no refresh brought needs the wished life in full, however short its own life is', async t => {
  for (const lastRefreshedAtMs of [null, NOW - 1]) {
    const imported = { ...lifetime(40_000), lastRefreshedAtMs }
    t.equal(neededTtlMs(policy, imported, 60_000), 60_000)
    t.equal(neededTtlMs(policy, imported, null), 30_000)
    t.equal(neededTtlMs(policy, { ...lifetime(20_000), lastRefreshedAtMs }, null), 30_000)
  }
})

t.test('a clock that was set back never shows more life than a token was given', async t => {
  const token = lifetime(600_000)
  t.equal(lifeLeftMs(token, NOW + 100_000), 500_000)
  t.equal(lifeLeftMs(token, NOW + 700_000), -100_000)
  t.equal(lifeLeftMs(token, NOW - 4_999), 600_000, 'another replica may be some seconds ahead')
  t.equal(lifeLeftMs(token, NOW - 5_001), 0, 'nothing is known, so it counts as expired')
  t.equal(lifeLeftMs(token, NOW - 3_600_000), 0)
})

t.test('a token may be kept until it is due, or until readers would not be given it', async t => {
  const two = lifetime(7_200_000)
  t.equal(rotatesAtMs(policy, two), refreshDueAtMs(policy, two))
  t.equal(rotatesAtMs({ ...policy, minTtlMs: 1_200_000 }, two), NOW + 6_000_000)
  t.equal(rotatesAtMs({ ...policy, marginMs: 0 }, two), NOW + 7_170_000)
})

const failure = {
  nowMs: NOW,
  attempts: 1,
  retryAfterMs: 0,
  accessTokenExpiresAtMs: NOW + 7_200_000,
  fraction: 1,
}

function wait(more: Partial<Parameters<typeof retryAtMs>[0]>): number {
  return retryAtMs({ ...failure, ...more }) - NOW
}

t.test('waits double up to ten minutes, each between half and all of it', async t => {
  const waits = [1, 2, 3, 4, 5, 6, 7, 10, 40, 10_000].map(attempts => wait({ attempts }))
  t.strictSame(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 512_000, 600_000, 600_000])
  t.equal(wait({ fraction: 0 }), 500)
  t.equal(wait({ fraction: 0.5 }), 750)
  t.equal(wait({ attempts: 50, fraction: 0 }), 300_000)
})

t.test('the provider may ask for more patience, up to five minutes', async t => {
  t.equal(wait({ retryAfterMs: 7_000 }), 7_000)
  t.equal(wait({ retryAfterMs: 100 }), 1_000, 'not for less')
  t.equal(wait({ retryAfterMs: 300_000 }), 300_000)
  t.equal(wait({ retryAfterMs: 86_400_000 }), 300_000)
  t.equal(wait({ retryAfterMs: 60_000, accessTokenExpiresAtMs: NOW + 10_000 }), 60_000, 'also past the expiry')
})

t.test('a token that still lives has one more try before it lapses', async t => {
  t.equal(wait({ attempts: 9, accessTokenExpiresAtMs: NOW + 20_000 }), 18_000)
  t.equal(wait({ attempts: 9, accessTokenExpiresAtMs: NOW + 60_000 }), 58_000)
  t.equal(wait({ attempts: 5, accessTokenExpiresAtMs: NOW + 60_000 }), 16_000)
  t.equal(wait({ attempts: 9, accessTokenExpiresAtMs: NOW + 3_001 }), 1_001)
  t.equal(wait({ attempts: 9, accessTokenExpiresAtMs: NOW + 3_000 }), 1_000, 'and from then on every second')
  t.equal(wait({ attempts: 9, accessTokenExpiresAtMs: NOW + 500 }), 1_000)
  t.equal(wait({ attempts: 9, accessTokenExpiresAtMs: NOW - 1 }), 256_000, 'lapsed')
  t.ok(Number.isInteger(retryAtMs({ ...failure, fraction: 0.123456 })))
})

t.test('a wait that ends further ahead than it ever could is over: the clock was set back', async t => {
  t.equal(mustWait(NOW, 60_000, NOW), false)
  t.equal(mustWait(NOW + 1, 60_000, NOW), true)
  t.equal(mustWait(NOW + 60_000, 60_000, NOW), true)
  t.equal(mustWait(NOW + 65_000, 60_000, NOW), true, 'another replica may be some seconds ahead')
  t.equal(mustWait(NOW + 65_001, 60_000, NOW), false)
})

t.test('since when a renewal has been due', async t => {
  const grant = { ...lifetime(7_200_000), refreshDueAtMs: NOW + 6_600_000, createdAtMs: NOW }
  t.equal(dueSinceMs(policy, grant, NOW + 6_599_999), null, 'it is not')
  t.equal(dueSinceMs(policy, grant, NOW + 7_000_000), NOW + 6_600_000)
  const idle = { ...policy, idleAfterMs: 3_600_000 }
  const lately = { ...grant, lastReadAtMs: NOW + 6_500_000 }
  t.equal(dueSinceMs(idle, lately, NOW + 7_000_000), NOW + 6_600_000)
  t.equal(dueSinceMs(idle, grant, NOW + 7_000_000), null, 'at rest')
  t.equal(
    dueSinceMs(idle, { ...grant, lastReadAtMs: NOW + 6_900_000 }, NOW + 7_000_000),
    null,
    'perhaps at rest until then',
  )
  const dying = { ...grant, refreshTokenExpiresAtMs: NOW + 7_100_000 }
  const sinceMs = dueSinceMs(idle, dying, NOW + 7_000_000) ?? 0
  t.ok(sinceMs > NOW && sinceMs < NOW + 6_600_000, 'at rest, and its refresh token would expire')
})
