import t from 'tap'
import {
  type Authorized,
  attempted,
  authorized,
  ended,
  failed,
  hasGoneBack,
  isHeld,
  isOutranked,
  isReplacedBy,
  retryNotBeforeMs,
  revoking,
  rotated,
  rotationFrom,
} from '../../src/broker/grant.ts'
import { type RefreshPolicy, refreshDueAtMs } from '../../src/broker/policy.ts'
import type { TokenAnswer } from '../../src/ports/provider.ts'
import type { Grant } from '../../src/ports/records.ts'
import { Secret } from '../../src/ports/secret.ts'

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
const SENT = NOW - 800
const LEASE_MS = 15_000
const LATER = NOW + 60_000

function answerOf(name: string, more: Partial<TokenAnswer> = {}): TokenAnswer {
  const pair = { accessToken: new Secret(`access-${name}`), refreshToken: new Secret(`refresh-${name}`) }
  return { pair, expiresInSeconds: 7199, refreshTokenExpiresInSeconds: null, scope: null, guid: null, ...more }
}

function by(more: Partial<Authorized> = {}): Authorized {
  return {
    guid: 'ada',
    origin: 'authorization_code',
    answer: answerOf('1'),
    issuedAtMs: SENT,
    requestedScope: 'profile_read',
    username: null,
    password: null,
    ...more,
  }
}

/** What a transition changes: everything else has to be the very same, so that nothing is changed in passing. */
function changes(before: Grant, after: Grant): Record<string, unknown> {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])] as (keyof Grant)[]
  return Object.fromEntries(names.filter(name => before[name] !== after[name]).map(name => [name, after[name]]))
}

const fresh = authorized(policy, null, by(), NOW)
const begun = attempted(fresh, { owner: 'one', leaseMs: LEASE_MS }, NOW)
const lost = failed(begun, { code: 'outcome_unknown', retryAtMs: NOW + LEASE_MS, perhapsSpent: true }, NOW + 10)
const dead = ended(fresh, NOW)
const leaving = revoking(fresh, NOW)

t.test('authorized: a new grant', async t => {
  const due = refreshDueAtMs(policy, fresh)
  const { pair, ...rest } = fresh
  t.equal(pair.accessToken.reveal(), 'access-1')
  t.equal(pair.refreshToken.reveal(), 'refresh-1')
  t.strictSame(rest, {
    guid: 'ada',
    username: null,
    password: null,
    origin: 'authorization_code',
    scope: 'profile_read',
    status: 'active',
    version: 1,
    issuedAtMs: SENT,
    accessTokenExpiresAtMs: SENT + 7_199_000,
    refreshTokenExpiresAtMs: null,
    refreshDueAtMs: due,
    dueAtMs: due,
    attempt: null,
    doubtUntilMs: null,
    lastRefreshedAtMs: null,
    authorizedAtMs: SENT,
    authorizedFingerprint: begun.attempt?.refreshTokenFingerprint,
    lastReadAtMs: NOW,
    lastError: null,
    createdAtMs: NOW,
    updatedAtMs: NOW,
  })
})

t.test('authorized: what the answer says, and what is taken where it does not', async t => {
  const answer = answerOf('1', { expiresInSeconds: null, refreshTokenExpiresInSeconds: 60, scope: 'less' })
  const grant = authorized(policy, null, by({ answer }), NOW)
  t.equal(grant.accessTokenExpiresAtMs, SENT + 3_600_000, 'a configured lifetime')
  t.equal(grant.refreshTokenExpiresAtMs, SENT + 60_000)
  t.equal(grant.scope, 'less')
})

t.test('authorized: outranks everything that stands', async t => {
  const password = new Secret('pass')
  for (const [name, before] of Object.entries({ fresh, begun, lost, dead, leaving })) {
    const known = { ...before, version: 7, username: 'ada@example.com', password, lastRefreshedAtMs: 5, createdAtMs: 3 }
    const next = authorized(policy, known, by({ answer: answerOf('2'), origin: 'import' }), LATER)
    t.match(next, { status: 'active', version: 8, origin: 'import', createdAtMs: 3, updatedAtMs: LATER }, name)
    t.match(next, { attempt: null, doubtUntilMs: null, lastError: null, lastRefreshedAtMs: 5 }, name)
    t.equal(next.pair.refreshToken.reveal(), 'refresh-2')
    t.equal(next.dueAtMs, next.refreshDueAtMs)
    t.equal(next.username, 'ada@example.com', 'what is known of the person stays')
    t.equal(next.password, password)
    const other = new Secret('other')
    const renamed = authorized(policy, known, by({ username: 'bob', password: other }), LATER)
    t.strictSame([renamed.username, renamed.password], ['bob', other], 'unless it is said anew')
  }
})

