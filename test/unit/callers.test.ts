/** Who is taken for whom: API keys in time, JWTs of issuers, certificates; and how far a narrowed caller reaches. */
import { createHmac, createPublicKey, X509Certificate } from 'node:crypto'
import t, { type Test } from 'tap'
import { hashApiKey } from '../../src/callers/api-keys.ts'
import { type Caller, may } from '../../src/callers/caller.ts'
import { type Callers, createCallers } from '../../src/callers/callers.ts'
import type { CallerEntry, Issuer } from '../../src/callers/entries.ts'
import { IssuerUnavailable } from '../../src/callers/key-sets.ts'
import { checkPerson, checkScope, reaches } from '../../src/callers/reach.ts'
import { selfSigned, signedBy } from '../support/certificates.ts'
import { ManualClock } from '../support/clock.ts'
import { startHostile, wire } from '../support/hostile.ts'
import { AUDIENCE, ISSUER, startIssuer, unsigned } from '../support/issuer.ts'
import { startStranger } from '../support/stranger.ts'

const clock = new ManualClock()
const now = clock.now()

function callersOf(callers: readonly CallerEntry[], jwtIssuers: readonly Issuer[] = []): Callers {
  return createCallers({ callers, jwtIssuers }, clock)
}

async function nameOf(callers: Callers, token: string): Promise<string | null> {
  return (await callers.bearer(token))?.name ?? null
}

t.test('a caller has as many keys as it takes to change them, each in its time', async t => {
  const clock = new ManualClock()
  const keys = [
    { sha256: hashApiKey('old'), not_after: new Date(now + 60_000).toISOString() },
    { sha256: hashApiKey('new').toUpperCase() },
  ]
  const entry: CallerEntry = { name: 'scheduler', permissions: ['token:read'], key_sha256: hashApiKey('first'), keys }
  const callers = createCallers({ callers: [entry], jwtIssuers: [] }, clock)
  for (const key of ['first', 'old', 'new']) t.equal(await nameOf(callers, key), 'scheduler')
  for (const key of ['', 'First', 'old ', hashApiKey('old')]) t.equal(await nameOf(callers, key), null)
  await clock.advance(60_000)
  t.strictSame([await nameOf(callers, 'old'), await nameOf(callers, 'new')], [null, 'scheduler'])
  callers.use({ callers: [{ ...entry, keys: [] }], jwtIssuers: [] })
  t.strictSame([await nameOf(callers, 'new'), await nameOf(callers, 'first')], [null, 'scheduler'])
})

const SCHEDULER: CallerEntry = {
  name: 'scheduler',
  permissions: ['token:read'],
  jwt: { issuer: ISSUER, subject: 'scheduler' },
}

t.test('a token is taken for whose it is, and nothing that is wrong with it is overlooked', async t => {
  const issuer = await startIssuer(t, now)
  const other = await startIssuer(t, now)
  const seconds = now / 1000
  const callers = callersOf([SCHEDULER], [{ issuer: ISSUER, audience: AUDIENCE, jwks_url: issuer.jwksUrl }])
  t.match(await callers.bearer(await issuer.token()), { name: 'scheduler', subject: null, permissions: ['token:read'] })
  t.equal(await nameOf(callers, await issuer.token({ aud: ['somebody', AUDIENCE] })), 'scheduler')
  t.equal(await nameOf(callers, await issuer.token({ exp: seconds - 29 })), 'scheduler', 'clocks may differ a little')

  const claims = { iss: ISSUER, aud: AUDIENCE, sub: 'scheduler', exp: seconds + 60 }
  const good = await issuer.token()
  const [head = '', body = '', signature = ''] = good.split('.')
  const publicKey = createPublicKey({ key: issuer.jwks.keys[0] as never, format: 'jwk' }).export({
    type: 'spki',
    format: 'pem',
  })
  const hs256 = Buffer.from('{"alg":"HS256","kid":"key-1"}').toString('base64url')
  const wrong: Record<string, string> = {
    'another audience': await issuer.token({ aud: 'somebody' }),
    'no audience': await issuer.token({ aud: undefined }),
    'another issuer': await issuer.token({ iss: 'https://evil.example' }),
    'no issuer': await issuer.token({ iss: undefined }),
    'another subject': await issuer.token({ sub: 'somebody' }),
    'no subject': await issuer.token({ sub: undefined }),
    expired: await issuer.token({ exp: seconds - 31 }),
    'no expiry': await issuer.token({ exp: undefined }),
    'not yet valid': await issuer.token({ nbf: seconds + 31 }),
    "another issuer's key": await other.token(),
    'a key that is not there': await issuer.token({}, { kid: 'key-9' }),
    'alg none': unsigned(claims, 'none'),
    'alg NONE': unsigned(claims, 'NONE'),
    'the signature cut off': `${head}.${body}.`,
    'the signature changed': `${head}.${body}.${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`,
    'the claims changed': `${head}.${Buffer.from(JSON.stringify({ ...claims, sub: 'scheduler', admin: true })).toString('base64url')}.${signature}`,
    'signed with the public key': `${hs256}.${body}.${createHmac('sha256', publicKey).update(`${hs256}.${body}`).digest('base64url')}`,
    'too many parts': `${good}.${signature}`,
    nonsense: 'a.b.c',
    'claims that are no object': `${head}.${Buffer.from('7').toString('base64url')}.${signature}`,
  }
  for (const [name, token] of Object.entries(wrong)) t.equal(await nameOf(callers, token), null, name)
})

