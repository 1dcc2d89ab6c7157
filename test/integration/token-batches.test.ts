/** POST /v1/tokens over HTTP, on a real Redis: what it answers, what it costs there, and what it leaves in the audit stream. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { newAuditKey, newCaller } from '../../src/cli/keys.ts'
import { readConfig } from '../../src/config.ts'
import { createKeys } from '../../src/store/redis/keys.ts'
import { systemClock } from '../../src/system/clock.ts'
import { inBatches } from '../contract/patience.ts'
import { grantOf } from '../contract/records.ts'
import { openRedisStores } from '../contract/redis-stores.ts'
import { auditLinesIn } from '../support/audit.ts'
import { overhear } from '../support/places.ts'
import { until } from '../support/process.ts'
import { answers, startRedis } from '../support/redis.ts'
import { type Answer, type GatewayClient, type Stack, startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

interface Result {
  readonly guid: string
  readonly token?: { readonly access_token: string; readonly version: number }
  readonly problem?: { readonly code: string; readonly status: number; readonly retry_after?: number }
}

/** `guid version`, or `guid code`. */
function told({ guid, token, problem }: Result): string {
  return `${guid} ${token?.version ?? problem?.code}`
}

async function resultsOf(client: GatewayClient, guids: readonly string[], more: object = {}): Promise<Result[]> {
  const { status, body } = await client.send('POST', '/v1/tokens', { guids, ...more })
  if (status !== 200) throw new Error(`a batch was answered ${status}: ${JSON.stringify(body)}`)
  return body.results
}

/** Grants whose tokens live; HealthTap knows nothing of them. */
async function connect({ environment }: Pick<Stack, 'environment'>, guids: readonly string[]): Promise<void> {
  const { encryptionKeys: keys, redisPrefix: prefix } = readConfig(environment)
  const stores = openRedisStores({ url: environment.REDIS_URL ?? '' }, systemClock, { prefix, keys })
  await inBatches(guids, guid =>
    stores.grants.write(guid, 0, grantOf(guid, Date.now(), { attempt: null, lastError: null })),
  )
  await stores.close()
}

const names = (count: number, name = 'g') => Array.from({ length: count }, (_, index) => `${name}${index}`)

/** How gateways ask a Redis for records of grants: by which command, and for whom. */
async function listenTo(t: Test, { port }: { readonly port: number }, prefix: string) {
  const [raw, keys] = [new Redis(port), createKeys(prefix)]
  t.teardown(() => raw.disconnect())
  const heard = await overhear(t, { port })
  let read = 0

  function parse(line: string): readonly { command: string; guids: readonly string[] }[] {
    const [command = '', ...args] = [...line.matchAll(/"([^"]*)"/g)].map(([, text = '']) => text)
    // Whether what was written of late still stands is looked at now and then: that is nobody's reading.
    if (!/^m?get$/.test(command) || args.some(arg => arg.includes(':gone:'))) return []
    const guids = args.flatMap(arg => (arg.startsWith(`${prefix}:`) ? (keys.guidUnder(arg) ?? []) : []))
    return guids.length === 0 ? [] : [{ command, guids }]
  }

  return {
    keys,
    raw,
    /** Those since it was asked last. */
    async commands() {
      const mark = `until here: ${read}`
      await raw.echo(mark)
      await until(() => heard().includes(mark, read))
      const text = heard().slice(read)
      read += text.indexOf(mark) + mark.length
      return text.slice(0, text.indexOf(mark)).split('\r\n').flatMap(parse)
    },
  }
}

