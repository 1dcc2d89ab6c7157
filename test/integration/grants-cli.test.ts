/** `grants list|show|due|simulate-outage|refresh|revoke` against a real gateway: what they print, and how they end. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { refresh, revoke } from '../../src/cli/grants/act.ts'
import { createApi, type GatewayApi } from '../../src/cli/grants/api.ts'
import { due, list, show } from '../../src/cli/grants/look.ts'
import { outage } from '../../src/cli/grants/outage.ts'
import type { Terminal } from '../../src/cli/grants/terminal.ts'
import { Secret } from '../../src/ports/secret.ts'
import { encryptionKeys } from '../../src/settings/forms.ts'
import { systemClock } from '../../src/system/clock.ts'
import { guidOf } from '../contract/records.ts'
import { openRedisStores } from '../contract/redis-stores.ts'
import { selfSigned } from '../support/certificates.ts'
import { knownGrant, putKnown } from '../support/key-drill.ts'
import { program } from '../support/program.ts'
import { freePort, startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

const HOUR_MS = 3_600_000

interface Seat extends Terminal {
  readonly printed: () => string
  readonly said: () => string
}

/** A terminal that somebody sits at, who answers this; or a pipe. */
function seat(answer?: string, nowMs?: number): Seat {
  const [out, err]: string[][] = [[], []]
  const isTTY = answer !== undefined
  return {
    out: { isTTY, columns: 120, write: text => out?.push(text) },
    err: { isTTY, write: text => err?.push(text) },
    now: () => nowMs ?? Date.now(),
    ask:
      answer === undefined
        ? null
        : async question => {
            err?.push(question)
            return answer
          },
    printed: () => out?.join('') ?? '',
    said: () => err?.join('') ?? '',
  }
}

async function deployment(t: Test, settings: Record<string, string> = {}) {
  const stack = await startStack(t, redis.url, {}, settings)
  const gateway = await stack.gateway()
  const api = createApi({ url: gateway.url, apiKey: new Secret(stack.apiKey) })
  const made = async (username: string): Promise<{ guid: string; access_token: string }> => {
    return (await gateway.send('POST', '/v1/users', { username })).body
  }
  return { ...stack, running: gateway, api, made }
}

async function failing(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => 'it worked',
    (error: Error) => `${error.name}: ${error.message}`,
  )
}

t.test('list: tabs in a pipe, a table on a terminal, JSON; never a token', async t => {
  const { api, made } = await deployment(t)
  const [ada, bob] = [await made('ada'), await made('bob')]
  const pipe = seat()
  t.equal(await list(api, { json: false }, pipe), 0)
  const lines = pipe
    .printed()
    .split('\n')
    .filter(line => line !== '')
    .sort()
  const of = ({ guid }: { guid: string }, name: string) =>
    new RegExp(`^${guid}\\t${name}\\tactive\\t1\\t2\\d{3}-.*Z\\t2\\d{3}-.*Z\\t$`)
  const expected = [of(ada, 'ada'), of(bob, 'bob')].sort((one, other) => (String(one) < String(other) ? -1 : 1))
  t.match(lines, expected)
  t.equal(lines.length, 2)

  const desk = seat('')
  await list(api, { json: false }, desk)
  t.match(desk.printed(), /^GUID +USERNAME +STATUS +VERSION +EXPIRES +DUE +LAST ERROR\n/)
  t.match(desk.printed(), new RegExp(`${ada.guid} +ada +active +1 +in 1h 5\\dm +in 1h [45]\\dm`))
  const json = seat()
  await list(api, { json: true, username: 'bob' }, json)
  t.match(JSON.parse(json.printed()), { guid: bob.guid, username: 'bob', version: 1 })
  for (const { access_token: token } of [ada, bob])
    t.notOk([pipe, desk, json].some(each => each.printed().includes(token)))
  const none = seat()
  await list(api, { json: false, status: 'in_doubt' }, none)
  t.equal(none.printed(), '')
})

