/** `doctor` on real servers: what is healthy passes, and each thing that is not is found, told, and nothing is changed by looking. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { SandboxDriver } from '../../sandbox/driver.ts'
import type { Check } from '../../src/cli/doctor/check.ts'
import { doctor } from '../../src/cli/doctor/index.ts'
import { newAuditKey, newEncryptionKey } from '../../src/cli/keys.ts'
import type { Environment } from '../../src/config.ts'
import { encryptionKeys } from '../../src/settings/forms.ts'
import { systemClock } from '../../src/system/clock.ts'
import { openRedisStores } from '../contract/redis-stores.ts'
import { knownGrant } from '../support/key-drill.ts'
import { program } from '../support/program.ts'
import { answers, ask, freePort, type RedisServer, startRedis } from '../support/redis.ts'
import { startCluster, startSentinels } from '../support/redis-deployments.ts'
import { startStack } from '../support/stack.ts'
import { startProxy } from '../support/tcp-proxy.ts'

const ACCEPTED = '{"access_token":"a","refresh_token":"b","token_type":"bearer"}'
const DURABLE = ['--appendonly', 'yes']
const redis = await startRedis({ args: DURABLE })
t.teardown(() => redis.stop())

/** For what the deployment itself would not ask; it goes before its server does. */
function rawOf(t: Test, { port }: { port: number } = redis): Redis {
  const raw = new Redis({ port })
  raw.on('error', () => {})
  t.teardown(() => raw.disconnect())
  return raw
}

async function serverOf(t: Test, args: readonly string[]): Promise<RedisServer> {
  const server = await startRedis({ args })
  t.teardown(server.stop)
  return server
}

/** A deployment with nothing wrong with it, whose gateways need not run. */
async function deploymentOf(t: Test, more: Record<string, string> = {}) {
  const stack = await startStack(t, redis.url, {}, { AUDIT_KEY: newAuditKey(), ...more })
  return { ...stack, sandbox: stack.sandbox as SandboxDriver }
}

async function run(environment: Environment, now?: () => number) {
  const printed: string[] = []
  const exitCode = await doctor({ json: true }, line => printed.push(line), environment, now)
  const { ok, checks } = JSON.parse(printed.join('\n')) as { ok: boolean; checks: readonly Check[] }
  return {
    exitCode,
    ok,
    checks,
    /** `status text` under this name. */
    of: (name: string) => checks.filter(check => check.name === name).map(({ status, text }) => `${status} ${text}`),
    /** How long this machine takes depends on what else it does. */
    bad: checks.filter(({ name, status }) => status !== 'ok' && name !== 'redis latency'),
  }
}

t.test('a deployment with nothing wrong: a line a check, exit 0', async t => {
  const { environment, gateway, sandbox } = await deploymentOf(t)
  const running = await gateway()
  await running.send('POST', '/v1/users', { username: 'ada' })
  await answers(redis.port, `PUBSUB NUMSUB ${environment.REDIS_PREFIX}:settled`, /\r\n:1\r\n/)
  const before = await sandbox.counts()
  const { bad, checks, exitCode, of } = await run({ ...environment, PORT: new URL(running.url).port })
  t.strictSame([exitCode, bad], [0, []])
  t.match(of('ports'), [/a gateway listens there/])
  t.match(of('redis gateways'), ['ok 1 connected'])
  t.match(of('redis records'), [/^ok all of a sample of \d+ can be opened/])
  t.ok(checks.length > 20)
  const after = await sandbox.counts()
  t.strictSame(after.grants, before.grants)
  const { exchange, ...others } = after.totals
  t.strictSame([exchange, others], [{ invalid_grant: 1 }, before.totals], 'a made-up code was refused, and that is all')

  const lines: string[] = []
  t.equal(await doctor({ json: false }, line => lines.push(line), { ...environment, PORT: '0' }), 0)
  t.match(lines[0], /^ok {4}settings +complete$/)
  t.notMatch(lines.join('\n'), new RegExp(environment.HEALTHTAP_APP_SECRET ?? ''))
})

