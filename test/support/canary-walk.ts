/** The ways through the gateway that end well, and those that end badly because of who asks or for what: with a secret in each place that takes text. */

import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Test } from 'tap'
import { type CanaryStack, NAME, REDIS, RETURN_TO_ORIGIN, STATE } from './canary-stack.ts'
import { unsigned } from './issuer.ts'
import { sendRaw } from './raw.ts'
import type { Visited, Visitor } from './visitor.ts'

/** What each walk is given. */
export interface Walk extends CanaryStack {
  readonly t: Test
  readonly visitor: Visitor
  readonly doors: { readonly public: string; readonly metrics: string }
}

interface Begun {
  readonly state: string
  readonly code: string
}

/** An authorization, and the code of somebody who allows it. */
export async function begin(walk: Walk, body: Record<string, string> = {}, username = 'ada'): Promise<Begun> {
  const { canaries, sandbox, visitor } = walk
  const answer = await visitor.ask('POST /v1/authorizations', { body })
  const { state, authorization_url } = answer.body
  canaries.add(`state of ${username} ${state}`, state, STATE)
  const asked = Object.fromEntries(new URL(authorization_url).searchParams)
  return { state, code: canaries.add('code', await sandbox.code({ ...asked, username })) }
}

/** Somebody new, with a grant; returns the answer. */
export async function provision({ canaries, visitor }: Walk): Promise<Visited> {
  const username = canaries.make('username', NAME)
  const attributes = { note: canaries.make('attribute of a user') }
  return await visitor.ask('POST /v1/users', { body: { username, attributes } })
}

export async function goodWays(walk: Walk): Promise<void> {
  const { t, visitor, canaries, planted, doors } = walk
  const { redirectUri } = walk.sandbox.options
  const return_to = `${RETURN_TO_ORIGIN}/done?next=${canaries.make('return_to', { mayBeIn: ['answers'] })}`

  const first = await begin(walk)
  const exchange = { body: { code: first.code, redirect_uri: redirectUri, state: first.state } }
  t.match(await visitor.ask('POST /v1/grants', exchange), { status: 201 })
  t.match(await visitor.ask('POST /v1/grants', exchange), { status: 200 })
  const way = { params: { state: first.state } }
  t.match(await visitor.ask('GET /v1/authorizations/{state}', way), { body: { status: 'connected' } })
  const callback = { at: doors.public, bearer: null }
  const [back, plain] = [await begin(walk, { return_to }), await begin(walk)]
  t.match(await visitor.ask('GET /tap-in/callback', { ...callback, query: { ...back } }), { status: 303 })
  t.match(await visitor.ask('GET /tap-in/callback', { ...callback, query: { ...plain } }), { status: 200 })
  await visitor.ask('HEAD /tap-in/callback', { ...callback, query: { ...plain } })

  const username = canaries.make('username', NAME)
  const user = { body: { username, attributes: { note: canaries.make('attribute') } } }
  t.match(await visitor.ask('POST /v1/users', user), { status: 201 })
  const { body, status } = await visitor.ask('POST /v1/users', user)
  t.equal(status, 200)
  const params = { guid: body.guid }
  t.match(await visitor.ask('GET /v1/grants/{guid}/token', { params, query: { min_ttl: '60' } }), { status: 200 })
  const results = [{ token: { guid: body.guid } }, { problem: { code: 'grant_not_found' } }]
  t.match(await visitor.ask('POST /v1/tokens', { body: { guids: [body.guid, 'nobody'] } }), { body: { results } })
  t.match(await visitor.ask('POST /v1/grants/{guid}/refresh', { params, body: { version: 1 } }), { status: 200 })
  t.match(await visitor.ask('GET /v1/grants/{guid}', { params }), { status: 200 })
  t.match(await visitor.ask('GET /v1/grants', { query: { username } }), { body: { items: [{ username }] } })
  t.match(await visitor.ask('DELETE /v1/grants/{guid}', { params }), { status: 204 })

  for (const guid of [planted, 'due']) {
    const pair = {
      access_token: canaries.make('imported access token'),
      refresh_token: canaries.make('imported refresh token'),
    }
    // The second one is renewed in the background at once, which the provider refuses: it does not know it.
    const expires_in = guid === 'due' ? 1 : 7200
    const imported = await visitor.ask('PUT /v1/grants/{guid}', { params: { guid }, body: { ...pair, expires_in } })
    t.match(imported, { status: 201 })
  }
  const pairs = ['first', 'second'].map(name => ({
    access_token: canaries.make(`${name} access token`),
    refresh_token: canaries.make(`${name} refresh token`),
    expires_in: 7200,
  }))
  const importPair = (body: (typeof pairs)[number] | undefined) =>
    visitor.ask('PUT /v1/grants/{guid}', { params: { guid: 'replaced' }, ...(body === undefined ? {} : { body }) })
  for (const pair of pairs) await importPair(pair)
  t.match(await importPair(pairs[0]), { status: 409, body: { code: 'pair_superseded' } })
  for (const route of ['GET /health/live', 'GET /health/ready', 'GET /metrics'] as const) {
    t.match(await visitor.ask(route, { bearer: null }), { status: 200 })
    t.match(await visitor.ask(route, { at: doors.metrics }), { status: 200 })
  }
  t.match(await visitor.ask('GET /v1/overview'), { body: { caller: { name: 'everything' } } })
  t.match(await visitor.ask('GET /openapi.json', { bearer: null }), { status: 200 })
  t.match(await visitor.ask('GET /docs', { bearer: null }), { status: 200 })
}