t.test('five hundred people: each is answered as by themselves, and each shard is asked once', async t => {
  const auditLog = join(t.testdir(), 'audit.log')
  const stack = await startStack(t, redis.url)
  const { environment, gateway, sandbox } = stack
  const { REDIS_PREFIX: prefix = '' } = environment
  const writer = await gateway()
  const reader = await gateway({ AUDIT_LOG: auditLog, AUDIT_KEY: newAuditKey() })
  await answers(redis.port, `PUBSUB NUMSUB ${createKeys(prefix).channel}`, /\r\n:2\r\n/)
  const { commands, keys, raw } = await listenTo(t, redis, prefix)

  const living = names(465)
  await connect(stack, living)
  const pairs = await Promise.all(names(11, 'p').map(username => sandbox.grant({ username })))
  const [ended, ...lapsed] = pairs
  for (const { guid, access_token, refresh_token } of pairs) {
    // Those whose tokens have no life are renewed when they are asked for, or in the background just before that.
    const expires_in = guid === ended?.guid ? 7_200 : 0
    await writer.send('PUT', `/v1/grants/${guid}`, { access_token, refresh_token, expires_in })
  }
  const gone = ended?.guid ?? ''
  await sandbox.send(`/sandbox/revoke-user/${gone}`, { method: 'POST' })
  t.match(await writer.send('POST', `/v1/grants/${gone}/refresh`, { version: 1 }), { status: 409 })
  const [broken, other] = ['broken', 'other']
  await connect(stack, [broken, other])
  await raw.append(keys.grant(broken), 'x')
  const missing = names(500 - living.length - pairs.length - 2, 'missing')
  const renewed = lapsed.map(({ guid }) => guid)
  const all = [...missing, ...living, broken, ...renewed, gone, other]
  const guids = all.map((_, index) => all[(index * 7) % all.length] as string)
  t.equal(new Set(guids).size, 500)

  const expected = (guid: string) => {
    if (missing.includes(guid)) return `${guid} grant_not_found`
    if (guid === broken) return `${guid} internal_error`
    if (guid === gone) return `${guid} reauthorization_required`
    return `${guid} ${renewed.includes(guid) ? 2 : 1}`
  }
  await commands()
  const { body, status, headers } = await reader.send('POST', '/v1/tokens', { guids }, { 'x-request-id': 'first' })
  t.equal(status, 200)
  t.equal(headers.get('cache-control'), 'no-store')
  const results: Result[] = body.results
  t.strictSame(results.map(told), guids.map(expected), 'in the order asked')
  // Who was renewed while others were waited for is looked at once more; and a renewal looks by itself.
  const isSteady = (guid: string) => !renewed.includes(guid)
  const asked = (await commands()).filter(command => command.guids.some(isSteady))
  const steady = guids.filter(isSteady)
  t.ok(
    asked.every(({ command }) => command === 'mget'),
    'nobody is asked for alone',
  )
  t.equal(asked.length, new Set(steady.map(keys.shardOf)).size, 'but by one command for each shard')
  t.strictSame(asked.flatMap(command => command.guids.filter(isSteady)).sort(), steady.sort(), 'each once')

  let again: string[]
  do {
    t.strictSame((await resultsOf(reader, guids)).map(told), guids.map(expected))
    again = (await commands()).flatMap(command => command.guids.filter(isSteady))
    // On a machine that is slow, what was seen before counts no more.
  } while (again.length > 100)
  t.strictSame(again.sort(), [...missing, broken, gone].sort(), 'whoever is in memory is not asked for')

  for (const guid of [living[0] ?? '', missing[0] ?? '', broken, gone, renewed[0] ?? '']) {
    const result = results.find(one => one.guid === guid)
    const single = (await reader.get(`/v1/grants/${guid}/token`)).body
    const { request_id: _, expires_in: __, ...same } = single
    t.match(result, single.code === undefined ? { token: same } : { problem: same }, `${guid} as if asked for alone`)
  }
  for (const { guid, token } of results.filter(({ guid }) => !isSteady(guid))) {
    t.equal((await sandbox.me(token?.access_token ?? '')).status, 200, `the token of ${guid} is good`)
  }

  await reader.close()
  const lines = auditLinesIn(readFileSync(auditLog, 'utf8')).map(line => JSON.parse(line))
  const ofFirst = lines.filter(line => line.request_id === 'first')
  t.strictSame(
    ofFirst.map(line => `${line.guid} ${line.outcome === 'ok' ? line.version : line.outcome}`),
    guids.map(expected),
    'a line for each',
  )
  for (const [index, line] of ofFirst.entries()) {
    const isGiven = results[index]?.token !== undefined
    const common = { event: 'token.read', by: 'caller', caller: 'everything', remote: '127.0.0.1' }
    t.match(line, { ...common, status: isGiven ? 200 : results[index]?.problem?.status })
    t.equal(line.token !== null, isGiven)
  }
})

t.test('the longest guids there are, and white space between them', async t => {
  const { gateway } = await startStack(t, redis.url)
  const client = await gateway()
  const guids = names(500, 'long').map(name => name.padEnd(128, '~'))
  const text = JSON.stringify({ guids, min_ttl: 315_360_000 }, null, 4)
  t.ok(text.length > 64 * 1024)
  const { status, body } = await client.send('POST', '/v1/tokens', text)
  t.equal(status, 200)
  t.strictSame(
    body.results.map(({ guid }: Result) => guid),
    guids,
  )
  const longer = await client.send('POST', '/v1/tokens', `${' '.repeat(128 * 1024)}${JSON.stringify({ guids })}`)
  t.match(longer, { status: 413, body: { code: 'payload_too_large' } })
})

