/** The ways through the gateway on which the provider, or Redis, is what goes wrong. */
import { Redis } from 'ioredis'
import { FAULT_KINDS } from '../../sandbox/control/faults.ts'
import { NAME, STATE } from './canary-stack.ts'
import { begin, provision, type Walk } from './canary-walk.ts'
import { pending } from './pending.ts'
import { filesIn } from './places.ts'
import { until } from './process.ts'
import type { RedisServer } from './redis.ts'

/** Whatever happened before is over: it asks the provider again. */
async function isWell({ visitor }: Walk): Promise<void> {
  await until(async () => (await visitor.ask('GET /health/ready')).body.status === 'ok')
}

/** Each fault of the sandbox's, to a renewal; and what the codes of the contract need besides. */
export async function providerFaults(walk: Walk): Promise<void> {
  const { t, visitor, canaries, sandbox } = walk
  const harmless: readonly string[] = ['latency', 'omit_refresh_token', 'close_idle']
  const takesBody: readonly string[] = ['status_before', 'status_after', 'malformed', 'rate_limited']
  for (const kind of FAULT_KINDS) {
    const { body: made } = await provision(walk)
    const details = {
      ...(takesBody.includes(kind) ? { body: `{"error":"${canaries.make(`body of ${kind}`)}` } : {}),
      ...(kind === 'latency' ? { latency_ms: 50 } : {}),
    }
    await sandbox.addFault({ operation: 'refresh', kind, guid: made.guid, times: 1, ...details })
    const renewed = await visitor.ask('POST /v1/grants/{guid}/refresh', {
      params: { guid: made.guid },
      body: { version: 1 },
    })
    t.match(
      String(renewed.status),
      harmless.includes(kind) ? /^200$/ : /^50[0-9]$/,
      `${kind}: ${made.code ?? renewed.body.code}`,
    )
    await isWell(walk)
  }
  await exchanges(walk)
  await users(walk)

  const { body: ended } = await visitor.ask('POST /v1/grants/{guid}/refresh', {
    params: { guid: walk.planted },
    body: { version: 1 },
  })
  t.match(ended, { code: 'reauthorization_required' })
}

/** A description that is plain may be told; what it quotes may not, and nothing else that the provider says. */
async function exchanges(walk: Walk): Promise<void> {
  const { t, visitor, canaries, wiretap } = walk
  const { redirectUri: redirect_uri } = walk.sandbox.options
  const told = canaries.make('description', { mayBeIn: ['answers'] }).slice(0, 19)
  const error_description = `${told} ${canaries.make('quoted token')}`
  const more = { hint: canaries.make('member of an answer') }
  const headers = { 'www-authenticate': `Bearer realm="${canaries.make('header of an answer')}"` }
  const json = (status: number, body: object) => () => ({ status, headers, body: JSON.stringify({ ...more, ...body }) })
  const answers = [
    [json(400, { error: 'invalid_grant', error_description }), 'authorization_code_rejected'],
    [json(400, { error: canaries.make('unknown error'), error_description }), 'provider_response_invalid'],
    [json(503, { error: 'temporarily_unavailable', error_description }), 'provider_unavailable'],
    [json(200, { access_token: canaries.make('half a pair') }), 'provider_response_invalid'],
    [() => Promise.reject(new Error('the connection breaks')), 'outcome_unknown'],
  ] as const
  for (const [reply, code] of answers) {
    const made = canaries.make('code')
    wiretap.next(made, reply)
    const answer = await visitor.ask('POST /v1/grants', { body: { code: made, redirect_uri } })
    t.match(answer.body, { code })
    if (code === 'authorization_code_rejected') t.match(answer.body.upstream.error_description, `${told} …`)
    await isWell(walk)
  }
  await strangers(walk)
}

/** It is not who was asked for, or nobody says who it is. */
async function strangers(walk: Walk): Promise<void> {
  const { t, visitor, canaries, sandbox, wiretap } = walk
  const { redirectUri: redirect_uri } = sandbox.options
  const other = await begin(walk, { guid: 'somebody-else' })
  t.match(await visitor.ask('POST /v1/grants', { body: { ...other, redirect_uri } }), {
    body: { code: 'guid_mismatch' },
  })
  await sandbox.sendJson('/sandbox/settings', { guid_in_exchange: false }, {}, 'PUT')
  const name = canaries.make('email of an identity')
  // The gateway also presents tokens there in the background, to learn how the provider rotates.
  const stop = wiretap.always('me.json', () => ({ status: 200, body: JSON.stringify({ name }) }))
  const nobody = await begin(walk)
  t.match(await visitor.ask('POST /v1/grants', { body: { ...nobody, redirect_uri } }), {
    body: { code: 'guid_unresolved' },
  })
  stop()
  const known = await begin(walk)
  t.match(await visitor.ask('POST /v1/grants', { body: { ...known, redirect_uri } }), { status: 201 })
  await sandbox.sendJson('/sandbox/settings', { guid_in_exchange: true }, {}, 'PUT')
}