t.test('a listing of more than a page: each once, and no more than asked for', async t => {
  const { api, environment } = await deployment(t)
  const keys = encryptionKeys(environment.ENCRYPTION_KEYS ?? '')
  const stores = openRedisStores(redis, systemClock, { prefix: environment.REDIS_PREFIX ?? '', keys })
  t.teardown(() => stores.close())
  const guids = Array.from({ length: 1_100 }, (_, index) => guidOf(index))
  await putKnown(stores, guids)
  const listed = async (limit?: number) => {
    const pipe = seat()
    await list(api, { json: false, limit }, pipe)
    return pipe
      .printed()
      .trimEnd()
      .split('\n')
      .map(line => line.split('\t')[0] ?? '')
  }
  t.strictSame((await listed()).sort(), guids.sort())
  for (const limit of [1, 7, 700]) t.equal(new Set(await listed(limit)).size, limit)
})

t.test('show: a field a line', async t => {
  const { api, made } = await deployment(t)
  const { guid, access_token: token } = await made('ada')
  const [pipe, desk, json] = [seat(), seat(''), seat()]
  t.equal(await show(api, guid, { json: false }, pipe), 0)
  await show(api, guid, { json: false }, desk)
  await show(api, guid, { json: true }, json)
  t.match(pipe.printed(), new RegExp(`^guid\t${guid}\nusername\tada\n(.|\n)*\nversion\t1\n`))
  t.match(pipe.printed(), /\nlast_error\t\n/)
  t.match(desk.printed(), /\nrefresh_due_at +20\d\d-.*Z {2}\(in 1h [45]\dm\)\n/)
  t.match(desk.printed(), /\nlast_error +-\n/)
  t.match(JSON.parse(json.printed()), { guid, last_error: null })
  t.notOk([pipe, desk, json].some(each => each.printed().includes(token)))
  t.match(await failing(show(api, 'nobody', { json: false }, seat())), /^NotDone: grant_not_found: /)
})

t.test('due, and an outage: what the schedule says', async t => {
  const { api, environment } = await deployment(t)
  const keys = encryptionKeys(environment.ENCRYPTION_KEYS ?? '')
  const stores = openRedisStores(redis, systemClock, { prefix: environment.REDIS_PREFIX ?? '', keys })
  t.teardown(() => stores.close())
  // Of known grants tokens live 20 hours, and are due after 18.
  const now = Date.now()
  for (const [index, guid] of ['first', 'second', 'third'].entries()) {
    await stores.grants.write(guid, 0, knownGrant(guid, now + index * HOUR_MS))
  }
  const dueWithin = async (hours: number, limit?: number) => {
    const pipe = seat(undefined, now)
    t.equal(await due(api, { json: false, within: hours * HOUR_MS, limit }, pipe), 0)
    return pipe
      .printed()
      .split('\n')
      .filter(line => line !== '')
      .map(line => line.split('\t')[1])
  }
  t.strictSame(await dueWithin(1), [])
  t.strictSame(await dueWithin(18.5), ['first'])
  t.strictSame(await dueWithin(24), ['first', 'second', 'third'], 'soonest first')
  t.strictSame(await dueWithin(24, 2), ['first', 'second'])
  const desk = seat('', now)
  await due(api, { json: false, within: 19.5 * HOUR_MS, limit: 1 }, desk)
  t.match(
    desk.printed(),
    /^DUE +GUID(.|\n)*\n(in 18h|in 17h 59m) +first(.|\n)*\n\n2 of 3 are due within 19h 30m, the first 1 are shown\.\n$/,
  )
  const json = seat(undefined, now)
  await due(api, { json: true, within: 18.5 * HOUR_MS }, json)
  t.match(JSON.parse(json.printed()), { guid: 'first' })

  const rows = seat(undefined, now)
  t.equal(await outage(api, 21.5 * HOUR_MS, { json: false }, rows), 0)
  t.match(rows.printed(), /^20.*Z\t540\d\tfirst\t\tactive\n20.*Z\t180\d\tsecond\t\tactive\n$/)
  t.match(rows.said(), /of 3 grants\n {2}2 would lapse.*\n {2}1 would be renewed late/)
  const table = seat('', now)
  await outage(api, 21.5 * HOUR_MS, { json: false, limit: 1 }, table)
  t.match(table.printed(), /2 would lapse(.|\n)*EXPIRES +LAPSES FOR(.|\n)*1h 30m +first/)
  t.match(
    table.printed(),
    /From now on, up to (20h|19h 59m) would let nobody lapse\.\nWhenever it begins, up to 2h would/,
  )
  t.notMatch(table.printed(), / second /)
  const asJson = seat(undefined, now)
  await outage(api, 21.5 * HOUR_MS, { json: true, limit: 1 }, asJson)
  t.match(JSON.parse(asJson.printed()), {
    seconds: 77_400,
    lapsing: 2,
    late: 1,
    lost: 0,
    lapsing_grants: [{ guid: 'first' }],
  })
  t.equal((await stores.grants.read('first'))?.record.version, 1, 'nothing has changed')
})

