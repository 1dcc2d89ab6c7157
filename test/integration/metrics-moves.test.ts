/** Each figure moves when the thing happens: real gateways, a real Redis, the sandbox and its faults. */
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { newCaller } from '../../src/cli/keys.ts'
import { createMetrics } from '../../src/metrics.ts'
import { Secret } from '../../src/ports/secret.ts'
import { createHealthTap } from '../../src/provider/healthtap.ts'
import { createKeys } from '../../src/store/redis/keys.ts'
import { startApp } from '../support/app.ts'
import { startCollector } from '../support/collector.ts'
import { type Exposed, parseMetrics } from '../support/metrics.ts'
import { metricsTable } from '../support/metrics-table.ts'
import { ask, startRedis } from '../support/redis.ts'
import { type GatewayClient, startStack } from '../support/stack.ts'

type Labels = Readonly<Record<string, string>>

/** Everything that was told in this file. */
const told: Exposed[] = []

async function scrape(client: Pick<GatewayClient, 'get'>): Promise<Exposed> {
  const { status, body } = await client.get('/metrics')
  if (status !== 200) throw new Error(`a scrape was answered ${status}`)
  told.push(parseMetrics(body))
  return told.at(-1) as Exposed
}

/** What `work` adds to figures: `[name, labels, by how much]`. What the gateway does by itself meanwhile adds `some`. */
async function moves(
  t: Test,
  client: GatewayClient,
  work: () => Promise<unknown>,
  expected: readonly (readonly [string, Labels, number | 'some'])[],
): Promise<void> {
  const before = await scrape(client)
  await work()
  const after = await scrape(client)
  for (const [name, labels, by] of expected) {
    const moved = (after.value(name, labels) ?? 0) - (before.value(name, labels) ?? 0)
    t.ok(by === 'some' ? moved > 0 : moved === by, `${name} ${JSON.stringify(labels)} by ${by}: ${moved}`)
  }
}

/** Scrapes until it is so. */
async function until(client: GatewayClient, isSo: (told: Exposed) => boolean): Promise<Exposed> {
  for (;;) {
    const told = await scrape(client)
    if (isSo(told)) return told
  }
}

async function startTogether(t: Test, settings: Record<string, string> = {}) {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const stack = await startStack(t, redis.url, {}, settings)
  const client = await stack.gateway()
  const provision = async (username: string) =>
    (await client.send('POST', '/v1/users', { username })).body.guid as string
  const report = (guid: string, version: number) => client.send('POST', `/v1/grants/${guid}/refresh`, { version })
  const signIn = async () => {
    const code = await stack.sandbox.code()
    return await client.send('POST', '/v1/grants', { code, redirect_uri: stack.redirectUri })
  }
  return { ...stack, redis, client, provision, report, signIn }
}

const requests = (operation: string, outcome: string, times: number) =>
  ['htgw_provider_request_duration_seconds_count', { operation, outcome }, times] as const
const refreshes = (outcome: string, times = 1) => ['htgw_refreshes_total', { outcome }, times] as const

