/**
 * docs/key-rotation.md, rehearsed: real gateways on a real Redis that keeps 100,000 grants, readers and refreshes throughout, and
 * all four steps. `npm run drill:keys -- --grants 100000 --redis single|sentinel|cluster --change restart|sighup`. Ends with the figures;
 * exits 1 where a read or a refresh failed, or a grant cannot be read in the end.
 */
import { type ChildProcess, execFile } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { startDriven } from '../sandbox/driver.ts'
import { newCaller, newEncryptionKey } from '../src/cli/keys.ts'
import { encryptionKeys, redisUrl } from '../src/settings/forms.ts'
import { createRedisStores } from '../src/store/redis/index.ts'
import { createSealer } from '../src/store/sealing.ts'
import { systemClock } from '../src/system/clock.ts'
import { drillKeys, type Fleet, knownGrant } from '../test/support/key-drill.ts'
import { startRedis } from '../test/support/redis.ts'
import { startCluster, startSentinels } from '../test/support/redis-deployments.ts'
import { end, endAll, freePort, print, ready, start } from './processes.ts'

const { values } = parseArgs({
  options: {
    grants: { type: 'string', default: '100000' },
    refreshed: { type: 'string', default: '200' },
    readers: { type: 'string', default: '4' },
    redis: { type: 'string', default: 'single' },
    lifetime: { type: 'string', default: '30' },
    change: { type: 'string', default: 'restart' },
  },
})
const GATEWAYS = 2
const WRITES_AT_ONCE = 200
const MAIN = 'dist/src/main.js'

const [oldKey, newKey] = [newEncryptionKey(), newEncryptionKey()] as const
const journals = mkdtempSync(join(tmpdir(), 'htgw-drill-'))
const startStore = { single: startRedis, sentinel: startSentinels, cluster: startCluster }[values.redis] ?? startRedis
const store = await startStore()
const { driver: sandbox, close } = await startDriven({ tokenLifetimeSeconds: Number(values.lifetime) })
try {
  await drill()
} finally {
  await endAll()
  await close()
  await store.stop()
  rmSync(journals, { recursive: true, force: true })
}

async function drill(): Promise<void> {
  const known = Array.from({ length: Number(values.grants) }, (_, index) => `drill-${index}`)
  print(`${known.length} grants are written …`)
  await write(known)
  const { apiKey, entry } = newCaller('drill', ['*'])
  const fleet = createFleet(apiKey, {
    HEALTHTAP_APP_ID: sandbox.options.appId,
    HEALTHTAP_APP_SECRET: sandbox.options.appSecret,
    HEALTHTAP_AUTHORIZE_URL: `${sandbox.options.url}/oauth/authorize`,
    HEALTHTAP_API_URL: sandbox.options.url,
    HEALTHTAP_REDIRECT_URIS: sandbox.options.redirectUri,
    REDIS_URL: store.url,
    CALLERS: JSON.stringify([entry]),
    LOG_LEVEL: 'info',
  })
  for (let gateway = 0; gateway < GATEWAYS; gateway += 1) await fleet.useKeys(gateway, oldKey)
  const refreshed: string[] = []
  while (refreshed.length < Number(values.refreshed)) {
    const { body } = await fleet.ask(0, 'POST', '/v1/users', { username: `person ${refreshed.length}` })
    refreshed.push((body as { guid: string }).guid)
  }
  const onStep = (step: string) => print(step)
  const options = { keys: [oldKey, newKey] as const, known, refreshed, readers: Number(values.readers), onStep }
  const { failed, rotated, ...figures } = await drillKeys(fleet, options)
  for (const line of rotated.lines) print(`  ${line}`)
  const resealed = Number(/^(\d+) re-sealed/m.exec(rotated.lines.join('\n'))?.[1])
  const renewed = (await sandbox.counts()).totals.refresh?.ok
  const recordsPerSecond = Math.round(resealed / figures.rotateSeconds)
  print(JSON.stringify({ ...figures, failed: failed.length, resealed, recordsPerSecond, renewedAtSandbox: renewed }))
  for (const line of failed.slice(0, 20)) print(`WRONG ${line}`)
  const isDone =
    rotated.exitCode === 0 && rotated.lines.some(line => line.endsWith('can be removed from ENCRYPTION_KEYS.'))
  if (!isDone) print(`WRONG rotate-keys: exit ${rotated.exitCode}`)
  if (failed.length > 0 || !isDone) process.exitCode = 1
}

async function write(guids: readonly string[]): Promise<void> {
  const stores = createRedisStores({
    address: redisUrl(store.url),
    prefix: 'htgw',
    sealer: createSealer(encryptionKeys(oldKey)),
    clock: systemClock,
    onConnectionError() {},
    onFinding() {},
    onUnreadable() {},
  })
  for (let start = 0; start < guids.length; start += WRITES_AT_ONCE) {
    const some = guids.slice(start, start + WRITES_AT_ONCE)
    await Promise.all(some.map(guid => stores.grants.write(guid, 0, knownGrant(guid, Date.now()))))
  }
  await stores.close()
}

function createFleet(apiKey: string, settings: Record<string, string>): Fleet {
  const running: { child: ChildProcess; url: string }[] = []
  const staysUp = values.change === 'sighup'
  /** Told by a gateway, on standard output. */
  const reloaded = new EventEmitter()
  const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' }

  return {
    gateways: GATEWAYS,
    staysUp,

    async useKeys(gateway, entries) {
      const file = join(journals, `keys-${gateway}`)
      writeFileSync(file, entries, { mode: 0o600 })
      const before = running[gateway]
      if (before !== undefined && staysUp) {
        const isReloaded = once(reloaded, String(gateway))
        before.child.kill('SIGHUP')
        await isReloaded
        return
      }
      if (before !== undefined) await end(before.child, 'SIGTERM')
      const port = String(await freePort())
      const own = { PORT: port, JOURNAL_DIR: join(journals, String(gateway)), ENCRYPTION_KEYS_FILE: file }
      const child = start(process.execPath, [MAIN, 'serve'], { ...settings, ...own }, line => {
        if (line.includes('"settings are reloaded"')) reloaded.emit(String(gateway))
        if (line.includes('"level":"error"')) print(`  ${line}`)
      })
      running[gateway] = { child, url: `http://127.0.0.1:${port}` }
      await ready(`http://127.0.0.1:${port}`)
    },

    async ask(gateway, method, path, body) {
      const init = body === undefined ? {} : { body: JSON.stringify(body) }
      const response = await fetch(`${running[gateway]?.url}${path}`, { method, headers, ...init })
      return { status: response.status, body: (await response.json()) as { access_token?: string; version?: number } }
    },

    async rotateKeys(entries) {
      const env = { ...process.env, ...settings, JOURNAL_DIR: join(journals, '0'), ENCRYPTION_KEYS: entries }
      const run = promisify(execFile)(process.execPath, [MAIN, 'rotate-keys'], { env })
      const { code = 0, stdout } = await run.then(
        ended => ({ ...ended, code: 0 }),
        (error: { code?: number; stdout: string }) => error,
      )
      return { exitCode: code, lines: stdout.trimEnd().split('\n') }
    },
  }
}
