/** What each route does with a grant whose record does not open: a clear error for that grant alone, and nothing is lost. */
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { newEncryptionKey } from '../../src/cli/keys.ts'
import { createKeys } from '../../src/store/redis/keys.ts'
import { withAnotherStatus } from '../support/packed.ts'
import { startRedis } from '../support/redis.ts'
import { type Answer, type GatewayClient, startStack } from '../support/stack.ts'

const redis = await startRedis()
const raw = new Redis(redis.url)
t.teardown(async () => {
  raw.disconnect()
  await redis.stop()
})

const oldKey = newEncryptionKey().replace(/^[^:]+/, 'old')
const newKey = newEncryptionKey().replace(/^[^:]+/, 'new')
const PAIR = { access_token: 'a'.repeat(64), refresh_token: 'b'.repeat(64), expires_in: 7200 }

interface Unreadable {
  readonly client: GatewayClient
  readonly guid: string
  readonly why: RegExp
}

/** Everything that a caller can ask for by the guid. */
async function everyRoute({ client, guid }: Unreadable): Promise<Record<string, Answer>> {
  const path = `/v1/grants/${guid}`
  return {
    token: await client.get(`${path}/token`),
    'token with min_ttl': await client.get(`${path}/token?min_ttl=7000`),
    refresh: await client.send('POST', `${path}/refresh`, { version: 1 }),
    read: await client.get(path),
    import: await client.send('PUT', path, PAIR),
    'import with a username': await client.send('PUT', path, { ...PAIR, username: 'somebody' }),
    delete: await client.send('DELETE', path),
    'list by username': await client.get('/v1/grants?username=4711'),
    provision: await client.send('POST', '/v1/users', { username: '4711' }),
  }
}

async function everyRouteSaysSo(t: Test, unreadable: Unreadable): Promise<void> {
  for (const [name, { status, body }] of Object.entries(await everyRoute(unreadable))) {
    t.match({ status, body }, { status: 500, body: { code: 'internal_error', request_id: String } }, name)
    t.match(body.detail, unreadable.why, name)
    t.match(body.detail, /is left as it is.*An operator has to/, name)
  }
}

/** The lines of the event, since `from`. */
function told(logged: readonly string[], from = 0) {
  const lines = logged.slice(from).map(line => JSON.parse(line))
  return lines.filter(({ msg }) => msg === 'record.unreadable')
}

/** The parameters that PKCE adds to the address where a person is sent. */
function challengeOf(authorizationUrl: string): Record<string, string> {
  return Object.fromEntries(new URL(authorizationUrl).searchParams)
}

/** Waits for what the background does. */
async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise(resolve => setTimeout(resolve, 20))
}

t.test('sealed with a key that is not there: told, left alone, and back when the key is', async t => {
  const prefix = 'unknown'
  const keys = createKeys(prefix)
  const stack = await startStack(t, redis.url, {}, { REDIS_PREFIX: prefix, ENCRYPTION_KEYS: oldKey })
  const { sandbox, redirectUri, logged, gateway } = stack
  const before = await gateway()
  const made = await before.send('POST', '/v1/users', { username: '4711' })
  const { guid } = made.body
  await before.close()
  const stored = await raw.getBuffer(keys.grant(guid))
  const client = await gateway({ ENCRYPTION_KEYS: newKey })
  t.match(await client.send('PUT', '/v1/grants/bob', PAIR), { status: 201 })

  const name = 'A record that this request needs'
  const why = new RegExp(
    `^(The record of the grant ${guid}|${name}) cannot .* the key old, which is not in ENCRYPTION_KEYS`,
  )
  await everyRouteSaysSo(t, { client, guid, why })
  t.equal((await sandbox.counts()).totals.users?.ok, 1, 'no second user is made')
  t.match((await client.get('/v1/grants?limit=100')).body, { items: [{ guid: 'bob' }], next_cursor: null })
  t.match(await client.get('/v1/grants/bob/token'), { status: 200 }, 'the others are served')
  t.match(told(logged)[0], { level: 'error', guid, reason: 'unknown_key', keyId: 'old' })

  const heardOf = logged.length
  await raw.zadd(keys.due(keys.shardOf(guid)), 1, guid)
  await until(() => told(logged, heardOf).length > 0)
  t.match(told(logged, heardOf), [{ guid, reason: 'unknown_key' }], 'the background meets it, too')

  const begun = (await client.send('POST', '/v1/authorizations', { guid })).body
  const code = await sandbox.code({ ...challengeOf(begun.authorization_url), username: '4711' })
  const exchange = { code, redirect_uri: redirectUri, state: begun.state }
  for (const turn of ['the exchange', 'the same again']) {
    const answer = await client.send('POST', '/v1/grants', exchange)
    t.match(answer, { status: 500, body: { code: 'internal_error', detail: why } }, turn)
  }
  const outcome = await client.get(`/v1/authorizations/${begun.state}`)
  t.match(outcome.body, { status: 'failed', error: 'internal_error' })
  const counted = (await sandbox.counts()).totals
  t.match(counted, { exchange: { ok: 1 } })
  t.equal(counted.revoke, undefined, 'no pair is given back: it might be the one in the record')

  t.strictSame(await raw.getBuffer(keys.grant(guid)), stored, 'byte for byte as it was')
  const after = await gateway({ ENCRYPTION_KEYS: `${newKey},${oldKey}` })
  const read = await after.get(`/v1/grants/${guid}/token`)
  t.match(read, { status: 200, body: { access_token: made.body.access_token, version: 1 } })
  t.match(await after.send('POST', '/v1/users', { username: '4711' }), { status: 200, body: { guid } })
})