t.test('tokens, grants, and what the provider is asked', async t => {
  const { client, provision, report, sandbox, signIn } = await startTogether(t)
  let guid = ''
  const provisioned = async () => {
    guid = await provision('4711')
  }
  await moves(t, client, provisioned, [
    ['htgw_grants_stored_total', { origin: 'provisioning' }, 1],
    ['htgw_redis_command_duration_seconds_count', { command: 'write_record' }, 'some'],
    requests('create_user', 'ok', 1),
  ])
  t.equal((await scrape(client)).value('htgw_provider_clock_skew_seconds'), 0, 'it is the same clock')

  await moves(t, client, () => client.get(`/v1/grants/${guid}/token`), [
    ['htgw_tokens_served_total', { source: 'stored' }, 1],
    ['htgw_token_remaining_life_seconds_count', {}, 1],
    ['htgw_token_remaining_life_seconds_bucket', { le: '3600' }, 0],
    ['htgw_token_remaining_life_seconds_bucket', { le: '7200' }, 1],
    ['htgw_redis_command_duration_seconds_count', { command: 'get' }, 'some'],
  ])
  await moves(t, client, () => client.get(`/v1/grants/${guid}/token`, 'a wrong key'), [
    ['htgw_requests_refused_total', { reason: 'unauthorized', caller: '' }, 1],
    ['htgw_tokens_served_total', {}, 0],
  ])
  await moves(t, client, () => report(guid, 1), [
    ['htgw_tokens_served_total', { source: 'renewed' }, 1],
    refreshes('renewed'),
    requests('refresh', 'ok', 1),
    ['htgw_refresh_lag_seconds_count', {}, 0],
  ])
  await moves(t, client, signIn, [
    ['htgw_grants_stored_total', { origin: 'authorization_code' }, 1],
    requests('exchange', 'ok', 1),
  ])
  await moves(t, client, signIn, [
    ['htgw_grants_stored_total', { origin: 'authorization_code' }, 1],
    requests('identify', 'ok', 0),
  ])
  await until(client, told => told.value('htgw_pairs_revoked_total', { confirmed: 'true' }) === 1)
  const { access_token, refresh_token, guid: other } = await sandbox.grant({ username: 'bob' })
  const imported = { access_token, refresh_token, expires_in: 7_000 }
  await moves(t, client, () => client.send('PUT', `/v1/grants/${other}`, imported), [
    ['htgw_grants_stored_total', { origin: 'import' }, 1],
  ])
  await moves(t, client, () => client.send('DELETE', `/v1/grants/${other}`), [
    ['htgw_grants_revoked_total', {}, 1],
    requests('revoke', 'ok', 1),
  ])
})

t.test('batches: each token that is given out, and each problem within', async t => {
  const ada = newCaller('of-ada', ['*'])
  const first = newCaller('first', ['*'])
  const callers = [first.entry, { ...ada.entry, guids: ['ada'] }]
  const { client, redis, environment } = await startTogether(t, { CALLERS: JSON.stringify(callers) })
  const pair = { access_token: 'an access token', refresh_token: 'a refresh token', expires_in: 7_200 }
  const batch = (guids: readonly string[], apiKey = first.apiKey) =>
    client.send('POST', '/v1/tokens', { guids }, { authorization: `Bearer ${apiKey}` })
  const imported = (guid: string) => {
    const tokens = { ...pair, access_token: `a-${guid}`, refresh_token: `r-${guid}` }
    return client.send('PUT', `/v1/grants/${guid}`, tokens, { authorization: `Bearer ${first.apiKey}` })
  }
  for (const guid of ['ada', 'bob', 'carol']) t.match(await imported(guid), { status: 201 })
  const keys = createKeys(environment.REDIS_PREFIX ?? '')
  await ask(redis.port, `APPEND ${keys.grant('carol')} x`)
  const problems = (code: string, times: number) => ['htgw_batch_problems_total', { code }, times] as const
  const route = { method: 'POST', route: '/v1/tokens' }
  await moves(t, client, () => batch(['ada', 'bob', 'carol', 'nobody']), [
    ['htgw_tokens_served_total', { source: 'stored' }, 2],
    ['htgw_token_remaining_life_seconds_count', {}, 2],
    problems('internal_error', 1),
    problems('grant_not_found', 1),
    ['htgw_records_unreadable_total', {}, 1],
    ['htgw_redis_command_duration_seconds_count', { command: 'mget' }, 'some'],
    ['htgw_request_duration_seconds_count', { ...route, status: '200' }, 1],
    ['htgw_request_duration_seconds_count', { ...route, status: '500' }, 0],
  ])
  await moves(t, client, () => batch(['ada', 'bob', 'eve'], ada.apiKey), [
    ['htgw_tokens_served_total', {}, 1],
    problems('forbidden', 2),
    ['htgw_requests_refused_total', { reason: 'forbidden', caller: 'of-ada' }, 2],
  ])
  await redis.kill('SIGKILL')
  await moves(t, client, () => batch(['nobody', 'somebody']), [
    ['htgw_batch_problems_total', {}, 0],
    ['htgw_request_duration_seconds_count', { ...route, status: '503' }, 1],
  ])
})