t.test('attempted: the intent, and nothing else', async t => {
  const { attempt, ...rest } = changes(fresh, attempted(fresh, { owner: 'two', leaseMs: LEASE_MS }, LATER))
  t.strictSame(rest, { dueAtMs: LATER + LEASE_MS, updatedAtMs: LATER })
  t.match(attempt, { owner: 'two', startedAtMs: LATER, leaseUntilMs: LATER + LEASE_MS })
  const { refreshTokenFingerprint } = attempt as { refreshTokenFingerprint: string }
  t.match(refreshTokenFingerprint, /^[A-Za-z0-9_-]{22}$/)
  t.equal(refreshTokenFingerprint, begun.attempt?.refreshTokenFingerprint, 'the same for the same token')
  const other = attempted(authorized(policy, null, by({ answer: answerOf('2') }), NOW), { owner: 'x', leaseMs: 1 }, NOW)
  t.not(other.attempt?.refreshTokenFingerprint, refreshTokenFingerprint)
})

t.test('attempted: where somebody left an attempt open, it is in doubt', async t => {
  const next = attempted(begun, { owner: 'two', leaseMs: LEASE_MS }, LATER)
  t.match(next, { status: 'in_doubt', version: 1, doubtUntilMs: NOW + 2 * LEASE_MS, dueAtMs: LATER + LEASE_MS })
  t.equal(next.attempt?.owner, 'two')
  const again = attempted({ ...lost, doubtUntilMs: 77 }, { owner: 'two', leaseMs: LEASE_MS }, LATER)
  t.match(again, { status: 'in_doubt', doubtUntilMs: 77 }, 'an attempt that ended adds no doubt')
  for (const before of [dead, leaving]) {
    const open = { ...before, attempt: begun.attempt }
    t.equal(attempted(open, { owner: 'two', leaseMs: LEASE_MS }, LATER).status, before.status)
  }
})

t.test('attempted: doubt lasts for a lease at most, although the clock was set back', async t => {
  const by = { owner: 'two', leaseMs: LEASE_MS }
  const doubtful = attempted(begun, by, LATER)
  const backMs = LATER - 3_600_000
  const again = attempted({ ...doubtful, attempt: null }, by, backMs)
  t.equal(again.doubtUntilMs, backMs + LEASE_MS)
  const later = attempted({ ...again, attempt: null }, by, backMs + LEASE_MS)
  t.equal(later.doubtUntilMs, backMs + LEASE_MS, 'and is not made longer by the next attempt')
})

t.test('rotated: the next pair, however late, from every state', async t => {
  const rotation = rotationFrom(policy, begun, answerOf('2', { refreshTokenExpiresInSeconds: 90 }), LATER)
  t.match(rotation, { guid: 'ada', replacesVersion: 1, issuedAtMs: LATER, scope: null })
  t.equal(rotation.accessTokenExpiresAtMs, LATER + 7_199_000)
  t.equal(rotation.refreshTokenExpiresAtMs, LATER + 90_000)
  t.equal(rotation.spentFingerprint, begun.attempt?.refreshTokenFingerprint)
  for (const [name, before] of Object.entries({ fresh, begun, lost, dead, leaving })) {
    t.ok(isReplacedBy(before, rotation), `${name}: the version has not grown`)
    const next = rotated(policy, before, rotation, LATER + 5, false)
    t.equal(next.status, name === 'leaving' ? 'revoking' : 'active', name)
    t.match(next, { version: 2, attempt: null, doubtUntilMs: null, lastError: null, scope: 'profile_read' })
    t.match(next, { issuedAtMs: LATER, lastRefreshedAtMs: LATER + 5, updatedAtMs: LATER + 5, createdAtMs: NOW })
    t.equal(next.pair.refreshToken.reveal(), 'refresh-2')
    t.equal(next.accessTokenExpiresAtMs, LATER + 7_199_000)
    t.equal(next.refreshTokenExpiresAtMs, LATER + 90_000)
    t.equal(next.refreshDueAtMs, refreshDueAtMs(policy, next))
    t.equal(next.dueAtMs, name === 'leaving' ? leaving.dueAtMs : next.refreshDueAtMs)
    t.notOk(isReplacedBy(next, rotation), 'once')
  }
})

