/** A real gateway in a process of its own, a real Redis, and a sandbox that can be told to fail. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type SandboxDriver, startDriven } from '../../sandbox/driver.ts'
import { newEncryptionKey } from '../../src/cli/keys.ts'
import { startRedis } from '../support/redis.ts'
import type { Known } from './answers.ts'
import { type FuzzCallers, makeCallers } from './callers.ts'
import { Ledger } from './ledger.ts'
import { type Document, type Operation, operationsOf } from './operations.ts'
import { validatorOf, withoutRefs } from './schema.ts'
import type { Door } from './steps.ts'
import { demand } from './violation.ts'
import { type Client, createClient } from './wire.ts'

export interface Figures {
  readonly heapBytes: number
  readonly handles: number
}

export interface World {
  readonly client: Client
  readonly sandbox: SandboxDriver
  readonly callers: FuzzCallers
  readonly operations: readonly Operation[]
  readonly ledger: Ledger
  readonly known: Known
  readonly redirectUris: string[]
  readonly returnTo: string
  urlOf(door: Door): string
  /** The gateway's last lines of the log that tell of errors, all that it has written by now among them. */
  errors(): Promise<string>
  isAlive(): boolean
  /** Resolves when the gateway has ended, or after a while in which it has not. */
  ended(): Promise<void>
  /** Resolves when the gateway trusts the provider again. Throws `Violation` where that does not come. */
  recovered(): Promise<void>
  /** After a garbage collection, without connections of ours. */
  figures(): Promise<Figures>
  close(): Promise<void>
}

const RETURN_TO = 'https://product.example'
const HOSTED = 'https://gateway.example/tap-in/callback'
const RECOVERS_WITHIN_MS = 60_000
/** A connection that breaks is heard of before the end of the process that broke it. */
const ENDS_WITHIN_MS = 1_000
const LAST_ERRORS = 5

export async function startWorld(): Promise<World> {
  const redis = await startRedis()
  const redirectUri = 'https://app.example/cb'
  const redirectUris = [redirectUri, HOSTED]
  const { driver: sandbox, close: closeSandbox } = await startDriven({ redirectUris })
  const callers = makeCallers()
  const encryptionKey = newEncryptionKey()
  const journal = mkdtempSync(join(tmpdir(), 'htgw-journal-'))
  const { appId, appSecret, url: sandboxUrl } = sandbox.options
  const child = startGateway({
    PATH: process.env.PATH ?? '',
    PORT: '0',
    PUBLIC_PORT: '0',
    METRICS_PORT: '0',
    HEALTHTAP_APP_ID: appId,
    HEALTHTAP_APP_SECRET: appSecret,
    HEALTHTAP_AUTHORIZE_URL: `${sandboxUrl}/oauth/authorize`,
    HEALTHTAP_API_URL: sandboxUrl,
    HEALTHTAP_REDIRECT_URIS: redirectUris.join(','),
    HEALTHTAP_TIMEOUT_MS: '2000',
    RETURN_TO_ORIGINS: RETURN_TO,
    REDIS_URL: redis.url,
    ENCRYPTION_KEYS: encryptionKey,
    CALLERS: JSON.stringify(callers.entries),
    JOURNAL_DIR: journal,
  })
  const errors: string[] = []
  const keep = (text: string) => {
    errors.push(...text.split('\n').filter(Boolean))
    errors.splice(0, errors.length - LAST_ERRORS)
  }
  // What it logs comes in one line with its answers; what it dies of comes here.
  child.on('message', (message: { error?: string }) => keep(message.error ?? ''))
  child.stderr?.on('data', chunk => keep(String(chunk)))
  const allSaid = once(child, 'close')
  const notStarted = allSaid.then(() => {
    throw new Error(`the gateway does not start: ${errors.join('\n')}`)
  })
  const addresses = await Promise.race([told<Record<Door, string>>(child, 'main'), notStarted])
  const client = createClient()
  const document = (await (await fetch(`${addresses.main}/openapi.json`)).json()) as Document
  const { schemas } = document.components

  function isAlive(): boolean {
    return child.exitCode === null && child.signalCode === null
  }

  async function figures(): Promise<Figures> {
    client.close()
    const answer = told<Figures>(child, 'heapBytes')
    if (child.connected) child.send('figures')
    return await answer
  }

  async function readiness(): Promise<string> {
    const answer = await client.ask(addresses.main, { method: 'GET', target: '/health/ready', headers: {}, body: null })
    return JSON.parse(answer.body).status
  }

  return {
    client,
    sandbox,
    callers,
    operations: operationsOf(document),
    ledger: new Ledger(),
    known: {
      fitsProblem: validatorOf(withoutRefs({ $ref: '#/components/schemas/Problem' }, schemas)),
      appId,
      document: JSON.stringify(document),
      secrets: [appSecret, encryptionKey.split(':')[1] ?? '', ...callers.keys],
    },
    redirectUris,
    returnTo: `${RETURN_TO}/back`,
    urlOf: door => addresses[door],
    async errors() {
      await Promise.race([allSaid, figures()])
      return errors.join('\n')
    },
    isAlive,
    async ended() {
      if (isAlive()) await once(child, 'exit', { signal: AbortSignal.timeout(ENDS_WITHIN_MS) }).catch(() => {})
    },
    async recovered() {
      const untilMs = Date.now() + RECOVERS_WITHIN_MS
      for (let status = await readiness(); status !== 'ok'; status = await readiness()) {
        demand(Date.now() < untilMs, () => `after ${RECOVERS_WITHIN_MS} ms without a fault the gateway is ${status}`)
      }
    },
    figures,
    async close() {
      client.close()
      if (child.connected) child.send('close')
      if (isAlive()) await once(child, 'exit')
      await closeSandbox()
      await redis.stop()
      rmSync(journal, { recursive: true, force: true })
    },
  }
}

/** The next message that says this. */
function told<T>(child: ChildProcess, name: keyof T & string): Promise<T> {
  return new Promise(resolve => {
    const look = (message: object) => {
      if (!(name in message)) return
      child.off('message', look)
      resolve(message as T)
    }
    child.on('message', look)
  })
}

function startGateway(environment: Record<string, string>): ChildProcess {
  const program = join(import.meta.dirname, 'gateway-process.ts')
  const child = spawn(process.execPath, ['--expose-gc', '--import', 'tsx', program], {
    env: environment,
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  process.once('exit', () => child.kill('SIGKILL'))
  return child
}
