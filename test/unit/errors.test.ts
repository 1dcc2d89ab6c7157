import t from 'tap'
import { PROBLEMS, Problem, type ProblemCode } from '../../src/errors.ts'

/** The contract's table: what a client may switch on. */
const CONTRACT: Readonly<Record<string, number>> = {
  validation_failed: 400,
  redirect_uri_not_allowed: 400,
  scope_not_allowed: 400,
  return_to_not_allowed: 400,
  state_invalid: 400,
  authorization_code_rejected: 400,
  access_denied: 403,
  unauthorized: 401,
  forbidden: 403,
  grant_not_found: 404,
  authorization_not_found: 404,
  not_found: 404,
  reauthorization_required: 409,
  username_taken: 409,
  provisioning_in_doubt: 409,
  guid_mismatch: 409,
  pair_superseded: 409,
  payload_too_large: 413,
  unsupported_media_type: 415,
  rate_limited: 429,
  client_misconfigured: 502,
  provider_response_invalid: 502,
  guid_unresolved: 502,
  provider_unavailable: 503,
  store_unavailable: 503,
  outcome_unknown: 504,
  internal_error: 500,
}

const entries = Object.entries(PROBLEMS) as [ProblemCode, { status: number; title: string }][]

t.test('the problems are those of the contract, and no others', async t => {
  for (const [code, status] of Object.entries(CONTRACT)) {
    t.equal((PROBLEMS as Record<string, { status: number }>)[code]?.status, status, `${code} of the contract`)
  }
  for (const [code, { status }] of entries) t.equal(CONTRACT[code], status, `${code} of the gateway`)
  t.strictSame(Object.keys(PROBLEMS).sort(), Object.keys(CONTRACT).sort())
})

t.test('each has a title of its own', async t => {
  const titles = entries.map(([, { title }]) => title)
  t.equal(new Set(titles).size, titles.length)
  for (const title of titles) t.match(title, /^[A-Z][^.\n]{5,60}$/)
})

t.test('a problem knows its status, and what it was given', async t => {
  for (const [code, { status }] of entries) {
    const problem = new Problem(code, 'because')
    t.equal(problem.status, status, code)
    t.equal(problem.code, code)
    t.equal(problem.message, 'because')
    t.equal(problem.name, 'Problem')
    t.ok(problem instanceof Error)
    t.strictSame([problem.retryAfterSeconds, problem.errors, problem.upstream], [undefined, undefined, undefined])
  }
  const details = {
    retryAfterSeconds: 7,
    errors: [{ path: '/username', message: 'is taken' }],
    upstream: { status: 400, error: 'invalid_grant' },
  }
  const { retryAfterSeconds, errors, upstream } = new Problem('rate_limited', 'because', details)
  t.strictSame({ retryAfterSeconds, errors, upstream }, details)
})