t.test('rotated: an answer may narrow the scope, and needs no lifetime', async t => {
  const narrow = rotationFrom(policy, fresh, answerOf('2', { scope: 'less', expiresInSeconds: null }), LATER)
  const next = rotated(policy, fresh, narrow, LATER, false)
  t.strictSame([next.scope, next.accessTokenExpiresAtMs], ['less', LATER + 3_600_000])
})

t.test('isReplacedBy: by the refresh token that was spent, and not by the version', async t => {
  const rotation = rotationFrom(policy, fresh, answerOf('2'), LATER)
  const madeAnew = authorized(policy, null, by({ answer: answerOf('3') }), LATER)
  t.equal(madeAnew.version, 1)
  t.notOk(isReplacedBy(madeAnew, rotation), 'deleted and made anew, it counts from 1 again')
  t.ok(isReplacedBy({ ...fresh, version: 2 }, rotation), 'a provider may hand the same pair out again')
})

t.test('isReplacedBy: a refresh token that the provider leaves as it is', async t => {
  const answer = answerOf('2')
  const pair = { ...answer.pair, refreshToken: fresh.pair.refreshToken }
  const rotation = rotationFrom(policy, fresh, { ...answer, pair }, LATER)
  t.ok(isReplacedBy(fresh, rotation))
  const next = rotated(policy, fresh, rotation, LATER, false)
  t.equal(next.version, 2)
  t.notOk(isReplacedBy(next, rotation), 'once, however often it is sent, and never in the place of a later one')
})

t.test('failed: with nothing spent it is retried later', async t => {
  const code = 'provider_unavailable'
  const failure = { code, retryAtMs: LATER, perhapsSpent: false } as const
  const { lastError, ...rest } = changes(begun, failed(begun, failure, NOW + 10))
  t.strictSame(rest, { attempt: null, dueAtMs: LATER, updatedAtMs: NOW + 10 })
  t.strictSame(lastError, { code, atMs: NOW + 10, attempts: 1 })
  const again = failed(failed(begun, failure, NOW), failure, NOW + 20)
  t.strictSame(again.lastError, { code, atMs: NOW + 20, attempts: 2 }, 'failures in a row are counted')
  t.equal(failed(lost, failure, LATER).status, 'in_doubt', 'a doubt is not taken back by it')
})

t.test('failed: what may be spent is in doubt', async t => {
  t.match(lost, { status: 'in_doubt', version: 1, attempt: null, dueAtMs: NOW + LEASE_MS })
  t.match(lost.lastError, { code: 'outcome_unknown', attempts: 1 })
  t.equal(lost.pair, begun.pair, 'the old pair is kept: it is tried again')
  for (const before of [dead, leaving]) {
    const next = failed(before, { code: 'outcome_unknown', retryAtMs: LATER, perhapsSpent: true }, NOW)
    t.equal(next.status, before.status)
  }
})

t.test('ended: by the provider; the version and the pair stay', async t => {
  for (const before of [begun, { ...lost, doubtUntilMs: 5 }]) {
    const next = ended(before, LATER)
    const code = 'reauthorization_required'
    t.match(next, { status: code, version: 1, attempt: null, doubtUntilMs: null, dueAtMs: null, updatedAtMs: LATER })
    t.strictSame(next.lastError, { code, atMs: LATER, attempts: (before.lastError?.attempts ?? 0) + 1 })
    t.equal(next.pair, before.pair)
    t.equal(next.createdAtMs, NOW)
  }
})