t.test('an algorithm that the issuer does not use is refused, good as the signature may be', async t => {
  const issuer = await startIssuer(t, now)
  const callers = callersOf(
    [SCHEDULER],
    [{ issuer: ISSUER, audience: AUDIENCE, jwks: issuer.jwks as Issuer['jwks'], algorithms: ['RS256'] } as Issuer],
  )
  t.equal(await nameOf(callers, await issuer.token()), null)
  for (const algorithm of ['RS256', 'PS256', 'EdDSA']) {
    const usual = await startIssuer(t, now, algorithm)
    const taken = callersOf([SCHEDULER], [{ issuer: ISSUER, audience: AUDIENCE, jwks_url: usual.jwksUrl }])
    t.equal(await nameOf(taken, await usual.token()), 'scheduler', algorithm)
  }
})

t.test('an entry without a subject is for all of them, and their scope says what each may do', async t => {
  const issuer = await startIssuer(t, now)
  const anybody: CallerEntry = { name: 'workloads', permissions: ['token:read', 'grant:read'], jwt: { issuer: ISSUER } }
  const callers = callersOf([anybody, SCHEDULER], [{ issuer: ISSUER, audience: AUDIENCE, jwks_url: issuer.jwksUrl }])
  const ask = async (claims: Record<string, unknown>) => callers.bearer(await issuer.token({ sub: 'web', ...claims }))
  const scope = 'openid token:read grant:write'
  t.match(await ask({ scope }), { name: 'workloads', subject: 'web', permissions: ['token:read'] })
  t.strictSame((await ask({}))?.permissions, [])
  t.strictSame((await ask({ scope: ['token:read'] }))?.permissions, [], 'a scope is a text')
  t.match(
    await ask({ sub: 'scheduler', scope }),
    { name: 'scheduler', permissions: ['token:read'] },
    'who is named is named',
  )
  const all = callersOf(
    [{ ...anybody, permissions: ['*'] }],
    [{ issuer: ISSUER, audience: AUDIENCE, jwks_url: issuer.jwksUrl }],
  )
  const named = (await all.bearer(await issuer.token({ scope: '* token:read' }))) as Caller
  t.strictSame([may(named, 'token:read'), may(named, 'grant:write')], [true, false])
})

t.test('an issuer that is away is believed by the keys it had; one that never answered by nothing', async t => {
  const issuer = await startIssuer(t, now)
  const settings = [{ issuer: ISSUER, audience: AUDIENCE, jwks_url: issuer.jwksUrl }]
  const known = callersOf([SCHEDULER], settings)
  t.equal(await nameOf(known, await issuer.token()), 'scheduler')
  for (let times = 0; times < 5; times += 1) await nameOf(known, await issuer.token())
  t.equal(issuer.fetches(), 1, 'keys are fetched once')
  issuer.answerWith(500)
  t.equal(await nameOf(known, await issuer.token()), 'scheduler')
  await t.rejects(async () => callersOf([SCHEDULER], settings).bearer(await issuer.token()), IssuerUnavailable)
  issuer.answerWith(200)
  await issuer.rotate()
  t.equal(await nameOf(callersOf([SCHEDULER], settings), await issuer.token()), 'scheduler')
})