t.test('renewals that fail, and grants that end by it', async t => {
  const { client, provision, report, sandbox } = await startTogether(t)
  const [first, second] = [await provision('first'), await provision('second')]

  await sandbox.addFault({ operation: 'refresh', kind: 'status_before', status: 503, times: 1 })
  await moves(t, client, () => report(first, 1), [refreshes('in_doubt'), requests('refresh', 'unknown', 1)])
  // It is tried again by itself.
  await until(client, told => told.value('htgw_refreshes_total', { outcome: 'renewed' }) === 1)

  await sandbox.send(`/sandbox/revoke-user/${second}`, { method: 'POST' })
  await moves(t, client, () => report(second, 1), [
    refreshes('ended'),
    requests('refresh', 'rejected', 1),
    ['htgw_grants_ended_total', { cause: 'provider' }, 1],
    ['htgw_grants_ended_total', { cause: 'lost' }, 0],
  ])

  // Done, and denied: the pair that the provider has made is lost.
  const third = await provision('third')
  await sandbox.addFault({ operation: 'refresh', kind: 'status_after', status: 503, guid: third })
  await report(third, 1)
  await sandbox.clearFaults()
  while ((await report(third, 1)).status !== 409);
  t.equal((await scrape(client)).value('htgw_grants_ended_total', { cause: 'lost' }), 1)

  const fourth = await provision('fourth')
  await sandbox.sendJson('/sandbox/settings', { app_secret: 'another' }, {}, 'PUT')
  await moves(t, client, () => report(fourth, 1), [
    refreshes('client_refused'),
    requests('refresh', 'client_refused', 1),
    ['htgw_breaker_state', { state: 'client_refused' }, 1],
    ['htgw_breaker_state', { state: 'closed' }, -1],
  ])
  await sandbox.sendJson('/sandbox/settings', { app_secret: sandbox.options.appSecret }, {}, 'PUT')
  const mended = await until(client, told => told.value('htgw_breaker_state', { state: 'closed' }) === 1)
  t.ok((mended.value('htgw_provider_request_duration_seconds_count', { operation: 'probe', outcome: 'ok' }) ?? 0) > 0)

  const fifth = await provision('fifth')
  await sandbox.addFault({ operation: 'refresh', kind: 'rate_limited', retry_after: 60, guid: fifth })
  await moves(t, client, () => report(fifth, 1), [
    refreshes('failed'),
    requests('refresh', 'unavailable', 1),
    ['htgw_breaker_state', { state: 'paused' }, 1],
  ])
})

t.test('all grants are counted, and the backlog is told', async t => {
  const { client, environment, gateway, provision, redis } = await startTogether(t)
  for (const name of ['a', 'b', 'c']) await provision(name)
  await client.send('DELETE', `/v1/grants/${await provision('d')}`)
  const early = await scrape(client)
  t.equal(early.value('htgw_grants_due'), 0)
  t.equal(early.value('htgw_grants_due_oldest_age_seconds'), 0)

  // As if the count of the start, when there were none, were a minute old.
  const keys = await ask(redis.port, `KEYS ${environment.REDIS_PREFIX}:*:census:grants`)
  await ask(redis.port, `DEL ${/^htgw.*|^t\d.*/m.exec(keys)?.[0].trim()}`)
  const other = await gateway()
  const counted = (told: Exposed) => told.value('htgw_grants', { status: 'active' }) === 3
  const told = await until(other, counted)
  t.equal(told.value('htgw_grants'), 3)
  t.equal(told.value('htgw_grants_lapsing'), 0)
  t.ok((await until(client, counted)).value('htgw_grants_counted_timestamp_seconds'), 'one has counted, both tell')
})

