/** docs/operations.md, word for word: a Redis that is lost, and comes back from a snapshot. Who is lost with it, and who is not. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { startDriven } from '../../sandbox/driver.ts'
import { newCaller, newEncryptionKey } from '../../src/cli/keys.ts'
import { settingsFor } from '../support/environment.ts'
import { manual } from '../support/manual.ts'
import { program } from '../support/program.ts'
import { answers, freePort } from '../support/redis.ts'
import { type Served, startServe } from '../support/serve.ts'

const run = promisify(execFile)
const { apiKey, entry } = newCaller('everything', ['*'])
const [node, main] = program()
const page = manual('docs/operations.md')

/** One machine with a Redis, a gateway, and a shell in which the page's commands mean these. */
async function startMachine(t: Test, rotation: 'instant' | 'on_use') {
  const { driver: sandbox, close } = await startDriven({ rotation })
  t.teardown(close)
  const dir = mkdtempSync(join(tmpdir(), 'htgw-restore-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  for (const name of ['redis', 'backups', 'journal']) mkdirSync(join(dir, name))
  const redisPort = await freePort()
  const redisConf = join(dir, 'redis.conf')
  writeFileSync(redisConf, `bind 127.0.0.1\nport ${redisPort}\ndir ${dir}/redis\nappendonly yes\nrequirepass secret\n`)
  const environment = {
    PORT: '0',
    ...settingsFor(sandbox.options),
    REDIS_URL: `redis://:secret@127.0.0.1:${redisPort}`,
    ENCRYPTION_KEYS: newEncryptionKey(),
    CALLERS: JSON.stringify([entry]),
    JOURNAL_DIR: join(dir, 'journal'),
  }

  let redis: ChildProcess | null = null
  let gateway: Served | null = null
  t.teardown(() => redis?.kill('SIGKILL'))
  const units: Readonly<Record<string, { start(): Promise<void>; stop(): Promise<void> }>> = {
    'redis-server': {
      async start() {
        redis = spawn('redis-server', [redisConf], { stdio: 'ignore' })
        await answers(redisPort, 'PING', /^-NOAUTH/, redis)
      },
      async stop() {
        redis?.kill('SIGTERM')
        if (redis !== null) await once(redis, 'exit')
      },
    },
    'healthtap-gateway': {
      async start() {
        gateway = await startServe(t, environment)
      },
      async stop() {
        gateway?.process.kill('SIGTERM')
        if (gateway !== null) await once(gateway.process, 'exit')
      },
    },
  }
  async function systemctl(verb: string, name: string): Promise<void> {
    const unit = units[name]
    if (unit === undefined || (verb !== 'start' && verb !== 'stop')) throw new Error(`systemctl ${verb} ${name}`)
    await unit[verb]()
  }
  const control = createServer(async (request, response) => {
    const [, verb = '', unit = ''] = request.url?.split('/') ?? []
    response.statusCode = await systemctl(verb, unit).then(
      () => 200,
      () => 500,
    )
    response.end()
  }).listen(0, '127.0.0.1')
  await once(control, 'listening')
  t.teardown(() => control.close())
  const { port } = control.address() as AddressInfo

  const words = [
    page.setUp('BACKUPS='),
    `BACKUPS=${dir}/backups REDIS_CONF=${redisConf}`,
    `redis() { REDISCLI_AUTH=secret redis-cli -p ${redisPort} "$@"; }`,
    `systemctl() { "$NODE" -e 'fetch(process.argv[1]).then(answer => process.exit(answer.ok ? 0 : 1))' "http://127.0.0.1:${port}/$1/$2"; }`,
    // Who runs it here is who runs Redis here.
    'runuser() { shift 3; "$@"; }',
    'npx() { shift; "$NODE" "$MAIN" "$@"; }',
    'set -euo pipefail',
  ]
  async function shell(blocks: readonly string[]): Promise<string> {
    const env = { PATH: process.env.PATH, NODE: node, MAIN: main, ...environment }
    const asked = { GATEWAY_URL: gateway?.url ?? '', GATEWAY_API_KEY: apiKey }
    const script = [...words, ...blocks].join('\n')
    const { stdout } = await run('bash', ['-c', script], { env: { ...env, ...asked } })
    return stdout
  }
  async function send(method: string, path: string, body?: object) {
    const headers = { authorization: `Bearer ${apiKey}`, connection: 'close', 'content-type': 'application/json' }
    const response = await fetch(`${gateway?.url}${path}`, { method, headers, body: JSON.stringify(body) ?? null })
    const text = await response.text()
    return { status: response.status, body: text === '' ? {} : JSON.parse(text) }
  }
  return { dir, redisConf, sandbox, send, shell, systemctl, gatewayUrl: () => gateway?.url ?? '' }
}

type Machine = Awaited<ReturnType<typeof startMachine>>

/** Loses Redis after a snapshot, with all that came later, and brings it back by the page. Returns what its last step prints. */
async function loseRedis(t: Test, machine: Machine, later: () => Promise<void>): Promise<string> {
  const backingUp = page.under('Backing up')
  const [stop = '', restore = '', begin = '', look = '', ...rest] = page.under('Redis is lost')
  t.strictSame([backingUp.length, rest.length], [1, 0])
  await machine.shell(backingUp)
  await later()
  const [snapshot] = readdirSync(join(machine.dir, 'backups'))
  t.match(snapshot, /^\d{8}T\d{6}Z\.rdb$/)
  const which = `backup=${machine.dir}/backups/${snapshot}`
  await machine.shell([stop])
  t.match(await machine.shell([which, restore]), /restored: \d+ keys\n$/)
  // The last block asks the gateway that its first line starts, whose address nobody knows before.
  t.match(await machine.shell([begin]), /^ok {4}redis records +all of a sample of \d+ can be opened/m)
  await machine.systemctl('start', 'healthtap-gateway')
  t.match(look, /^systemctl start healthtap-gateway\n/)
  return await machine.shell([look.replace(/^.*\n/, '')])
}

t.test('in instant mode: who was renewed since the snapshot has to tap in again, and nobody else', async t => {
  const machine = await startMachine(t, 'instant')
  const { sandbox, send, systemctl } = machine
  await systemctl('start', 'redis-server')
  await systemctl('start', 'healthtap-gateway')
  const people: Record<string, string> = {}
  const provision = async (username: string) => {
    const { body } = await send('POST', '/v1/users', { username })
    people[username] = body.guid
  }
  for (const username of ['kept', 'renewed', 'revoked']) await provision(username)
  const tokenOf = async (username: string) => (await send('GET', `/v1/grants/${people[username]}/token`)).body
  const keptToken = (await tokenOf('kept')).access_token
  const printed = await loseRedis(t, machine, async () => {
    t.match(await send('POST', `/v1/grants/${people.renewed}/refresh`, { version: 1 }), { status: 200 })
    t.match(await send('DELETE', `/v1/grants/${people.revoked}`), { status: 204 })
    await provision('new')
  })
  t.equal(printed, '', 'nobody is known to be lost before somebody asks')

  t.equal((await tokenOf('kept')).access_token, keptToken)
  t.match(await sandbox.me(keptToken), { status: 200 })
  t.match(await send('POST', `/v1/grants/${people.kept}/refresh`, { version: 1 }), {
    status: 200,
    body: { version: 2 },
  })
  for (const username of ['renewed', 'revoked']) {
    const { access_token, version } = await tokenOf(username)
    t.match(await sandbox.me(access_token), { status: 401 }, `HealthTap refuses what was brought back of ${username}`)
    const reported = await send('POST', `/v1/grants/${people[username]}/refresh`, { version })
    t.match(reported, { status: 409, body: { code: 'reauthorization_required' } })
  }
  const [, , , look = ''] = page.under('Redis is lost')
  const lost = await machine.shell([look.replace(/^.*\n/, '')])
  t.strictSame(
    lost
      .split('\n')
      .map(line => line.split('\t')[0])
      .filter(Boolean)
      .sort(),
    [people.renewed, people.revoked].sort(),
  )
  t.match(await send('GET', `/v1/grants/${people.new}`), { status: 404 })
  t.match(await send('POST', '/v1/users', { username: 'new' }), { status: 409, body: { code: 'username_taken' } })
})

t.test('in on_use mode: who was renewed since lives, as long as nobody had used the new token', async t => {
  const machine = await startMachine(t, 'on_use')
  const { sandbox, send, systemctl } = machine
  await systemctl('start', 'redis-server')
  await systemctl('start', 'healthtap-gateway')
  const { body: unused } = await send('POST', '/v1/users', { username: 'unused' })
  const { body: used } = await send('POST', '/v1/users', { username: 'used' })
  await loseRedis(t, machine, async () => {
    for (const { guid } of [unused, used]) await send('POST', `/v1/grants/${guid}/refresh`, { version: 1 })
    const { body } = await send('GET', `/v1/grants/${used.guid}/token`)
    t.match(await sandbox.me(body.access_token), { status: 200 })
  })
  t.match(await send('POST', `/v1/grants/${unused.guid}/refresh`, { version: 1 }), {
    status: 200,
    body: { version: 2 },
  })
  t.match(await send('POST', `/v1/grants/${used.guid}/refresh`, { version: 1 }), { status: 409 })
})

t.test('a snapshot that is not whole, a Redis that runs, and one that cannot be asked change nothing', async t => {
  const { dir, redisConf, shell, systemctl } = await startMachine(t, 'instant')
  await systemctl('start', 'redis-server')
  await shell(['redis set a 1', ...page.under('Backing up')])
  const [snapshot = ''] = readdirSync(join(dir, 'backups'))
  const whole = join(dir, 'backups', snapshot)
  const restoring = (file: string) => run('sh', ['deploy/redis/restore.sh', file, redisConf])
  await t.rejects(restoring(whole), { code: 1, stderr: /listens on port \d+: stop it first/ })
  await systemctl('stop', 'redis-server')
  const half = join(dir, 'half.rdb')
  writeFileSync(half, readFileSync(whole).subarray(0, 60))
  const before = readdirSync(join(dir, 'redis')).sort()
  await t.rejects(restoring(half), { code: 1, stderr: /nothing was changed/ })
  await t.rejects(run('sh', ['deploy/redis/restore.sh', half]), { code: 2, stderr: /restore\.sh SNAPSHOT CONFIG/ })
  appendFileSync(redisConf, 'user default on >other ~* &* +@all\n')
  await t.rejects(restoring(whole), { code: 1, stderr: /has users with passwords/ })
  t.strictSame(readdirSync(join(dir, 'redis')).sort(), before)
})