t.test('settings: each that is missing, wrong or misspelled has its line', async t => {
  const { checks, exitCode, of } = await run({ REDIS_URL: 'nonsense', REQUIRE_STAT: 'true' })
  t.equal(exitCode, 1)
  t.match(of('settings').join('\n'), /failed HEALTHTAP_APP_ID is missing(.|\n)*failed REDIS_URL has to be/)
  t.match(checks.at(-1), { name: 'everything else', status: 'unknown' })
  t.ok(
    of('settings').includes('warning REQUIRE_STAT is no setting, and says nothing: is it REQUIRE_STATE that is meant?'),
  )
  const { environment } = await deploymentOf(t)
  const misspelled = await run({ ...environment, HEALTHTAP_TIMEOUT: '5000' })
  t.strictSame(misspelled.of('settings'), ['warning HEALTHTAP_TIMEOUT is no setting, and says nothing'])
  t.equal(misspelled.exitCode, 0)
})

t.test('a Redis that is away, or refuses us', async t => {
  const { environment } = await deploymentOf(t)
  const reachable = async (url: string) => (await run({ ...environment, REDIS_URL: url })).of('redis reachable')
  t.match(await reachable(`redis://127.0.0.1:${await freePort()}`), [
    /^failed no answer \(ECONNREFUSED\): check REDIS_URL/,
  ])
  const locked = await serverOf(t, DURABLE)
  await ask(locked.port, 'CONFIG SET requirepass secret')
  t.match(await reachable(locked.url), [/^failed refuses us \(NOAUTH\): check user and password/])
  const wrong = await reachable(locked.url.replace('redis://', 'redis://:guess@'))
  t.match(wrong, [/^failed refuses us \(WRONGPASS\)/])
  t.notMatch(wrong.join(), /guess/)
  t.match(await reachable(locked.url.replace('redis://', 'redis://:secret@')), [/^ok/])
})

t.test('what a Redis does with its data', async t => {
  const { environment } = await deploymentOf(t)
  const on = async (...args: readonly string[]) => {
    return await run({ ...environment, REDIS_URL: (await serverOf(t, args)).url })
  }
  const careless = await on('--maxmemory-policy', 'allkeys-lru', '--maxmemory', '100mb')
  t.equal(careless.exitCode, 1)
  t.match(careless.of('redis eviction'), [/^failed allkeys-lru: set maxmemory-policy noeviction/])
  t.match(careless.of('redis persistence'), [/^failed off: set appendonly yes/])
  const snapshots = await on('--save', '60 1')
  t.match(snapshots.of('redis durability'), [/^warning snapshots at most/])
  t.equal(snapshots.exitCode, 0, 'a warning is no failure')
  t.match((await on(...DURABLE, '--appendfsync', 'no')).of('redis durability'), [/^warning appendfsync no/])
  const alone = await on(...DURABLE, '--min-replicas-to-write', '1')
  t.match(alone.of('redis replicas'), [/^failed 0, and min-replicas-to-write is 1: writes are refused/])

  const broken = await serverOf(t, ['--save', '3600 1', '--enable-protected-configs', 'yes'])
  const raw = rawOf(t, broken)
  await raw.set('x', '1')
  t.equal(await raw.config('SET', 'dir', '/proc'), 'OK', 'where no file can be made')
  await raw.bgsave().catch(() => {})
  while (!/rdb_last_bgsave_status:err/.test(await raw.info('persistence'))) await raw.time()
  t.match((await run({ ...environment, REDIS_URL: broken.url })).of('redis durability'), [
    /^failed its last write to disk/,
  ])
})

t.test('memory that runs short', async t => {
  const { environment } = await deploymentOf(t)
  const server = await serverOf(t, DURABLE)
  const raw = rawOf(t, server)
  // So large that what its clients need does not matter.
  await raw.setrange('ballast', 30_000_000, 'x')
  const used = Number(/used_memory:(\d+)/.exec(await raw.info('memory'))?.[1])
  const memory = async (part: number) => {
    await raw.config('SET', 'maxmemory', Math.round(used / part))
    return (await run({ ...environment, REDIS_URL: server.url })).of('redis memory')
  }
  t.match(await memory(0.1), [/^ok \d+ of maxmemory/])
  t.match(await memory(0.8), [/^warning .* give Redis more memory before it is full/])
  t.match(await memory(0.96), [/^failed .* writes are about to be refused/])
})