t.test('Redis says nothing any more: a scrape is answered, and what is not known is absent', async t => {
  const { client, logged, provision, redis, report, sandbox } = await startTogether(t)
  const guid = await provision('4711')
  // A pair comes from the provider when the store does not take it any more.
  await sandbox.addFault({ operation: 'refresh', kind: 'latency', latency_ms: 60_000, times: 1 })
  const refreshing = report(guid, 1)
  while (((await sandbox.counts()).faults.latency ?? 0) === 0);
  await redis.kill('SIGSTOP')
  await sandbox.clearFaults()
  while (!logged.some(line => line.includes('commit.delayed'))) await client.get('/health/live')

  const away = await until(client, told => (told.value('htgw_redis_command_errors_total') ?? 0) > 0)
  t.equal(away.value('htgw_store_up'), 0)
  for (const name of ['htgw_grants', 'htgw_grants_due', 'htgw_grants_due_oldest_age_seconds']) {
    t.equal(away.value(name), undefined, name)
  }
  t.equal(away.value('htgw_journal_entries'), 1)
  t.equal(away.value('htgw_journal_writable'), 1)
  t.equal(away.value('htgw_commits_delayed_total', { journaled: 'true' }), 1)
  await until(client, told => (told.value('htgw_refresher_failures_total', { reason: 'store_unavailable' }) ?? 0) > 0)

  await redis.kill('SIGCONT')
  t.equal((await refreshing).status, 200)
  const back = await until(client, told => told.value('htgw_store_up') === 1)
  t.equal(back.value('htgw_grants_due'), 0)
  t.equal(back.value('htgw_refreshes_total', { outcome: 'renewed' }), 1)
})

t.test('a record that does not open, a refused command, and an audit stream without a disk', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'htgw-audit-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const auditLog = join(directory, 'audit.jsonl')
  symlinkSync('/dev/full', auditLog)
  const { client, environment, provision, redis } = await startTogether(t, { AUDIT_LOG: auditLog })
  const guid = await provision('4711')
  const key = await ask(redis.port, `KEYS ${environment.REDIS_PREFIX}:*:grant:${guid}`)
  await ask(redis.port, `APPEND ${/^t\d.*/m.exec(key)?.[0].trim()} x`)
  await moves(t, client, () => client.get(`/v1/grants/${guid}/token`), [['htgw_records_unreadable_total', {}, 1]])
  await until(client, told => told.value('htgw_audit_writable') === 0)

  // The first count writes its figures too: it must be through.
  await until(client, told => told.value('htgw_grants_counted_timestamp_seconds') !== undefined)
  await ask(redis.port, 'CONFIG SET maxmemory 1')
  await moves(t, client, () => client.send('POST', '/v1/users', { username: 'another' }), [
    ['htgw_redis_command_errors_total', { command: 'write_record', reason: 'OOM' }, 1],
  ])
})

t.test('grants that are due, and for how long, and how late a renewal was', async t => {
  const { clock, provider, send } = await startApp(t)
  const guid = 'ada'
  const read = async () => parseMetrics((await send('GET', '/metrics')).body)
  const pair = { access_token: 'a'.repeat(32), refresh_token: 'r'.repeat(32), expires_in: 7_200 }
  await send('PUT', `/v1/grants/${guid}`, pair)
  t.equal((await read()).value('htgw_grants_due'), 0)
  // The process sleeps through the time at which it is due.
  clock.jump(7_190_000)
  const told = await read()
  t.equal(told.value('htgw_grants_due'), 1)
  const age = told.value('htgw_grants_due_oldest_age_seconds') ?? 0
  t.ok(age > 400 && age < 600, `${age} s`)
  t.equal(told.value('htgw_journal_writable'), undefined, 'there is none')

  provider.next('refresh', () => ({ kind: 'rejected', upstream: { error: 'invalid_grant' } }))
  await clock.advance(1_000)
  await clock.advance(5_000)
  t.equal((await read()).value('htgw_grants_due'), 0)
  t.equal((await read()).value('htgw_refreshes_total', { outcome: 'ended' }), 1)
  await send('PUT', `/v1/grants/${guid}`, { ...pair, refresh_token: 'q'.repeat(32) })
  clock.jump(7_190_000)
  await clock.advance(1_000)
  const late = await read()
  t.equal(late.value('htgw_refresh_lag_seconds_count'), 1)
  t.ok(Math.abs((late.value('htgw_refresh_lag_seconds_sum') ?? 0) - age) < 2)
  await clock.advance(60_000)
  t.equal((await read()).value('htgw_grants', { status: 'active' }), 1)
})

