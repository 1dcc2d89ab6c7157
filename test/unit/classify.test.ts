import t from 'tap'
import type { Outcome, TokenAnswer } from '../../src/ports/provider.ts'
import { Secret } from '../../src/ports/secret.ts'
import {
  type Answer,
  classifyIdentity,
  classifyRevocation,
  classifyTokenAnswer,
  type Operation,
} from '../../src/provider/classify.ts'

const ACCESS = 'a1'.repeat(32)
const REFRESH = 'b2'.repeat(32)
const GUID = 'c3'.repeat(16)
/** The sample of the provider's own page. */
const DOCUMENTED = {
  access_token: ACCESS,
  token_type: 'bearer',
  expires_in: 7199,
  refresh_token: REFRESH,
  scope: 'member_public',
  created_at: 1478054227,
  guid: GUID,
}
const HTML = '<!DOCTYPE html>\n<html><head><title>We are sorry, but something went wrong (500)</title></head></html>'
const OPERATIONS: readonly Operation[] = ['exchange', 'refresh', 'users', 'revoke', 'identity']

function answer(status: number, body: unknown, retryAfter: string | null = null, date: string | null = null): Answer {
  return { status, body: typeof body === 'string' ? body : JSON.stringify(body), retryAfter, date }
}

function classify(operation: Operation, given: Answer): Outcome<unknown> {
  if (operation === 'revoke') return classifyRevocation(given)
  if (operation === 'identity') return classifyIdentity(given, '/guid')
  return classifyTokenAnswer(operation, given)
}

function tokenOf(body: unknown): TokenAnswer | null {
  const outcome = classifyTokenAnswer('refresh', answer(200, body))
  return outcome.kind === 'ok' ? outcome.value : null
}

t.test('the documented answer', async t => {
  const token = tokenOf(DOCUMENTED)
  const { pair, ...rest } = token ?? {}
  t.equal(pair?.accessToken.reveal(), ACCESS)
  t.equal(pair?.refreshToken.reveal(), REFRESH)
  t.strictSame(rest, { expiresInSeconds: 7199, refreshTokenExpiresInSeconds: null, scope: 'member_public', guid: GUID })
  for (const status of [200, 201, 202, 203, 206, 299]) {
    t.equal(classifyTokenAnswer('users', answer(status, DOCUMENTED)).kind, 'ok', `${status}`)
  }
})

/** RFC 6749, section 5.2: the body's error decides, whatever the status and whatever was asked. */
const OAUTH_ERRORS = {
  invalid_grant: 'rejected',
  invalid_client: 'client_refused',
  unauthorized_client: 'client_refused',
  invalid_request: 'refused',
  invalid_scope: 'refused',
  unsupported_grant_type: 'refused',
  access_denied: 'refused',
  temporarily_unavailable: 'unavailable',
}

t.test('an OAuth error decides, not the status', async t => {
  for (const [error, kind] of Object.entries(OAUTH_ERRORS)) {
    for (const status of [400, 401, 403, 500, 503]) {
      for (const operation of OPERATIONS) {
        const outcome = classify(
          operation,
          answer(status, { error, error_description: 'The provided grant is wrong.' }),
        )
        if (operation === 'revoke' && error === 'unauthorized_client') continue
        t.match(outcome, { kind, upstream: { status, error, error_description: 'The provided grant is wrong.' } })
      }
    }
  }
  t.equal(classify('refresh', answer(200, { error: 'invalid_grant' })).kind, 'rejected', 'not even by 200')
})

t.test(
  'unauthorized_client is about the token at revocation, and about the grant type at the password grant',
  async t => {
    for (const status of [400, 401, 403]) {
      const given = answer(status, { error: 'unauthorized_client' })
      const refused = { kind: 'refused', upstream: { status, error: 'unauthorized_client' } }
      t.strictSame(classifyRevocation(given), refused)
      t.strictSame(classifyTokenAnswer('password', given), refused)
      t.equal(classifyTokenAnswer('refresh', given).kind, 'client_refused')
      t.equal(classifyRevocation(answer(status, { error: 'invalid_client' })).kind, 'client_refused')
    }
  },
)

