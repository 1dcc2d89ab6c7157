/** What is around the gateway, as in production but for the distance: Redis, HealthTap's stand-in, and who may ask. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { SandboxDriver } from '../sandbox/driver.ts'
import { newToken } from '../sandbox/provider/secrets.ts'
import { end, freePort, ready, start } from '../scripts/processes.ts'
import { newCaller, newEncryptionKey } from '../src/cli/keys.ts'
import { type Child, launch } from './children.ts'
import { nodeOf, pinned } from './pinned.ts'
import { startRedis } from './redis.ts'

const REDIRECT_URI = 'https://www.mywebsite.com/login_with_healthtap'

export interface Gateway {
  readonly pid: number
  readonly url: string
  /** From the start of the process until it said so. */
  readonly readyAfterMs: number
  stop(): Promise<void>
}

export interface World {
  readonly redisUrl: string
  readonly sandbox: SandboxDriver
  readonly apiKey: string
  /** What any gateway of this world is told. */
  readonly settings: Readonly<Record<string, string>>
  /**
   * As `npm start` runs it, with the audit stream and the log in files. `settings` are added, or replace others;
   * `nodeOptions` are Node's own.
   */
  gateway(settings?: Record<string, string>, nodeOptions?: readonly string[]): Promise<Gateway>
  /** Ends what was started. */
  close(): Promise<void>
}

export interface WorldOptions {
  /** How long the sandbox's access tokens live. */
  readonly tokenLifetimeSeconds?: number
  /** Whether Redis writes to the disk too; absent: it does. */
  readonly isKept?: boolean
}

/** Resolves when all of it answers. The caller closes it. */
export async function startWorld(options: WorldOptions = {}): Promise<World> {
  const { isKept = true, tokenLifetimeSeconds = 7200 } = options
  const directory = mkdtempSync(join(tmpdir(), 'htgw-bench-'))
  const forget = () => rmSync(directory, { recursive: true, force: true })
  // Also where a part fails.
  process.once('exit', forget)
  const redis = await startRedis(directory, { isKept })
  const [appId, appSecret] = [newToken(), newToken()]
  const sandbox = await startSandbox(appId, appSecret, tokenLifetimeSeconds)
  const { apiKey, entry } = newCaller('bench', ['*'])
  const settings = {
    NODE_ENV: 'production',
    HEALTHTAP_APP_ID: appId,
    HEALTHTAP_APP_SECRET: appSecret,
    HEALTHTAP_AUTHORIZE_URL: `${sandbox.url}/oauth/authorize`,
    HEALTHTAP_API_URL: sandbox.url,
    HEALTHTAP_REDIRECT_URIS: REDIRECT_URI,
    REDIS_URL: redis.url,
    ENCRYPTION_KEYS: newEncryptionKey(),
    CALLERS: JSON.stringify([entry]),
  }
  const gateways: Gateway[] = []

  return {
    redisUrl: redis.url,
    sandbox: new SandboxDriver({ url: sandbox.url, appId, appSecret, redirectUri: REDIRECT_URI }),
    apiKey,
    settings,
    async gateway(more = {}, nodeOptions = []) {
      const own = mkdtempSync(join(directory, 'gateway-'))
      const gateway = await startGateway(own, { ...settings, ...more }, nodeOptions)
      gateways.push(gateway)
      return gateway
    },
    async close() {
      for (const gateway of gateways) await gateway.stop()
      await sandbox.child.stop()
      await redis.stop()
      process.off('exit', forget)
      forget()
    },
  }
}

async function startSandbox(appId: string, appSecret: string, lifetimeSeconds: number) {
  const port = await freePort()
  const app = ['--app-id', appId, '--app-secret', appSecret, '--redirect-uri', REDIRECT_URI]
  const more = ['--port', String(port), '--token-lifetime', String(lifetimeSeconds)]
  const child: Child = await launch('around', nodeOf('src/main', 'sandbox', ...app, ...more))
  return { child, url: `http://127.0.0.1:${port}` }
}

async function startGateway(
  directory: string,
  settings: Record<string, string>,
  nodeOptions: readonly string[],
): Promise<Gateway> {
  const port = await freePort()
  const [node = '', ...serve] = nodeOf('src/main', 'serve')
  const logged = ['sh', '-c', 'exec "$@" >>"$0"', join(directory, 'log')]
  const [program, ...args] = pinned('measured', [...logged, node, ...nodeOptions, ...serve])
  const own = { PORT: String(port), JOURNAL_DIR: join(directory, 'journal'), AUDIT_LOG: join(directory, 'audit') }
  const begun = performance.now()
  const child = start(program, args, { ...settings, ...own })
  const url = `http://127.0.0.1:${port}`
  await ready(url)
  const readyAfterMs = performance.now() - begun
  // Its first half second is its own.
  await sleep(500)
  return { pid: child.pid ?? 0, url, readyAfterMs, stop: () => end(child, 'SIGTERM') }
}