t.test('a Redis that is far away', async t => {
  const { environment } = await deploymentOf(t)
  const port = await startProxy(t, redis.port, { answersLateMs: 60 })
  const { of } = await run({ ...environment, REDIS_URL: `redis://127.0.0.1:${port}` })
  t.match(of('redis latency'), [/^failed \d+\.\d ms there and back: every write waits for it/])
})

t.test('clocks: of Redis, and of the provider', async t => {
  const { environment } = await deploymentOf(t)
  const ahead = await run(environment, () => Date.now() + 60_000)
  t.equal(ahead.exitCode, 1)
  t.match(ahead.of('redis clock'), [/^failed (59|60|61)\.\d s behind this machine/])
  t.match(ahead.of('provider clock'), [/^failed (5\d|6\d)\.\d s behind this machine/])
  const behind = await run(environment, () => Date.now() - 60_000)
  t.match(behind.of('redis clock'), [/^failed (59|60|61)\.\d s ahead of this machine/])
  t.match(behind.of('provider clock'), [/^failed (5\d|6\d)\.\d s ahead of this machine/])
})

t.test('records that these keys do not open', async t => {
  const [k0, k1, k2] = ['k0', 'k1', 'k2'].map(id => newEncryptionKey().replace(/^[^:]+/, id)) as [
    string,
    string,
    string,
  ]
  const { environment } = await deploymentOf(t)
  const records = async (keys: string) => (await run({ ...environment, ENCRYPTION_KEYS: keys })).of('redis records')
  t.strictSame(await records(k1), ['ok none there yet'])
  const write = async (keys: string, guid: string) => {
    const stores = openRedisStores(redis, systemClock, {
      prefix: environment.REDIS_PREFIX ?? '',
      keys: encryptionKeys(keys),
    })
    await stores.grants.write(guid, 0, knownGrant(guid, Date.now()))
    await stores.close()
  }
  await write(k1, 'ada')
  t.strictSame(await records(k1), ['ok all of a sample of 1 can be opened'])
  t.strictSame(await records(`${k2},${k1}`), [
    'warning some are still sealed with k1 (1): run rotate-keys to seal them with k2',
  ])
  await write(k0, 'bob')
  t.strictSame(await records(k1), [
    'failed 1 of 2 looked at: grant bob: sealed with k0, which is not in ENCRYPTION_KEYS: add it at the end',
  ])
  const another = newEncryptionKey().replace(/^[^:]+/, 'k1')
  t.match(await records(`${another},${k0}`), [
    /^failed 1 of 2 looked at: grant ada: altered, or another key/,
    /^warning/,
  ])
})

t.test('grants whose refresh fails again and again are named', async t => {
  const { environment } = await deploymentOf(t)
  const attention = async () => (await run(environment)).of('grants needing attention')
  t.strictSame(await attention(), ['ok none of 0 grants'])
  const stores = openRedisStores(redis, systemClock, {
    prefix: environment.REDIS_PREFIX ?? '',
    keys: encryptionKeys(environment.ENCRYPTION_KEYS ?? ''),
  })
  t.teardown(() => stores.close())
  const write = (guid: string, attempts: number, more = {}) => {
    const lastError = { code: 'provider_response_invalid' as const, atMs: Date.now(), attempts }
    return stores.grants.write(guid, 0, { ...knownGrant(guid, Date.now()), lastError, status: 'active', ...more })
  }
  await write('calm', 4)
  t.strictSame(await attention(), ['ok none of 1 grant'])
  await write('ada', 12, { lastRefreshedAtMs: Date.UTC(2026, 10, 23, 17, 20) })
  t.strictSame(await attention(), [
    'warning ada (provider_response_invalid, 12 failures in a row, last refreshed 2026-11-23T17:20:00Z): see GrantsNeedAttention in docs/metrics.md',
  ])
  for (let index = 0; index < 6; index += 1) await write(`bob-${index}`, 5, { lastRefreshedAtMs: null })
  const [line = ''] = await attention()
  t.match(line, /^warning ada \(.*never refreshed\), 2 more: see GrantsNeedAttention/)
  t.equal(line.match(/bob-/g)?.length, 4)
  const { exitCode } = await run(environment)
  t.equal(exitCode, 0, 'a warning is no failure')
  const away = await run({ ...environment, REDIS_URL: `redis://127.0.0.1:${await freePort()}` })
  t.strictSame(away.of('grants needing attention'), [], 'the line redis reachable says why')
})