const DATE = 'Wed, 21 Oct 2026 07:28:00 GMT'
const SOON = 'Wed, 21 Oct 2026 07:29:30 GMT'
const RFC_850 = 'Wednesday, 21-Oct-26 07:29:30 GMT'
const ASCTIME = 'Wed Oct 21 07:29:30 2026'
const settled = { kind: 'unknown', settled: true, unreadable: false }
const unreadable = { kind: 'unknown', settled: true, unreadable: true }
const unavailable = { kind: 'unavailable', retryAfterSeconds: null }

t.test('answers without an OAuth error', async t => {
  const shapes: { name: string; given: Answer; is: Record<string, unknown> }[] = [
    { name: 'a failure page', given: answer(500, HTML), is: settled },
    { name: 'its JSON form', given: answer(500, { status: 500, error: 'Internal Server Error' }), is: settled },
    { name: 'a gateway in between', given: answer(502, '<html>Bad Gateway</html>'), is: settled },
    { name: 'maintenance', given: answer(503, '', '120'), is: { ...settled, retryAfterSeconds: 120 } },
    { name: 'a deadline in between', given: answer(504, ''), is: settled },
    { name: 'malformed JSON, it says', given: answer(400, ''), is: { kind: 'refused' } },
    { name: 'wrong path or method', given: answer(404, ''), is: { kind: 'refused' } },
    { name: 'its JSON form', given: answer(404, { status: 404, error: 'Not Found' }), is: { kind: 'refused' } },
    { name: 'a redirect', given: answer(302, '<html>'), is: { kind: 'refused' } },
    { name: 'too many', given: answer(429, ''), is: unavailable },
    { name: 'too many, with a time', given: answer(429, '', '7'), is: { ...unavailable, retryAfterSeconds: 7 } },
    { name: 'at once again', given: answer(429, HTML, '0'), is: { ...unavailable, retryAfterSeconds: 0 } },
    { name: 'until a date', given: answer(429, '', SOON, DATE), is: { ...unavailable, retryAfterSeconds: 90 } },
    { name: 'until one gone by', given: answer(429, '', DATE, SOON), is: { ...unavailable, retryAfterSeconds: 0 } },
    { name: 'until a date, by no clock', given: answer(429, '', SOON), is: unavailable },
    { name: 'until no date', given: answer(429, '', 'Wed, 99 Oct 2026 07:28:00 GMT', DATE), is: unavailable },
    { name: 'until a date in words', given: answer(429, '', 'tomorrow', DATE), is: unavailable },
    { name: 'with nonsense', given: answer(429, '', '-1'), is: unavailable },
    { name: 'a fraction', given: answer(429, '', '2.997'), is: { ...unavailable, retryAfterSeconds: 3 } },
    { name: 'a whole fraction', given: answer(429, '', '3.0'), is: { ...unavailable, retryAfterSeconds: 3 } },
    { name: 'hardly any', given: answer(503, '', '0.001'), is: { ...settled, retryAfterSeconds: 1 } },
    { name: 'a negative fraction', given: answer(429, '', '-0.5'), is: unavailable },
    { name: 'a power', given: answer(429, '', '1e3'), is: unavailable },
    { name: 'a point in time', given: answer(429, '', '1795593600'), is: unavailable },
    { name: 'without end', given: answer(429, '', '9'.repeat(400)), is: unavailable },
    { name: 'RFC 850', given: answer(429, '', RFC_850, DATE), is: { ...unavailable, retryAfterSeconds: 90 } },
    { name: 'asctime', given: answer(429, '', ASCTIME, DATE), is: { ...unavailable, retryAfterSeconds: 90 } },
    {
      name: 'by RFC 850',
      given: answer(429, '', 'Wed, 21 Oct 2026 07:31:00 GMT', RFC_850),
      is: { retryAfterSeconds: 90 },
    },
    {
      name: 'by asctime',
      given: answer(429, '', 'Wed, 21 Oct 2026 07:31:00 GMT', ASCTIME),
      is: { retryAfterSeconds: 90 },
    },
    {
      name: 'an age',
      given: answer(429, '', 'Fri, 31 Dec 9999 23:59:59 GMT', DATE),
      is: { retryAfterSeconds: 999_999 },
    },
    { name: 'in JSON', given: answer(429, { error: 'Rate limit', guid: 1 }, '3'), is: { retryAfterSeconds: 3 } },
  ]
  for (const { name, given, is } of shapes) {
    for (const operation of OPERATIONS) {
      const outcome = classify(operation, given)
      t.match(outcome, is, `${operation}: ${given.status}, ${name}`)
      t.strictSame(
        (outcome as { upstream: unknown }).upstream,
        { status: given.status },
        'nothing but the status goes on',
      )
    }
  }
  const slowDown = classify('refresh', answer(503, { error: 'temporarily_unavailable' }, '30'))
  t.match(slowDown, { kind: 'unavailable', retryAfterSeconds: 30 })
})