t.test('what does not fit is refused as a whole, by its place, and nothing is done', async t => {
  const { environment, gateway } = await startStack(t, redis.url)
  const client = await gateway()
  const { commands } = await listenTo(t, redis, environment.REDIS_PREFIX ?? '')
  const cases: [unknown, { path: string; message: RegExp }[]][] = [
    [{}, [{ path: '/guids', message: /required/ }]],
    [{ guids: [] }, [{ path: '/guids', message: /fewer than 1/ }]],
    [{ guids: ['ada', 'bob', 'ada'] }, [{ path: '/guids', message: /items ## 2 and 0 are identical/ }]],
    [
      { guids: ['ada', 'b b', 'carol', 7, 'a'.repeat(129)] },
      [1, 3, 4].map(index => ({ path: `/guids/${index}`, message: /./ })),
    ],
    [{ guids: names(501) }, [{ path: '/guids', message: /more than 500/ }]],
    [{ guids: Array(60_000).fill(0) }, [{ path: '/guids', message: /more than 500/ }]],
    [{ guids: ['ada'], min_ttl: -1 }, [{ path: '/min_ttl', message: /./ }]],
    [{ guids: ['ada'], more: 1 }, [{ path: '/more', message: /not a known field/ }]],
  ]
  for (const [body, errors] of cases) {
    const answer = await client.send('POST', '/v1/tokens', body)
    t.match(answer, { status: 400, body: { code: 'validation_failed', errors } })
    t.equal(answer.body.errors.length, errors.length)
  }
  t.strictSame(await commands(), [])
})

t.test('a renewal that is under way is waited for; one that hangs is told of that person alone', async t => {
  const stack = await startStack(t, redis.url, {}, { HEALTHTAP_TIMEOUT_MS: '1000' })
  const { gateway, sandbox } = stack
  const [client, other] = [await gateway(), await gateway()]
  await connect(stack, ['ada', 'bob'])
  const [slow, hanging] = await Promise.all(['slow', 'hanging'].map(username => sandbox.grant({ username })))
  const guids = ['ada', slow?.guid ?? '', 'bob', hanging?.guid ?? '']
  for (const [one, latency_ms] of [
    [slow, 300],
    [hanging, 60_000],
  ] as const) {
    const { guid = '', access_token, refresh_token } = one ?? {}
    await sandbox.addFault({ operation: 'refresh', kind: 'latency', latency_ms, guid })
    await client.send('PUT', `/v1/grants/${guid}`, { access_token, refresh_token, expires_in: 0 })
  }
  const single = other.get(`/v1/grants/${slow?.guid}/token`)
  const results = await resultsOf(client, guids)
  const [ada, ofSlow, bob, ofHanging] = results.map(told)
  t.strictSame([ada, bob, ofSlow], ['ada 1', 'bob 1', `${slow?.guid} 2`])
  t.equal(ofHanging, `${hanging?.guid} provider_unavailable`)
  t.ok((results[3]?.problem?.retry_after ?? 0) >= 1)
  t.match((await single).body, { access_token: results[1]?.token?.access_token })
  t.equal((await sandbox.counts()).grants[slow?.guid ?? '']?.refreshes, 1, 'renewed once')
  await sandbox.clearFaults()
})

t.test('Redis is gone: who is in memory is answered, and where nobody is, the request is refused', async t => {
  const server = await startRedis()
  t.teardown(server.stop)
  const stack = await startStack(t, server.url)
  const { environment, gateway, logged } = stack
  const [reader, fresh] = [await gateway(), await gateway()]
  await answers(server.port, `PUBSUB NUMSUB ${createKeys(environment.REDIS_PREFIX ?? '').channel}`, /\r\n:2\r\n/)
  await connect(stack, names(6))
  await resultsOf(reader, names(3))
  await server.kill('SIGKILL')
  t.strictSame((await resultsOf(reader, names(6))).map(told), [
    ...names(3).map(guid => `${guid} 1`),
    ...['g3', 'g4', 'g5'].map(guid => `${guid} store_unavailable`),
  ])
  t.match(await resultsOf(reader, ['g5', 'g0']), [{ problem: { status: 503, retry_after: 1 } }, { token: Object }])
  const answer = await fresh.send('POST', '/v1/tokens', { guids: names(6) })
  t.match(answer, { status: 503, body: { code: 'store_unavailable' } })
  t.equal(answer.headers.get('retry-after'), '1')
  const lines = auditLinesIn(logged.join('')).map(line => JSON.parse(line))
  const refused = lines.filter(line => line.request_id === answer.body.request_id)
  t.match(
    refused,
    names(6).map(guid => ({ guid, outcome: 'store_unavailable', status: 503, token: null })),
  )
})

t.test('a cluster is asked in the same way', async t => {
  const server = await startRedis({ cluster: true })
  t.teardown(server.stop)
  const stack = await startStack(t, server.url)
  const { environment, gateway } = stack
  const client = await gateway()
  const { commands, keys } = await listenTo(t, server, environment.REDIS_PREFIX ?? '')
  const guids = names(200)
  await connect(stack, guids)
  await commands()
  t.strictSame(
    (await resultsOf(client, guids)).map(told),
    guids.map(guid => `${guid} 1`),
  )
  t.equal((await commands()).length, new Set(guids.map(keys.shardOf)).size)
})

t.test('each guid counts against the limits: its own, and as many as there are against the caller\u2019s', async t => {
  const limits = { RATE_LIMIT_PER_CALLER: '2', RATE_LIMIT_PER_GUID: '1' }
  const [busy, other, many] = ['busy', 'other', 'many'].map(name => newCaller(name, ['token:read']))
  const entries = [busy?.entry, { ...other?.entry, rate_limit: 0 }, { ...many?.entry, rate_limit: 1, guids: ['x'] }]
  const { gateway } = await startStack(t, redis.url, {}, { ...limits, CALLERS: JSON.stringify(entries) })
  const client = await gateway()
  const as = (caller: typeof busy, body: object) =>
    client.send('POST', '/v1/tokens', body, { authorization: `Bearer ${caller?.apiKey}` })

  t.match(await as(busy, { guids: names(15) }), { status: 200 })
  const refused = await as(busy, { guids: names(6) })
  t.match(refused, { status: 429, body: { code: 'rate_limited', detail: /The caller busy .* rotates_at/ } })
  t.ok(Number(refused.headers.get('retry-after')) >= 1)
  t.match(await as(busy, { guids: names(4) }), { status: 200 }, 'what was refused was not counted')
  t.match(await as(busy, { guids: 'nonsense' }), { status: 400 }, 'what does not fit counts as one')
  t.match(await as(busy, { guids: ['g0'] }), { status: 429 })
  t.match(await as(other, { guids: names(21) }), { status: 200 }, 'a limit of its own')
  t.match(await as(many, { guids: names(11) }), { status: 429, body: { detail: /may ask for 10 at once at most/ } })

  const ofG0 = (answer: Answer) => answer.body.results[0].problem.code
  let answer = await as(other, { guids: ['g0', 'g20'] })
  for (let times = 0; times < 30 && ofG0(answer) !== 'rate_limited'; times += 1) {
    answer = await as(other, { guids: ['g0', 'g20'] })
  }
  t.match(answer.body.results, [
    { guid: 'g0', problem: { code: 'rate_limited', status: 429, retry_after: Number } },
    { guid: 'g20', problem: { code: 'grant_not_found' } },
  ])
  // Whoever may not reach somebody takes nothing from those who may.
  for (let times = 0; times < 3; times += 1) await as(many, { guids: ['y', 'z', 'w'] })
  const { results } = (await as(other, { guids: ['y'] })).body
  for (let times = 0; times < 9; times += 1) await as(other, { guids: ['y'] })
  t.match(
    [...results, ...(await as(other, { guids: ['y'] })).body.results],
    [{ problem: { code: 'grant_not_found' } }, { problem: { code: 'rate_limited' } }],
  )
})

t.test('whom a caller may not reach is not looked up, and a grant beyond its scopes is not renewed', async t => {
  const [everything, ofAda, reader] = ['everything', 'of-ada', 'reader'].map(name => newCaller(name, ['*']))
  const entries = [
    everything?.entry,
    { ...ofAda?.entry, guids: ['ada'] },
    { ...reader?.entry, scopes: ['profile_read'] },
  ]
  const { environment, gateway, sandbox } = await startStack(t, redis.url, {}, { CALLERS: JSON.stringify(entries) })
  const client = await gateway()
  const { commands } = await listenTo(t, redis, environment.REDIS_PREFIX ?? '')
  const as = async (caller: typeof reader, method: string, path: string, body: object) =>
    (await client.send(method, path, body, { authorization: `Bearer ${caller?.apiKey}` })).body
  for (const [guid, scope] of [
    ['ada', 'profile_read'],
    ['bob', 'profile_read profile_write'],
  ]) {
    const pair = { access_token: `a-${guid}`, refresh_token: `r-${guid}`, expires_in: 7_200, scope }
    await as(everything, 'PUT', `/v1/grants/${guid}`, pair)
  }
  const before = (await sandbox.counts()).totals
  await commands()
  const { results } = await as(ofAda, 'POST', '/v1/tokens', { guids: ['bob', 'ada', 'nobody'] })
  t.strictSame(results.map(told), ['bob forbidden', 'ada 1', 'nobody forbidden'])
  t.strictSame(
    (await commands()).flatMap(({ guids }) => guids),
    ['ada'],
  )
  const byScope = await as(reader, 'POST', '/v1/tokens', { guids: ['bob', 'ada', 'nobody'], min_ttl: 7_100 })
  t.strictSame(byScope.results.map(told), ['bob forbidden', 'ada 1', 'nobody grant_not_found'])
  t.strictSame((await sandbox.counts()).totals, before)
})