t.test('users of Redis who may not do everything', async t => {
  const { environment } = await deploymentOf(t)
  const server = await serverOf(t, DURABLE)
  const raw = rawOf(t, server)
  const as = async (...rules: readonly string[]) => {
    await raw.call('ACL', 'SETUSER', 'app', 'reset', 'on', '>password', '~*', '&*', '+@all', ...rules)
    return await run({ ...environment, REDIS_URL: server.url.replace('redis://', 'redis://app:password@') })
  }
  const less = await as('-info', '-config', '-pubsub')
  t.equal(less.exitCode, 0, 'what cannot be checked has not failed')
  const unknowns = less.checks.filter(({ status }) => status === 'unknown').map(({ name }) => name)
  const asInfo = ['redis version', 'redis eviction', 'redis persistence', 'redis durability', 'redis replicas']
  t.strictSame(unknowns, [...asInfo, 'redis memory', 'redis gateways'])
  const few = await as('-scan', '-time')
  t.equal(few.exitCode, 1)
  t.match(few.of('redis records'), [/^failed does not let this user do what a gateway has to \(NOPERM\)/])
  t.match(few.of('redis eviction'), [/^ok/], 'and the others are told')
})

t.test('sentinels', async t => {
  const { environment } = await deploymentOf(t)
  const deployment = await startSentinels()
  t.teardown(deployment.stop)
  for (const { port } of deployment.servers) await ask(port, 'CONFIG SET appendonly yes')
  const on = (url: string) => run({ ...environment, REDIS_URL: url })
  const whole = await on(deployment.url)
  t.equal(whole.exitCode, 0)
  t.match(whole.of('redis replicas'), [/^warning 2; a master that is cut off goes on taking writes/])
  t.match(whole.of('redis sentinels'), ['ok 3 of 3 can be reached'])
  for (const { port } of deployment.servers) await ask(port, 'CONFIG SET min-replicas-to-write 1')
  t.match((await on(deployment.url)).of('redis replicas'), ['ok 2'])

  const [, replica] = deployment.servers
  t.match((await on(`redis://127.0.0.1:${replica?.port}`)).of('redis replicas'), [/^failed REDIS_URL names a replica/])
  const [first = ''] = deployment.url.replace('redis+sentinel://', '').split('/')[0]?.split(',') ?? []
  t.match((await on(`redis+sentinel://${first}/healthtap`)).of('redis sentinels'), [/^warning 1 in REDIS_URL/])
  await deployment.sentinels[2]?.kill('SIGKILL')
  t.match((await on(deployment.url)).of('redis sentinels'), [/^warning 127\.0\.0\.1:\d+ cannot be reached/])
  await ask(deployment.servers[0]?.port ?? 0, 'CONFIG SET min-replicas-to-write 0')
  for (const { port } of deployment.servers.slice(1)) await ask(port, 'REPLICAOF NO ONE')
  for (const { port } of deployment.sentinels.slice(0, 2)) await ask(port, 'SENTINEL REMOVE healthtap')
  const gone = await on(deployment.url)
  t.match(gone.of('redis reachable'), [/^failed no answer/], 'sentinels that know no such master')
})