t.test('settings that are read again do not cost an issuer its keys, and have them fetched anew', async t => {
  const issuer = await startIssuer(t, now)
  const jwtIssuers = [{ issuer: ISSUER, audience: AUDIENCE, jwks_url: issuer.jwksUrl }]
  const callers = callersOf([SCHEDULER], jwtIssuers)
  const first = await issuer.token()
  t.equal(await nameOf(callers, first), 'scheduler')
  issuer.answerWith(500)
  callers.use({ callers: [{ ...SCHEDULER, name: 'renamed' }], jwtIssuers })
  t.equal(await nameOf(callers, first), 'renamed', 'it is away, and believed by the keys it had')
  t.equal(issuer.fetches(), 2, 'it was asked')
  issuer.answerWith(200)
  await issuer.rotate()
  callers.use({ callers: [SCHEDULER], jwtIssuers })
  t.equal(await nameOf(callers, first), null, 'a key that it has taken away is not believed any more')
  t.equal(await nameOf(callers, await issuer.token()), 'scheduler')
  t.equal(issuer.fetches(), 3)
  issuer.answerWith(500)
  const elsewhere = jwtIssuers.map(entry => ({ ...entry, jwks_url: `${issuer.jwksUrl}/elsewhere` }))
  callers.use({ callers: [SCHEDULER], jwtIssuers: elsewhere })
  await t.rejects(async () => callers.bearer(await issuer.token()), IssuerUnavailable, 'keys are those of an address')
})

t.test('an issuer is asked for its keys now and then, however many tokens come and whatever it answers', async t => {
  const clock = new ManualClock(now)
  const issuer = await startIssuer(t, now)
  const other = await startIssuer(t, now)
  const jwtIssuers = [{ issuer: ISSUER, audience: AUDIENCE, jwks_url: issuer.jwksUrl }]
  const callers = createCallers({ callers: [SCHEDULER], jwtIssuers }, clock)
  const long = { exp: now / 1000 + 3_600 }
  const good = await issuer.token(long)
  const forged = await other.token(long, { kid: 'made-up' })
  /** What fifty of them get, most of them at once. */
  async function fifty(token: string) {
    const names = [await nameOf(callers, token).catch(error => error.name)]
    const ask = () => nameOf(callers, token).catch(error => error.name)
    return [...new Set([...names, ...(await Promise.all(Array.from({ length: 49 }, ask)))])]
  }
  issuer.answerWith(503)
  t.strictSame([await fifty(forged), issuer.fetches()], [['IssuerUnavailable'], 1])
  await clock.advance(4_999)
  t.strictSame([await fifty(good), issuer.fetches()], [['IssuerUnavailable'], 1])
  issuer.answerWith(200)
  await clock.advance(1)
  t.strictSame([await fifty(good), issuer.fetches()], [['scheduler'], 2])
  t.strictSame([await fifty(forged), issuer.fetches()], [[null], 2])
  await clock.advance(30_000)
  t.strictSame([await fifty(forged), issuer.fetches()], [[null], 3])
  issuer.answerWith(503)
  await clock.advance(600_000)
  t.strictSame([await fifty(good), issuer.fetches()], [['scheduler'], 4], 'ten minutes later, and it is away')
  t.strictSame([await fifty(forged), issuer.fetches()], [[null], 4])
  issuer.answerWith(200)
  await issuer.rotate()
  t.strictSame([await fifty(await issuer.token(long)), issuer.fetches()], [[null], 4])
  await clock.advance(30_000)
  t.strictSame([await fifty(good), issuer.fetches()], [[null], 5], 'it is back, with other keys')
  t.strictSame(await fifty(await issuer.token(long)), ['scheduler'])
})