t.test('a provider whose clock goes wrong', async t => {
  const server = createServer((_request, response) => {
    response.setHeader('date', new Date(Date.now() + 3_600_000).toUTCString()).end('{}')
  }).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const metrics = createMetrics()
  const inner = createHealthTap({
    appId: 'app',
    appSecret: new Secret('secret'),
    appSecretNext: null,
    authorizeUrl: url,
    apiUrl: url,
    identityUrl: `${url}/me`,
    identityPointer: '/guid',
    redirectUri: 'https://app.example/cb',
    timeoutMs: 5_000,
    connections: 1,
    onDate: metrics.provider.dated,
  })
  t.teardown(() => inner.close())
  const provider = metrics.provider.measured(inner, { hasIdentityUrl: true })
  t.equal(parseMetrics(await metrics.text()).value('htgw_provider_clock_skew_seconds'), undefined)
  await provider.revoke(new Secret('token'))
  await provider.identify(new Secret('token'))
  await provider.probe()
  const told = parseMetrics(await metrics.text())
  const skew = told.value('htgw_provider_clock_skew_seconds') ?? 0
  t.ok(skew > 3_590 && skew <= 3_600, `${skew} s`)
  for (const [operation, outcome] of [
    ['revoke', 'ok'],
    ['identify', 'ok'],
    ['probe', 'unknown'],
  ] as const) {
    const labels = { operation, outcome }
    t.equal(told.value('htgw_provider_request_duration_seconds_count', labels), 1, operation)
  }
  t.equal(
    provider.authorizationUrl({ redirectUri: 'x', scope: 's', state: 'z', codeVerifier: null }).startsWith(url),
    true,
  )
})

t.test('spans, while the collector takes them and when it does not', async t => {
  const collector = await startCollector(t)
  const { client, provision } = await startTogether(t, { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url })
  await moves(t, client, () => provision('ada').then(() => until(client, spans('delivered'))), [
    ['htgw_trace_spans_total', { result: 'delivered' }, 'some'],
    ['htgw_trace_spans_total', { result: 'dropped' }, 0],
  ])
  collector.answerWith(400)
  await moves(t, client, () => provision('bob').then(() => until(client, spans('dropped'))), [
    ['htgw_trace_spans_total', { result: 'delivered' }, 0],
    ['htgw_trace_spans_total', { result: 'dropped' }, 'some'],
  ])
})

const spans = (result: string) => (told: Exposed) => (told.value('htgw_trace_spans_total', { result }) ?? 0) > 0

t.test('what is told stands in the table of docs/metrics.md, and the other way round', async t => {
  const table = metricsTable()
  const declared = new Map(told.flatMap(({ types }) => [...types]).filter(([name]) => name.startsWith('htgw_')))
  t.strictSame([...declared.keys()].sort(), [...table.keys()].sort())
  for (const [name, kind] of declared) t.equal(table.get(name)?.kind, kind, name)

  const wrong = new Set<string>()
  const seen = new Set<string>()
  for (const { name, labels } of told.flatMap(({ samples }) => samples)) {
    const base = declared.has(name) ? name : name.replace(/_(bucket|sum|count)$/, '')
    seen.add(base)
    for (const [label, value] of Object.entries(labels)) {
      const values = table.get(base)?.labels.get(label)
      if (name.startsWith('htgw_') && label !== 'le' && (!values || (values.length > 0 && !values.includes(value)))) {
        wrong.add(`${base} ${label}="${value}"`)
      }
    }
  }
  t.strictSame([...wrong], [])
  t.strictSame(
    [...table.keys()].filter(name => !seen.has(name)),
    [],
    'each has been seen with a value',
  )
})