t.test('altered in Redis: told, left alone, and free again when an operator has removed it', async t => {
  const prefix = 'altered'
  const keys = createKeys(prefix)
  const { sandbox, redirectUri, logged, gateway } = await startStack(t, redis.url, {}, { REDIS_PREFIX: prefix })
  const client = await gateway()
  const { guid } = (await client.send('POST', '/v1/users', { username: '4711' })).body
  await client.send('PUT', '/v1/grants/bob', PAIR)
  const altered = withAnotherStatus(await raw.getBuffer(keys.grant(guid)))
  await raw.set(keys.grant(guid), altered)

  const why = new RegExp(`^The record of the grant ${guid} cannot be opened.* altered in Redis`)
  await everyRouteSaysSo(t, { client, guid, why })
  t.match(told(logged)[0], { level: 'error', guid, reason: 'altered' })
  t.match((await client.get('/v1/grants?limit=100')).body, { items: [{ guid: 'bob' }], next_cursor: null })
  const callback = (await client.send('POST', '/v1/authorizations', { redirect_uri: redirectUri })).body
  const code = await sandbox.code({ ...challengeOf(callback.authorization_url), username: '4711' })
  const page = await client.get(`/tap-in/callback?state=${callback.state}&code=${code}`)
  t.equal(page.status, 500)
  t.notMatch(page.body, guid, 'a page says nothing of it')
  t.strictSame(await raw.getBuffer(keys.grant(guid)), altered, 'byte for byte as it was')

  await raw.del(keys.grant(guid))
  t.match(await client.get(`/v1/grants/${guid}/token`), { status: 200 }, 'who wrote it of late writes it again')
  await raw.set(keys.grant(guid), altered)
  await client.close()
  const other = await gateway()
  t.match(await other.get(`/v1/grants/${guid}/token`), { status: 500 })
  await raw.del(keys.grant(guid))
  t.match(await other.get(`/v1/grants/${guid}/token`), { status: 404 })
  t.match(await other.send('PUT', `/v1/grants/${guid}`, PAIR), { status: 201 })
})

t.test('records of other kinds that were altered', async t => {
  const prefix = 'others'
  const keys = createKeys(prefix)
  const { sandbox, redirectUri, gateway } = await startStack(t, redis.url, {}, { REDIS_PREFIX: prefix })
  const client = await gateway()
  const ada = (await client.send('POST', '/v1/users', { username: 'ada' })).body
  const bob = (await client.send('POST', '/v1/users', { username: 'bob' })).body

  async function alter(key: string, from: string, to: string): Promise<void> {
    const good = (await raw.get(key)) ?? ''
    t.ok(good.includes(from), `${key} says ${from}`)
    await raw.set(key, good.replaceAll(from, to), 'KEEPTTL')
  }

  await alter(keys.username('ada'), ada.guid, bob.guid)
  const stolen = await client.send('POST', '/v1/users', { username: 'ada' })
  t.match(stolen, { status: 500, body: { code: 'internal_error', detail: /^A record that this request needs cannot/ } })
  t.equal(stolen.body.access_token, undefined, "nobody else's token is answered")
  await raw.copy(keys.username('bob'), keys.username('carol'))
  t.match(await client.send('POST', '/v1/users', { username: 'carol' }), { status: 500 }, 'nor by a copy')
  t.match(await client.get(`/v1/grants/${ada.guid}/token`), { status: 200 }, 'the grant itself is well')

  const { state } = (await client.send('POST', '/v1/authorizations', {})).body
  await alter(keys.state(state), '"status":"pending"', '"status":"connected"')
  const path = `/v1/authorizations/${state}`
  t.match(await client.get(path), { status: 500, body: { code: 'internal_error' } })
  const body = { code: await sandbox.code(), redirect_uri: redirectUri }
  t.match(await client.send('POST', '/v1/grants', { ...body, state }), { status: 500 })
  t.match(await client.get(`/tap-in/callback?state=${state}&code=${body.code}`), { status: 500 })
  t.equal((await sandbox.counts()).totals.exchange, undefined, 'the code is not spent')

  t.match(await client.send('POST', '/v1/grants', body), { status: 201 })
  const [exchanged = ''] = await raw.keys(`${prefix}:*:code:*`)
  await alter(exchanged, '"status":"done","guid":"', '"status":"done","guid":"x')
  t.match(await client.send('POST', '/v1/grants', body), { status: 500 })

  await raw.set(keys.pause('provider'), '5:{"untilMs":99999999999999}')
  const refreshed = await client.send('POST', `/v1/grants/${bob.guid}/refresh`, { version: 1 })
  t.match(
    refreshed,
    { status: 200, body: { version: 2 } },
    'a pause that somebody else has made up keeps nobody waiting',
  )
})