t.test('keys are taken from where they are said to be, and from nobody else', async t => {
  const issuer = await startIssuer(t, now)
  const token = await issuer.token()
  const redirecting = await startHostile(t)
  const stranger = await startStranger(t, issuer.jwks)
  const through = (url: string) => callersOf([SCHEDULER], [{ issuer: ISSUER, audience: AUDIENCE, jwks_url: url }])
  for (const status of [301, 302, 303, 307, 308]) {
    redirecting.answer(wire(status, JSON.stringify(issuer.jwks), [`location: ${issuer.jwksUrl}`]))
    await t.rejects(async () => through(redirecting.url).bearer(token), IssuerUnavailable, `${status} is not followed`)
  }
  t.equal(issuer.fetches(), 0)
  await t.rejects(async () => through(stranger.url).bearer(token), IssuerUnavailable, 'a certificate nobody knows')
  t.strictSame(stranger.counts(), { requests: 0, connections: 1 })
  redirecting.answer(wire(200, JSON.stringify(issuer.jwks)))
  t.equal(await nameOf(through(redirecting.url), token), 'scheduler', 'the keys would have been good')
})

t.test('tokens that come together wait for the same keys', async t => {
  const issuer = await startIssuer(t, now)
  const callers = callersOf([SCHEDULER], [{ issuer: ISSUER, audience: AUDIENCE, jwks_url: issuer.jwksUrl }])
  const token = await issuer.token()
  const names = await Promise.all(Array.from({ length: 20 }, () => nameOf(callers, token)))
  t.strictSame([[...new Set(names)], issuer.fetches()], [['scheduler'], 1])
})

t.test('certificates: by the whole subject or one whole name', async t => {
  const ca = await selfSigned(t, 'ca')
  const certificate = async (subject: string, san?: string) => {
    const { cert } = await signedBy(t, ca, 'client', { subject, ...(san === undefined ? {} : { san }) })
    return new X509Certificate(cert)
  }
  const entry = (name: string, by: NonNullable<CallerEntry['certificate']>): CallerEntry => ({
    name,
    permissions: ['*'],
    certificate: by,
  })
  const callers = callersOf([
    entry('by subject', { subject: 'O=Example,CN=scheduler' }),
    entry('by uri', { san: 'URI:spiffe://example/web' }),
    entry('by dns', { san: 'DNS:web.internal' }),
  ])
  const known: [string, string | undefined, string | null][] = [
    ['/O=Example/CN=scheduler', undefined, 'by subject'],
    ['/CN=scheduler/O=Example', undefined, null],
    ['/CN=scheduler', undefined, null],
    ['/O=Example/CN=scheduler/OU=x', undefined, null],
    ['/CN=Example,CN=scheduler', undefined, null],
    ['/O=Example,CN=scheduler', undefined, null],
    ['/CN=a', 'URI:spiffe://example/web', 'by uri'],
    ['/CN=a', 'DNS:other.internal,DNS:web.internal', 'by dns'],
    ['/CN=a', 'URI:spiffe://example/web2', null],
    ['/CN=a', 'DNS:spiffe', null],
  ]
  for (const [subject, san, name] of known) {
    t.equal(callers.certificate(await certificate(subject, san))?.name ?? null, name, `${subject} ${san}`)
  }
})

function narrowed(t: Test, more: Partial<CallerEntry>): Caller {
  const caller = callersOf([{ name: 'narrow', permissions: ['*'], key_sha256: hashApiKey('key'), ...more }]).bearer(
    'key',
  )
  if (caller === null || caller instanceof Promise) throw new Error('an API key is known at once')
  t.equal(caller.name, 'narrow')
  return caller
}

t.test('how far a narrowed caller reaches', async t => {
  const forbidden = { code: 'forbidden', status: 403 }
  const people = narrowed(t, { guids: ['ada'] })
  checkPerson(people, 'ada')
  for (const guid of ['bob', undefined]) t.throws(() => checkPerson(people, guid), forbidden)
  const scopes = narrowed(t, { scopes: ['read', 'pay'] })
  for (const scope of ['read', 'pay read']) checkScope(scopes, scope)
  t.throws(() => checkScope(scopes, 'read write'), { ...forbidden, message: /write/ })
  t.strictSame(
    [people, scopes].map(caller => [
      reaches(caller, { guid: 'ada', scope: 'read write' }),
      reaches(caller, { guid: 'bob', scope: 'read' }),
    ]),
    [
      [true, false],
      [false, true],
    ],
  )
  const free = narrowed(t, {})
  for (const caller of [free, null]) {
    checkPerson(caller, undefined)
    checkScope(caller, 'anything')
    t.ok(reaches(caller, { guid: 'x', scope: 'y' }))
  }
})
