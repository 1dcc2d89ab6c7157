import t from 'tap'
import type { Outcome, TokenAnswer } from '../../src/ports/provider.ts'
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
  for (const status of [200, 201, 202]) {
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
        t.match(outcome, { kind, upstream: { status, error, error_description: 'The provided grant is wrong.' } })
      }
    }
  }
  t.equal(classify('refresh', answer(200, { error: 'invalid_grant' })).kind, 'rejected', 'not even by 200')
})

const DATE = 'Wed, 21 Oct 2026 07:28:00 GMT'
const SOON = 'Wed, 21 Oct 2026 07:29:30 GMT'
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
  const { refresh_token: __, ...withoutRefresh } = DOCUMENTED
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
    withoutRefresh,
    { ...DOCUMENTED, refresh_token: null },
    { ...DOCUMENTED, refresh_token: '' },
    { ...DOCUMENTED, refresh_token: 7 },
    { ...DOCUMENTED, access_token: 'two words' },
    { ...DOCUMENTED, access_token: 'line\r\nbreak' },
    { ...DOCUMENTED, access_token: 'x'.repeat(8193) },
    { ...DOCUMENTED, token_type: 'mac' },
    { ...DOCUMENTED, token_type: null },
  ]
  for (const body of bodies) {
    for (const operation of ['exchange', 'refresh', 'users'] as const) {
      const outcome = classify(operation, answer(200, body))
      t.match(outcome, unreadable, `${operation}: ${JSON.stringify(body).slice(0, 60)}`)
      t.notMatch(JSON.stringify(outcome), REFRESH)
    }
  }
  t.match(classify('refresh', answer(204, '')), unreadable, 'no content is no token')
})

t.test('the type of the token, in any case or not said', async t => {
  for (const type of ['bearer', 'Bearer', 'BEARER']) t.ok(tokenOf({ ...DOCUMENTED, token_type: type }), type)
  const { token_type: _, ...untyped } = DOCUMENTED
  t.ok(tokenOf(untyped), 'absent')
})

t.test('lifetimes', async t => {
  const forms: [unknown, number | null][] = [
    [7200, 7200],
    [7199, 7199],
    ['7200', 7200],
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