t.test('a cluster', async t => {
  const { environment } = await deploymentOf(t)
  const cluster = await startCluster()
  t.teardown(cluster.stop)
  for (const { port } of cluster.servers) {
    await ask(port, 'CONFIG SET appendonly yes')
    await ask(port, 'CONFIG SET min-replicas-to-write 1')
  }
  const on = () => run({ ...environment, REDIS_URL: cluster.url })
  t.strictSame((await on()).bad, [])
  const [, second] = cluster.servers
  await ask(second?.port ?? 0, 'CONFIG SET appendfsync no')
  t.match((await on()).of('redis durability'), [new RegExp(`^warning 127\\.0\\.0\\.1:${second?.port}: appendfsync no`)])
  await cluster.servers[4]?.kill('SIGKILL')
  const info = rawOf(t, { port: second?.port ?? 0 })
  while (!/connected_slaves:0/.test(await info.info('replication'))) await info.ping()
  await info.config('SET', 'min-replicas-to-write', '0')
  const bare = await on()
  t.match(bare.of('redis replicas'), [new RegExp(`^failed 127\\.0\\.0\\.1:${second?.port}: none: nobody takes over`)])
  t.match(bare.of('redis nodes'), [/^warning 127\.0\.0\.1:\d+ cannot be reached/])
  await second?.kill('SIGKILL')
  const first = rawOf(t, { port: cluster.servers[0]?.port ?? 0 })
  while (!/cluster_state:fail/.test(String(await first.cluster('INFO')))) await first.ping()
  const down = await on()
  t.equal(down.exitCode, 1)
  t.match(down.of('redis reachable'), [/^failed (the cluster is down|no answer)/])
})

t.test('the provider: away, broken, no HealthTap, or not taking our credentials', async t => {
  const { environment, sandbox } = await deploymentOf(t)
  const away = await run({ ...environment, HEALTHTAP_API_URL: `http://127.0.0.1:${await freePort()}` })
  t.equal(away.exitCode, 1)
  t.match(away.of('provider reachable'), [/^failed no answer \(ECONNREFUSED\): check HEALTHTAP_API_URL/])
  t.match(away.of('authorize page'), ['ok answers'])

  const web = createServer((request, response) => {
    response.sendDate = false
    response.writeHead(request.url?.startsWith('/broken') ? 503 : 200).end('<html>')
  })
  web.listen(0, '127.0.0.1')
  await once(web, 'listening')
  t.teardown(() => {
    web.closeAllConnections()
    web.close()
  })
  const url = `http://127.0.0.1:${(web.address() as AddressInfo).port}`
  const broken = await run({ ...environment, HEALTHTAP_API_URL: `${url}/broken` })
  t.match(broken.of('provider reachable'), [/^failed answers 503/])
  const other = await run({ ...environment, HEALTHTAP_API_URL: url })
  t.match(other.of('provider credentials'), [/^failed answers in a way that no HealthTap does/])
  t.match(other.of('provider clock'), [/^unknown it does not tell the time/])

  const pages = await run({
    ...environment,
    HEALTHTAP_AUTHORIZE_URL: `${sandbox.options.url}/elsewhere`,
    HEALTHTAP_IDENTITY_URL: `${sandbox.options.url}/elsewhere`,
  })
  t.match(pages.of('authorize page'), [/^warning answers 404/])
  t.match(pages.of('identity URL'), [/^failed answers 404: whose tokens these are cannot be asked/])
  const identity = { HEALTHTAP_IDENTITY_URL: `${sandbox.options.url}/api/v2.1/me.json` }
  t.match((await run({ ...environment, ...identity })).of('identity URL'), ['ok answers'])

  const good = sandbox.options.appSecret
  const secrets = async (first: string, next = '') =>
    (await run({ ...environment, HEALTHTAP_APP_SECRET: first, HEALTHTAP_APP_SECRET_NEXT: next })).of(
      'provider credentials',
    )
  t.strictSame(await secrets(good), ['ok accepted'])
  t.match(await secrets('wrong'), [/^failed refused: check HEALTHTAP_APP_ID and HEALTHTAP_APP_SECRET/])
  t.match(await secrets('wrong', 'wrong too'), [/^failed refused/])
  t.match(await secrets(good, 'wrong'), [/^ok accepted; HEALTHTAP_APP_SECRET_NEXT is not accepted yet/])
  t.match(await secrets('old', good), [
    /^warning HEALTHTAP_APP_SECRET is refused, HEALTHTAP_APP_SECRET_NEXT is accepted/,
  ])
  t.match(await secrets(good, good), [/^warning accepted; HEALTHTAP_APP_SECRET_NEXT is the same/])
})