t.test('refresh: the next version, and its token is not shown', async t => {
  const { api, made, running, sandbox } = await deployment(t)
  const { guid, access_token: token } = await made('ada')
  const pipe = seat()
  t.equal(await refresh(api, guid, { json: false }, pipe), 0)
  t.match(pipe.printed(), new RegExp(`^${guid}: version 1 is now 2, its token expires 20.*Z \\(in 1h 5\\dm\\)\\.\n$`))
  const json = seat()
  await refresh(api, guid, { json: true }, json)
  t.strictSame(Object.keys(JSON.parse(json.printed())), [
    'guid',
    'version_before',
    'version',
    'expires_at',
    'rotates_at',
  ])
  t.match(JSON.parse(json.printed()), { guid, version_before: 2, version: 3 })
  const now = (await running.get(`/v1/grants/${guid}/token`)).body.access_token
  t.not(now, token)
  t.notOk([pipe, json].some(each => each.printed().includes(now)))
  await sandbox.addFault({ operation: 'refresh', kind: 'status_before', status: 503 })
  t.match(await failing(refresh(api, guid, { json: false }, seat())), /^NotDone: provider_unavailable: /)
})

t.test('revoke: asks first, or wants --yes', async t => {
  const { api, made, running, sandbox } = await deployment(t)
  const [ada, bob] = [await made('ada'), await made('bob')]
  const status = async ({ guid }: { guid: string }) => (await running.get(`/v1/grants/${guid}`)).status
  const options = { json: false, yes: false }
  t.match(await failing(revoke(api, ada.guid, options, seat())), /^AskedWrongly: .* say --yes/)
  for (const answer of ['', 'n', 'nonsense']) {
    const desk = seat(answer)
    t.equal(await revoke(api, ada.guid, options, desk), 1)
    t.match(desk.said(), new RegExp(`Revoke the grant ${ada.guid} of ada \\(active\\)\\?.*Nothing was done`))
  }
  t.equal(await status(ada), 200)
  const desk = seat('y')
  t.equal(await revoke(api, ada.guid, options, desk), 0)
  t.match(desk.printed(), /revoked at HealthTap, and gone/)
  t.equal(await status(ada), 404)
  await sandbox.addFault({ operation: 'revoke', kind: 'status_before', status: 503, times: 1 })
  const pipe = seat()
  t.equal(await revoke(api, bob.guid, { json: true, yes: true }, pipe), 0)
  t.strictSame(JSON.parse(pipe.printed()), { guid: bob.guid, status: 'revoking' })
  t.match(await failing(revoke(api, ada.guid, { json: false, yes: true }, seat())), /^NotDone: grant_not_found/)
})