t.test('401 without an error is about credentials at provisioning alone', async t => {
  for (const body of ['', HTML, { error: 'HTTP Basic: Access denied.' }]) {
    t.equal(classify('users', answer(401, body)).kind, 'client_refused')
    t.equal(classify('refresh', answer(401, body)).kind, 'refused', 'a token endpoint says more: no grant ends by it')
    t.equal(classify('exchange', answer(401, body)).kind, 'refused')
  }
})

t.test('a success that cannot be used', async t => {
  const { access_token: _, ...withoutAccess } = DOCUMENTED
  const bodies = [
    '',
    HTML,
    'null',
    '[]',
    '"text"',
    '{"access_token":"abc"',
    {},
    [DOCUMENTED],
    withoutAccess,
    { ...DOCUMENTED, access_token: null },
    { ...DOCUMENTED, access_token: ' ' },
    { ...DOCUMENTED, access_token: 'line\r\nbreak' },
    { ...DOCUMENTED, access_token: 'x'.repeat(16_385) },
  ]
  for (const body of bodies) {
    for (const operation of ['exchange', 'refresh', 'users'] as const) {
      for (const sent of [null, new Secret('sent')]) {
        const outcome = classifyTokenAnswer(operation, answer(200, body), sent)
        t.match(outcome, unreadable, `${operation}: ${JSON.stringify(body).slice(0, 60)}`)
        t.notMatch(JSON.stringify(outcome), REFRESH)
      }
    }
  }
  t.match(classify('refresh', answer(204, '')), unreadable, 'no content is no token')
})

t.test('a refresh that brings no usable refresh token leaves the one that was sent in force', async t => {
  const { refresh_token: _, ...without } = DOCUMENTED
  const bad = [null, '', ' ', 7, {}, [REFRESH], 'line\nbreak', 'tökén', 'x'.repeat(16_385)]
  const bodies = [without, ...bad.map(token => ({ ...DOCUMENTED, refresh_token: token }))]
  for (const body of bodies as { refresh_token?: unknown }[]) {
    const name = JSON.stringify(body.refresh_token)?.slice(0, 20)
    const outcome = classifyTokenAnswer('refresh', answer(200, body), new Secret('sent'))
    t.match(outcome, { kind: 'ok', value: { expiresInSeconds: 7199 } }, name)
    if (outcome.kind !== 'ok') continue
    t.equal(outcome.value.pair.accessToken.reveal(), ACCESS)
    t.equal(outcome.value.pair.refreshToken.reveal(), 'sent')
    t.match(classifyTokenAnswer('exchange', answer(200, body)), unreadable, 'nothing was there before')
  }
  const whole = classifyTokenAnswer('refresh', answer(200, DOCUMENTED), new Secret('sent'))
  t.equal(whole.kind === 'ok' && whole.value.pair.refreshToken.reveal(), REFRESH)
  const beside = answer(200, { ...without, error: 'invalid_grant' })
  t.equal(
    classifyTokenAnswer('refresh', beside, new Secret('sent')).kind,
    'rejected',
    'an error beside half a pair decides',
  )
})