t.test('the password grant: asked for only where the setting has it', async t => {
  const { environment, sandbox } = await deploymentOf(t)
  const settings = (body: object) => sandbox.sendJson('/sandbox/settings', body, {}, 'PUT')
  const asked = async () => (await sandbox.counts()).totals.password
  const look = (more: Environment = {}) => run({ ...environment, HEALTHTAP_PASSWORD_GRANT: 'true', ...more })
  const line = async (more: Environment = {}) => (await look(more)).of('password grant')

  t.strictSame(await line({ HEALTHTAP_PASSWORD_GRANT: 'false' }), [])
  t.strictSame((await run(environment)).of('password grant'), [], 'which is the default')
  t.equal(await asked(), undefined, 'no request was made')

  const off = await look()
  t.equal(off.exitCode, 1)
  t.strictSame(off.of('password grant'), [
    'failed HealthTap does not offer it: ask HealthTap to enable it for this app, or set HEALTHTAP_PASSWORD_GRANT to false',
  ])
  await settings({ password_grant: true })
  const on = await look()
  t.strictSame([on.exitCode, on.of('password grant')], [0, ['ok offered']])
  t.strictSame(await asked(), { unsupported_grant_type: 1, invalid_grant: 1 })

  const refused = [
    'failed refused: check HEALTHTAP_APP_ID and HEALTHTAP_APP_SECRET',
    'unknown cannot be seen while our credentials are refused: see provider credentials',
  ]
  const wrong = await look({ HEALTHTAP_APP_SECRET: 'wrong' })
  t.strictSame([...wrong.of('provider credentials'), ...wrong.of('password grant')], refused)
  const next = { HEALTHTAP_APP_SECRET: 'old', HEALTHTAP_APP_SECRET_NEXT: sandbox.options.appSecret }
  t.strictSame(await line(next), ['ok offered'], 'either secret will do')

  const password = { operation: 'password', kind: 'status_before' } as const
  await sandbox.addFault({ ...password, status: 400, body: '{"error":"unauthorized_client"}', times: 1 })
  t.match(await line(), [/^failed HealthTap does not offer it to this app: ask HealthTap/])
  await sandbox.addFault({ ...password, status: 503, times: 1 })
  t.strictSame(await line(), [
    'unknown cannot be seen (answers 503): mend what the other provider lines say, then run doctor again',
  ])
  await sandbox.addFault({ ...password, status: 400, body: '{"error":"invalid_scope"}', times: 1 })
  t.match(await line(), [/^unknown cannot be seen \(answers 400 invalid_scope\)/])
  await sandbox.addFault({ ...password, status: 200, body: ACCEPTED, times: 1 })
  t.match(await line(), [/^failed a made-up user and password are accepted/])

  const away = await look({ HEALTHTAP_API_URL: `http://127.0.0.1:${await freePort()}` })
  t.match(away.of('provider reachable'), [/^failed no answer/])
  t.match(away.of('password grant'), [/^unknown cannot be seen \(no answer\)/])
})

t.test('as a command: exit 0, 1 and 2', async t => {
  const { environment } = await deploymentOf(t, { PORT: '0' })
  const command = async (args: readonly string[], more: Record<string, string> = {}) => {
    const variables = Object.entries({ ...environment, PATH: process.env.PATH ?? '', ...more }).map(pair =>
      pair.join('='),
    )
    const argv = ['-i', ...variables, ...program(), 'doctor', ...args]
    const run = promisify(execFile)('env', argv)
    return await run.then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
    )
  }
  t.match(await command([]), { code: 0, stdout: /^ok {4}settings/, stderr: '' })
  const taken = createTcpServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.teardown(() => taken.close())
  const { port } = taken.address() as AddressInfo
  const failing = await command(['--json'], { METRICS_PORT: String(port) })
  t.equal(failing.code, 1)
  t.match(JSON.parse(failing.stdout), { ok: false })
  t.match(await command(['nonsense']), { code: 2, stderr: /too many arguments/ })
  t.match(await command(['--fix']), { code: 2, stderr: /unknown option/ })
})