t.test('revoking: due at once, without the failures of before', async t => {
  for (const [name, before] of Object.entries({ fresh, begun, lost, dead })) {
    const next = revoking(before, LATER)
    t.match(next, { status: 'revoking', dueAtMs: LATER, lastError: null, updatedAtMs: LATER, version: 1 }, name)
    t.equal(next.attempt, before.attempt, 'a renewal under way goes on')
    t.equal(next.pair, before.pair)
  }
})

t.test('who holds it, and when it may be tried again', async t => {
  t.equal(isHeld(fresh, NOW), false)
  t.equal(isHeld(begun, NOW), true)
  t.equal(isHeld(begun, NOW + LEASE_MS - 1), true)
  t.equal(isHeld(begun, NOW + LEASE_MS), false, 'the lease is over at its very end')
  t.equal(retryNotBeforeMs(fresh, NOW), 0)
  t.equal(retryNotBeforeMs(lost, NOW), NOW + LEASE_MS)
  t.equal(retryNotBeforeMs({ ...lost, attempt: begun.attempt }, NOW), 0, 'an attempt has a lease instead')
  t.equal(retryNotBeforeMs(dead, NOW), 0)
  t.equal(retryNotBeforeMs(lost, NOW - 3_000), NOW + LEASE_MS, 'another replica may be some seconds ahead')
  t.equal(retryNotBeforeMs(lost, NOW - 10_000), 0, 'the clock was set back since')
})

t.test('what was authorized before the clock was set back does not outrank what is authorized now', async t => {
  t.equal(isOutranked(fresh, SENT - 1, NOW), true)
  t.equal(isOutranked(fresh, SENT, NOW), false, 'the same')
  t.equal(isOutranked(fresh, SENT - 5_000, SENT - 5_000), true, 'another replica may be some seconds ahead')
  t.equal(isOutranked(fresh, SENT - 5_001, SENT - 5_001), false)
  t.equal(isOutranked(fresh, SENT - 1, SENT - 3_600_000), true, 'both before that: the later one stands')
})

t.test('no transition changes the grant it is given', async t => {
  const frozen = Object.freeze({ ...begun })
  const rotation = Object.freeze(rotationFrom(policy, frozen, answerOf('2'), LATER))
  t.doesNotThrow(() => {
    attempted(frozen, { owner: 'x', leaseMs: 1 }, NOW)
    rotated(policy, frozen, rotation, NOW, false)
    failed(frozen, { code: 'outcome_unknown', retryAtMs: NOW, perhapsSpent: true }, NOW)
    ended(frozen, NOW)
    revoking(frozen, NOW)
    authorized(policy, frozen, by(), NOW)
  })
})

t.test('what a fail-over has lost is told from what came later, by clocks that differ', async t => {
  const renewed = (grant: Grant, name: string, issuedAtMs: number) =>
    rotated(policy, grant, rotationFrom(policy, grant, answerOf(name), issuedAtMs), issuedAtMs + 100, false)
  const nowMs = LATER + 120_000
  const second = renewed(fresh, '2', LATER)
  for (const aheadMs of [0, 250, -400]) {
    const third = renewed(second, '3', LATER - aheadMs)
    t.ok(hasGoneBack(second, third, nowMs), `who issued the older one was ${aheadMs} ms ahead`)
    t.notOk(hasGoneBack(third, second, nowMs), 'never the other way round')
  }
  const third = renewed(second, '3', LATER + 1_000)
  t.notOk(hasGoneBack(renewed(fresh, '2b', LATER + 60_000), third, nowMs), 'renewed since, long after')
  const anew = authorized(policy, fresh, by({ answer: answerOf('new'), issuedAtMs: LATER + 2_000 }), LATER + 2_100)
  t.notOk(hasGoneBack(anew, third, nowMs), 'authorized anew since')
  const backMs = nowMs - 3_600_000
  t.ok(hasGoneBack(second, renewed(second, '3', backMs), backMs), 'the clock was set back between the two')
  const again = authorized(policy, second, by({ answer: answerOf('new'), issuedAtMs: backMs }), backMs)
  t.ok(hasGoneBack(second, again, backMs), 'the same by a new authorization')
  const remade = authorized(policy, null, by({ issuedAtMs: LATER }), LATER + 100)
  t.notOk(hasGoneBack(remade, third, nowMs), 'deleted and made anew since')
})