t.test('a pair is kept in whichever form it comes', async t => {
  const text = JSON.stringify(DOCUMENTED)
  const forms: Record<string, unknown> = {
    'after a byte order mark': `\ufeff${text}`,
    'in white space': `\r\n\t ${text}\n\n`,
    'of no type': { ...DOCUMENTED, token_type: undefined },
    'of a type that is not known': { ...DOCUMENTED, token_type: 'mac' },
    'of a type in capitals': { ...DOCUMENTED, token_type: 'BEARER' },
    'of an empty type': { ...DOCUMENTED, token_type: '' },
    'of the type null': { ...DOCUMENTED, token_type: null },
    'of several types': { ...DOCUMENTED, token_type: ['bearer'] },
    'with an error that is not listed': { ...DOCUMENTED, error: 'none' },
    'with a line feed at the end of its tokens': {
      ...DOCUMENTED,
      access_token: `${ACCESS}\n`,
      refresh_token: `${REFRESH}\r\n`,
    },
    'with lifetimes that are none': { ...DOCUMENTED, expires_in: 'never', refresh_token_expires_in: [] },
  }
  for (const [name, body] of Object.entries(forms)) {
    const pair = tokenOf(body)?.pair
    t.equal(pair?.accessToken.reveal(), ACCESS, name)
    t.equal(pair?.refreshToken.reveal(), REFRESH, name)
  }
  for (const token of ['two words', 'x'.repeat(16_384), '"\\~!']) {
    const pair = tokenOf({ ...DOCUMENTED, access_token: token, refresh_token: token })?.pair
    t.equal(pair?.accessToken.reveal(), token, 'RFC 6749, appendix A: visible characters and spaces')
    t.equal(pair?.refreshToken.reveal(), token)
  }
})

t.test('the reason says what came, and nothing of a body', async t => {
  const reasonOf = (given: Answer) => (classify('refresh', given) as { reason?: string }).reason
  t.equal(reasonOf(answer(503, HTML)), 'answered 503')
  t.equal(reasonOf(answer(429, { error: REFRESH })), 'answered 429')
  t.equal(reasonOf(answer(400, { error: 'temporarily_unavailable' })), 'answered 400 temporarily_unavailable')
  t.equal(reasonOf(answer(200, HTML)), 'answered 200, unreadable')
})

t.test('lifetimes', async t => {
  const forms: [unknown, number | null][] = [
    [7200, 7200],
    [7199, 7199],
    ['7200', 7200],
    ['7200.0', 7200],
    ['7199.9', 7199],
    [' 7200 ', 7200],
    [7199.9, 7199],
    [0, 0],
    [1e12, 315_360_000],
    ['9999999999', 315_360_000],
    [-1, null],
    ['-1', null],
    ['soon', null],
    ['', null],
    ['7e3', null],
    [null, null],
    [undefined, null],
    [true, null],
    [[7200], null],
    [{}, null],
  ]
  for (const [given, seconds] of forms) {
    t.equal(tokenOf({ ...DOCUMENTED, expires_in: given })?.expiresInSeconds, seconds, `expires_in ${given}`)
    for (const field of ['refresh_token_expires_in', 'refresh_expires_in']) {
      const token = tokenOf({ ...DOCUMENTED, [field]: given })
      t.equal(token?.refreshTokenExpiresInSeconds, seconds === 0 ? null : seconds, `${field} ${given}`)
    }
  }
  const both = tokenOf({ ...DOCUMENTED, refresh_token_expires_in: 5, refresh_expires_in: 9 })
  t.equal(both?.refreshTokenExpiresInSeconds, 5)
})