/** Every kind of caller, those who are none, and those who may not. */
export async function callers(walk: Walk): Promise<void> {
  const { t, visitor, canaries, keys, issuer } = walk
  issuer.answerWith(503)
  const workload = { bearer: canaries.add('JWT', await issuer.token({ jti: 'first' })) }
  t.match(await visitor.ask('GET /v1/grants', workload), { status: 401, body: { detail: /cannot be fetched/ } })
  issuer.answerWith(200)
  // It is asked again some seconds later, and not before.
  while ((await visitor.ask('GET /v1/grants', workload)).status !== 200) await pause(200)
  const claims = { iss: 'https://issuer.example', sub: 'scheduler', jti: randomBytes(16).toString('hex') }
  const strangers = [
    canaries.make('an API key that is none'),
    canaries.add('JWT for somebody else', await issuer.token({ aud: canaries.make('audience') })),
    canaries.add('JWT of nobody', unsigned(claims, 'none')),
  ]
  for (const bearer of strangers) t.match(await visitor.ask('GET /v1/grants', { bearer }), { status: 401 })
  const basic = Buffer.from(`user:${canaries.make('password of Basic')}`).toString('base64')
  const headers = {
    authorization: `Basic ${basic}`,
    cookie: `session=${canaries.make('cookie')}`,
    referer: `https://app.example/?code=${canaries.make('referrer')}`,
    'x-request-id': `"${canaries.make('request id')}"`,
    'user-agent': canaries.make('user agent'),
    traceparent: `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`,
    tracestate: `vendor=${canaries.make('tracestate')}`,
    baggage: `user=${canaries.make('baggage')}`,
  }
  t.match(await visitor.ask('GET /v1/grants', { bearer: null, headers }), { status: 401 })
  t.match(await visitor.ask('GET /v1/grants', { bearer: keys.planted }), { status: 200 })
  const forbidden = await visitor.ask('POST /v1/users', { bearer: keys.planted, body: { username: 'a' } })
  t.match(forbidden, { status: 403, body: { code: 'forbidden' } })
}