async function users(walk: Walk): Promise<void> {
  const { t, visitor, canaries, sandbox } = walk
  const [taken, doubtful] = [canaries.make('taken username', NAME), canaries.make('doubtful username', NAME)]
  await sandbox.createUser(taken)
  const answer = await visitor.ask('POST /v1/users', { body: { username: taken } })
  t.match(answer.body, { code: 'username_taken' })
  await sandbox.addFault({ operation: 'users', kind: 'drop_after', times: 1 })
  const lost = await visitor.ask('POST /v1/users', { body: { username: doubtful } })
  t.match(lost.body, { code: 'provisioning_in_doubt' })
  await isWell(walk)
  await sandbox.addFault({ operation: 'users', kind: 'wrong_credentials', times: 1 })
  const refused = await visitor.ask('POST /v1/users', { body: { username: 'a' } })
  t.match(refused.body, { code: 'client_misconfigured' })
  await isWell(walk)
}

/** Records that are somebody else's, or no records; and more requests than one may have. */
export async function storeFaults(walk: Walk): Promise<void> {
  const { t, visitor, redis } = walk
  const client = new Redis({ port: redis.port, password: redis.password })
  const guids: string[] = []
  for (const _ of ['one', 'another']) guids.push((await provision(walk)).body.guid)
  const [one = '', another = ''] = await Promise.all(guids.map(async guid => (await client.keys(`*:grant:${guid}`))[0]))
  await client.copy(one, another, 'REPLACE')
  const [guid = '', swapped = ''] = guids
  const altered = await visitor.ask('GET /v1/grants/{guid}/token', { params: { guid: swapped } })
  t.match(altered.body, { code: 'internal_error' })
  const many = await visitor.ask('POST /v1/tokens', { body: { guids: [guid, swapped] } })
  t.match(many.body, { results: [{ token: { guid } }, { problem: { code: 'internal_error' } }] })
  // Redis answers by an error that carries the command.
  await client.multi().del(one).lpush(one, 'no record').exec()
  const body = { access_token: walk.canaries.make('a'), refresh_token: walk.canaries.make('b'), expires_in: 7200 }
  t.match(await visitor.ask('PUT /v1/grants/{guid}', { params: { guid }, body }), {
    body: { code: 'store_unavailable' },
  })
  await client.del(one, another)
  client.disconnect()

  await until(async () => {
    const { status } = await visitor.ask('GET /v1/grants/{guid}', { params: { guid: walk.planted } })
    return status === 429
  })
}

/** Redis goes while a renewal is under way, and comes back. Returns the journal as it was meanwhile. */
export async function withoutRedis(walk: Walk, server: RedisServer): Promise<string> {
  const { t, visitor, canaries, wiretap, environment, redis, sandbox } = walk
  const { JOURNAL_DIR: journalDir = '' } = environment
  const { guid, access_token, refresh_token } = await sandbox.grant({ username: 'held' })
  canaries.add('access token (held)', access_token)
  canaries.add('refresh token (held)', refresh_token)
  const params = { guid }
  const body = { access_token, refresh_token, expires_in: 7200, username: walk.planted }
  t.match(await visitor.ask('PUT /v1/grants/{guid}', { params, body }), { status: 201 })
  const [reached, released] = [pending<void>(), pending<void>()]
  wiretap.next(refresh_token, async pass => {
    const answer = await pass()
    reached.resolve()
    await released.promise
    return answer
  })
  const renewal = visitor.ask('POST /v1/grants/{guid}/refresh', { params, body: { version: 1 } })
  await reached.promise
  await server.kill('SIGKILL')
  released.resolve()
  await until(() => /\.rotation\n/.test(filesIn(journalDir)))
  const journal = filesIn(journalDir)
  const code = canaries.make('code while Redis is away')
  const username = canaries.make('username while Redis is away', NAME)
  const state = canaries.make('state while Redis is away', STATE)
  const asked = await Promise.all([
    visitor.ask('POST /v1/authorizations', { body: {} }),
    visitor.ask('GET /v1/authorizations/{state}', { params: { state } }),
    visitor.ask('POST /v1/grants', { body: { code, redirect_uri: sandbox.options.redirectUri } }),
    visitor.ask('POST /v1/users', { body: { username } }),
    visitor.ask('POST /v1/tokens', { body: { guids: ['nobody', 'somebody'] } }),
    visitor.ask('GET /v1/grants', {}),
  ])
  for (const answer of asked) t.match(answer.body, { code: 'store_unavailable' })
  const back = await redis.start()
  t.teardown(() => back.stop())
  t.match(String((await renewal).status), /^(200|503)$/)
  await isWell(walk)
  return journal
}