t.test('whose token it is, and what it may do', async t => {
  const forms: [unknown, string | null][] = [
    [GUID, GUID],
    ['user-7.a_b~c', 'user-7.a_b~c'],
    [42, '42'],
    ['x'.repeat(128), 'x'.repeat(128)],
    ['x'.repeat(129), null],
    ['', null],
    ['a/b', null],
    ['a b', null],
    ['a\n', null],
    ['ü', null],
    ['{s001}', null],
    [-1.5e300, null],
    [null, null],
    [undefined, null],
    [{ id: GUID }, null],
    [[GUID], null],
  ]
  for (const [given, guid] of forms) {
    t.equal(tokenOf({ ...DOCUMENTED, guid: given })?.guid, guid, `guid ${JSON.stringify(given)}`)
  }
  t.equal(tokenOf({ ...DOCUMENTED, scope: '' })?.scope, '')
  for (const scope of [undefined, null, 7, ['a'], 'x'.repeat(2001)]) {
    t.equal(tokenOf({ ...DOCUMENTED, scope })?.scope, null)
  }
})

t.test('taken usernames', async t => {
  const taken = [
    answer(409, ''),
    answer(409, HTML),
    answer(409, { error: 'Conflict' }),
    answer(422, { errors: { username: ['has already been taken'] } }),
    answer(422, { message: 'Username Already Exists' }),
    answer(400, { error: 'username is TAKEN' }),
  ]
  for (const given of taken) {
    t.strictSame(classify('users', given), { kind: 'conflict', upstream: { status: given.status } }, given.body)
    t.equal(classify('refresh', given).kind, 'refused', 'only where there is a username')
  }
  for (const given of [
    answer(422, { errors: { password: ['is too short'] } }),
    answer(422, ''),
    answer(404, 'taken'),
  ]) {
    t.equal(classify('users', given).kind, 'refused', given.body)
  }
})

t.test('what a provider says goes on only if it is plain, short and no secret', async t => {
  const upstreamOf = (body: unknown) => (classify('refresh', answer(400, body)) as { upstream: unknown }).upstream
  const error = 'invalid_grant'
  t.strictSame(upstreamOf({ error, error_description: `The token ${REFRESH} is used.` }), {
    status: 400,
    error,
    error_description: 'The token … is used.',
  })
  for (const description of [7, null, '', 'x\ny', 'ü', 'a b '.repeat(100), { a: 1 }]) {
    t.strictSame(upstreamOf({ error, error_description: description }), { status: 400, error })
  }
  for (const body of [{ error: REFRESH }, { error: { code: error } }, { error: 'INVALID_GRANT' }, { error: null }]) {
    t.strictSame(upstreamOf(body), { status: 400 }, 'an error that is not listed')
  }
})

t.test('revocation and identity', async t => {
  for (const body of ['{}', '', HTML, 'null']) {
    t.strictSame(classifyRevocation(answer(200, body)), { kind: 'ok', value: null })
  }
  const at = (body: unknown, pointer: string) => classifyIdentity(answer(200, body), pointer)
  t.strictSame(at({ guid: GUID }, '/guid'), { kind: 'ok', value: GUID })
  t.strictSame(at({ user: { ids: [1, GUID] } }, '/user/ids/1'), { kind: 'ok', value: GUID })
  t.strictSame(at({ 'a/b': { '~c': 7 } }, '/a~1b/~0c'), { kind: 'ok', value: '7' })
  for (const body of [{}, { guid: null }, { guid: { a: 1 } }, { guid: 'a b' }]) {
    t.strictSame(at(body, '/guid'), { kind: 'ok', value: null }, 'it does not say')
  }
  t.match(at(HTML, '/guid'), unreadable)
  t.equal(classifyIdentity(answer(401, ''), '/guid').kind, 'refused')
  t.equal(classifyIdentity(answer(403, { error: 'insufficient_scope' }), '/guid').kind, 'refused')
})