/** What is wrong with a request. The code is what it is answered. */
export async function refusals(walk: Walk): Promise<void> {
  const { t, visitor, canaries } = walk
  const { redirectUri: redirect_uri } = walk.sandbox.options
  const secret = (name: string, mayBeIn: readonly string[] = []) =>
    canaries.make(`${name} of a refused request`, { mayBeIn })
  const wrong: readonly [Parameters<Visitor['ask']>[0], Parameters<Visitor['ask']>[1], string][] = [
    [
      'POST /v1/grants',
      { body: `{"code":"${secret('code')}","redirect_uri":"${secret('URI')}\n    at "` },
      'validation_failed',
    ],
    ['POST /v1/grants', { body: { code: secret('code'), redirect_uri, x: secret('member') } }, 'validation_failed'],
    ['POST /v1/grants', { body: { code: [secret('code')], redirect_uri } }, 'validation_failed'],
    ['POST /v1/users', { body: { username: 'a', attributes: { password: secret('password') } } }, 'validation_failed'],
    [
      'PUT /v1/grants/{guid}',
      { params: { guid: 'g' }, body: { access_token: `${secret('token')} x` } },
      'validation_failed',
    ],
    ['GET /v1/grants/{guid}', { params: { guid: `${secret('guid')} x` } }, 'validation_failed'],
    ['GET /v1/grants/{guid}/token', { params: { guid: 'g' }, query: { min_ttl: secret('ttl') } }, 'validation_failed'],
    ['POST /v1/tokens', { body: { guids: ['g', `${secret('guid')} x`] } }, 'validation_failed'],
    ['GET /v1/grants', { query: { access_token: secret('query') } }, 'validation_failed'],
    ['GET /v1/grants', { query: { cursor: `${secret('cursor')}%` } }, 'validation_failed'],
    ['POST /v1/authorizations', { body: { redirect_uri: `https://x/${secret('URI')}` } }, 'redirect_uri_not_allowed'],
    // The asker is told which.
    ['POST /v1/authorizations', { body: { scope: secret('scope', ['answers']) } }, 'scope_not_allowed'],
    [
      'POST /v1/authorizations',
      { body: { return_to: `https://x/?q=${secret('return_to')}` } },
      'return_to_not_allowed',
    ],
    [
      'POST /v1/grants',
      { body: { code: secret('code'), redirect_uri, state: secret('state', REDIS) } },
      'state_invalid',
    ],
    ['POST /v1/grants', { body: { code: secret('code'), redirect_uri } }, 'authorization_code_rejected'],
    ['GET /v1/authorizations/{state}', { params: { state: secret('state', REDIS) } }, 'authorization_not_found'],
    ['GET /v1/grants/{guid}', { params: { guid: 'nobody' } }, 'grant_not_found'],
    ['GET /nothing', { query: { token: secret('query') } }, 'not_found'],
    ['POST /v1/users', { body: { username: secret('body').repeat(3_000) } }, 'payload_too_large'],
    [
      'POST /v1/users',
      { body: secret('body'), headers: { 'content-type': 'application/x-www-form-urlencoded' } },
      'unsupported_media_type',
    ],
  ]
  for (const [route, visit, code] of wrong) {
    t.match(await visitor.ask(route, visit), { body: { code } }, `${route}: ${code}`)
  }
  const query = { state: secret('state', REDIS), code: secret('code'), error_description: secret('description') }
  t.match(await visitor.ask('GET /tap-in/callback', { query, bearer: null }), { status: 400 })
  await denied(walk)
  await unreadable(walk, secret)
}

async function denied(walk: Walk): Promise<void> {
  const { t, visitor, canaries, doors } = walk
  const { state, code } = await begin(walk)
  const query = { state, error: 'access_denied', error_description: canaries.make('why it was denied') }
  t.match(await visitor.ask('GET /tap-in/callback', { at: doors.public, query, bearer: null }), { status: 403 })
  const body = { code, redirect_uri: walk.sandbox.options.redirectUri, state }
  t.match(await visitor.ask('POST /v1/grants', { body }), { body: { code: 'access_denied' } })
}

/** What is no request, or no address. */
async function unreadable({ t, doors }: Walk, secret: (name: string) => string): Promise<void> {
  const authorization = `authorization: Bearer ${secret('bearer')}`
  for (const first of [
    `GET /tap-in/callback?code=${secret('query')} HTTP/9.9`,
    `GET /tap-in/callback/%zz${secret('path')} HTTP/1.1`,
    `GET /tap-in/callback?code=${secret('query').repeat(300)} HTTP/1.1`,
    `GET /tap-in/callback?code=${secret('query').repeat(900)} HTTP/1.1`,
  ]) {
    const { text } = await sendRaw(doors.public, `${first}\r\nhost: a\r\nconnection: close\r\n${authorization}\r\n\r\n`)
    t.match(text, /^HTTP\/1.1 4/)
  }
}
