/** docs/secrets.md, word for word: its commands are read from there, and run while two gateways are asked for everything. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { startDriven } from '../../sandbox/driver.ts'
import { newCaller, newEncryptionKey } from '../../src/cli/keys.ts'
import { manual } from '../support/manual.ts'
import { program } from '../support/program.ts'
import { startRedis } from '../support/redis.ts'
import { type Served, startServe } from '../support/serve.ts'

const run = promisify(execFile)
const { apiKey, entry } = newCaller('everything', ['*'])

const [node, main] = program()
const page = manual('docs/secrets.md')

/** Somebody else's, as the files of a service are for who changes them. Who is not root can make only files of their own. */
const OWNER = process.getuid?.() === 0 ? { uid: 4711, gid: 4712 } : { uid: process.getuid?.(), gid: process.getgid?.() }
const MODE = 0o440

/** Two gateways whose secrets lie in files, and a shell in which the page's commands mean these. */
async function startFleet(t: Test) {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const { driver: sandbox, close } = await startDriven()
  t.teardown(close)
  const dir = mkdtempSync(join(tmpdir(), 'htgw-secrets-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  function write(name: string, text: string): void {
    writeFileSync(join(dir, name), text)
    chownSync(join(dir, name), OWNER.uid ?? -1, OWNER.gid ?? -1)
    chmodSync(join(dir, name), MODE)
  }
  const read = (name: string) => readFileSync(join(dir, name), 'utf8')
  write('app_secret', sandbox.options.appSecret)
  write('app_secret_next', '')
  write('encryption_keys', newEncryptionKey())
  const environment = {
    PORT: '0',
    HEALTHTAP_APP_ID: sandbox.options.appId,
    HEALTHTAP_APP_SECRET_FILE: join(dir, 'app_secret'),
    HEALTHTAP_APP_SECRET_NEXT_FILE: join(dir, 'app_secret_next'),
    HEALTHTAP_API_URL: sandbox.options.url,
    HEALTHTAP_REDIRECT_URIS: sandbox.options.redirectUri,
    REDIS_URL: redis.url,
    ENCRYPTION_KEYS_FILE: join(dir, 'encryption_keys'),
    CALLERS: JSON.stringify([entry]),
  }
  const served = await Promise.all(
    ['one', 'two'].map(name => startServe(t, { ...environment, JOURNAL_DIR: join(dir, name) })),
  )
  // `reload` in the page: done when every gateway has said so.
  const control = createServer(async (_request, response) => {
    await Promise.all(served.map(gateway => gateway.reload(/settings are reloaded/)))
    response.end()
  }).listen(0, '127.0.0.1')
  await once(control, 'listening')
  t.teardown(() => control.close())
  const { port } = control.address() as AddressInfo

  const words = [
    page.setUp('SECRETS='),
    `SECRETS=${dir}`,
    `reload() { "$NODE" -e 'fetch("http://127.0.0.1:${port}").then(answer => answer.text())'; }`,
    'npx() { shift; "$NODE" "$MAIN" "$@"; }',
    'set -euo pipefail',
  ]
  /** Variables live on from block to block, as in a terminal. */
  async function shell(blocks: readonly string[], variables: Record<string, string> = {}): Promise<string> {
    const env = { PATH: process.env.PATH, NODE: node, MAIN: main, JOURNAL_DIR: dir, ...environment }
    const { stdout } = await run('bash', ['-c', [...words, ...blocks].join('\n')], { env: { ...env, ...variables } })
    return stdout
  }
  /** Whether whoever could read the files can do so still, and nobody else. */
  function isAsItWas(name: string): boolean {
    const { uid, gid, mode } = statSync(join(dir, name))
    return uid === OWNER.uid && gid === OWNER.gid && (mode & 0o777) === MODE
  }
  return { sandbox, served, shell, read, isAsItWas }
}

/** Asks for everything, over and over, until it is told to stop. Returns how often it asked, and what was not as it should be. */
function askWithoutEnd(served: readonly Served[], code: () => Promise<string>, redirectUri: string) {
  const wrong: string[] = []
  const guids: string[] = []
  let asked = 0
  let isOver = false

  async function send(gateway: Served, method: string, path: string, body?: object) {
    const headers = { authorization: `Bearer ${apiKey}`, connection: 'close', 'content-type': 'application/json' }
    const response = await fetch(`${gateway.url}${path}`, { method, headers, body: JSON.stringify(body) ?? null })
    const answer = JSON.parse(await response.text())
    asked += 1
    if (!response.ok) wrong.push(`${method} ${path}: ${response.status} ${answer.code}`)
    return answer
  }
  async function one(gateway: Served, name: string): Promise<void> {
    for (let round = 0; !isOver; round += 1) {
      const { guid } = await send(gateway, 'POST', '/v1/users', { username: `${name}-${round}` })
      guids.push(guid)
      await send(gateway, 'POST', '/v1/grants', { code: await code(), redirect_uri: redirectUri })
      await send(gateway, 'POST', `/v1/grants/${guid}/refresh`, { version: 1 })
      for (const known of guids.slice(-5)) await send(gateway, 'GET', `/v1/grants/${known}/token`)
    }
  }
  const all = Promise.all(served.flatMap((gateway, index) => [one(gateway, `a${index}`), one(gateway, `b${index}`)]))
  return {
    async stop() {
      isOver = true
      await all
      for (const gateway of served) {
        for (const guid of guids) await send(gateway, 'GET', `/v1/grants/${guid}/token`)
      }
      return { asked, wrong, grants: guids.length }
    },
  }
}

t.test("the app's secret", async t => {
  const { sandbox, served, shell, read, isAsItWas } = await startFleet(t)
  const [beside = '', alone = '', ...rest] = page.under("The app's secret")
  t.ok(beside.includes('put app_secret_next') && alone.includes('put app_secret_next'))
  t.strictSame(rest, [])
  const asking = askWithoutEnd(served, () => sandbox.code(), sandbox.options.redirectUri)
  await shell([beside], { NEW_APP_SECRET: 'the new one' })
  await sandbox.sendJson('/sandbox/settings', { app_secret: 'the new one' }, {}, 'PUT')
  await shell([alone])
  t.strictSame([read('app_secret'), read('app_secret_next')], ['the new one', ''])
  for (const name of ['app_secret', 'app_secret_next']) t.ok(isAsItWas(name), `${name}: its owner and its mode`)
  const { asked, wrong, grants } = await asking.stop()
  t.strictSame(wrong, [])
  t.ok(grants > 3 && asked > 5 * grants)
})

t.test('an encryption key', async t => {
  const { sandbox, served, shell, read, isAsItWas } = await startFleet(t)
  const blocks = page.under('An encryption key')
  t.equal(blocks.length, 4)
  const old = read('encryption_keys')
  const asking = askWithoutEnd(served, () => sandbox.code(), sandbox.options.redirectUri)
  const printed = await shell(blocks)
  t.match(printed, new RegExp(`${old.split(':')[0]} can be removed from ENCRYPTION_KEYS`))
  t.notOk(read('encryption_keys').includes(old))
  t.notOk(read('encryption_keys').includes(','))
  t.ok(isAsItWas('encryption_keys'), 'its owner and its mode')
  const { asked, wrong, grants } = await asking.stop()
  t.strictSame(wrong, [])
  t.ok(grants > 3 && asked > 5 * grants)
})