t.test('a gateway that says no, is away, or is none', async t => {
  const { api: _, keyFor, running } = await deployment(t)
  const listing = (api: GatewayApi) => failing(list(api, { json: false }, seat()))
  const withKey = (key: string, url = running.url) => createApi({ url, apiKey: new Secret(key) })
  t.match(await listing(withKey('wrong')), /^NotDone: unauthorized: /)
  t.match(await listing(withKey(keyFor('token:read'))), /^NotDone: forbidden: .*grant:read/)
  t.match(
    await listing(withKey('x', `http://127.0.0.1:${await freePort()}`)),
    /^NotDone: no answer from .*ECONNREFUSED/,
  )
  let answers: [number, string, Record<string, string>][] = []
  const server = createServer((_request, response) => {
    const [status, text, headers] = answers.shift() ?? [200, '<html>', {}]
    response.writeHead(status, headers).end(text)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const other = withKey('x', `http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  t.match(await listing(other), /is no gateway: check --url/)
  answers = [[404, '{}', {}]]
  t.match(await listing(other), /is no gateway \(404\)/)
  const wait = { 'retry-after': '0' }
  answers = [
    [503, '{}', wait],
    [429, '{}', wait],
    [200, '{"items":[],"next_cursor":null}', {}],
  ]
  t.equal(await listing(other), 'it worked', 'who asks for patience is asked again')
  answers = Array.from({ length: 9 }, () => [503, '{"code":"store_unavailable","detail":"x"}', wait])
  t.match(await listing(other), /store_unavailable/)
  t.equal(answers.length, 4, 'but not for ever')
})

t.test('as commands: the key from a file, TLS, pipes, exit codes', async t => {
  const pair = await selfSigned(t, 'gateway', { subject: '/CN=localhost', san: 'IP:127.0.0.1' })
  const { apiKey, running } = await deployment(t, { TLS_CERT: pair.cert, TLS_KEY: pair.key })
  const dir = mkdtempSync(join(tmpdir(), 'htgw-grants-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const keyFile = join(dir, 'key')
  writeFileSync(keyFile, `${apiKey}\n`)
  const command = async (args: readonly string[], variables: Record<string, string> = {}) => {
    const environment = { PATH: process.env.PATH ?? '', NODE_EXTRA_CA_CERTS: pair.certFile, ...variables }
    const settings = Object.entries(environment).map(entry => entry.join('='))
    const argv = ['-i', ...settings, ...program(), 'grants', ...args]
    return await promisify(execFile)('env', argv).then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
    )
  }
  const at = { GATEWAY_URL: running.url, GATEWAY_API_KEY_FILE: keyFile }
  t.strictSame(await command(['list'], at), { code: 0, stdout: '', stderr: '' })
  t.match(await command(['list', '--url', running.url, '--key-file', keyFile]), { code: 0 })
  t.match(await command(['list'], { ...at, NODE_EXTRA_CA_CERTS: '' }), {
    code: 1,
    stderr: /^no answer from https:.*SELF_SIGNED/,
  })
  t.match(await command(['show', 'nobody'], at), { code: 1, stdout: '', stderr: /^grant_not_found: / })
  t.match(await command(['list'], { GATEWAY_URL: running.url }), { code: 2, stderr: /GATEWAY_API_KEY is missing/ })
  t.match(await command(['list', '--status', 'fine'], at), { code: 2, stderr: /Allowed choices are active/ })
  t.match(await command(['list', '--limit', '0'], at), { code: 2, stderr: /at least 1/ })
  t.match(await command(['show', 'a/b'], at), { code: 2, stderr: /has to be a guid/ })
  t.match(await command(['revoke', 'nobody'], at), { code: 2, stderr: /say --yes/ })
  t.match(await command(['simulate-outage', '30'], at), { code: 2, stderr: /time such as/ })
  t.match(await command(['simulate-outage', '30m', '--json'], at), { code: 0, stdout: /"seconds":1800/ })
})
