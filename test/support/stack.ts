/** The whole thing on real sockets: gateways as production builds them, a sandbox, and a Redis that the test started. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import type { Test } from 'tap'
import { type SandboxDriver, startDriven } from '../../sandbox/driver.ts'
import type { Permission } from '../../src/callers/caller.ts'
import { newCaller, newEncryptionKey } from '../../src/cli/keys.ts'
import { readConfig } from '../../src/config.ts'
import type { DoorAddresses } from '../../src/doors.ts'
import { createServedGateway } from '../../src/gateway.ts'
import type { HttpLimits } from '../../src/http-limits.ts'
import { settingsFor } from './environment.ts'

export interface Answer {
  readonly status: number
  readonly headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever comes.
  readonly body: any
}

export interface GatewayClient {
  readonly url: string
  readonly doors: DoorAddresses
  get(path: string, apiKey?: string): Promise<Answer>
  send(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  /** As after the audit file was renamed. */
  reopenAudit(): void
  leave(): void
  close(): Promise<void>
}

export interface Stack {
  readonly sandbox: SandboxDriver
  readonly redirectUri: string
  readonly apiKey: string
  /** A key that may do one thing alone. */
  keyFor(permission: Permission): string
  /** The settings that the gateways have in common. */
  readonly environment: Record<string, string>
  /** Everything that the gateways have logged, at `trace`. */
  readonly logged: string[]
  /** Another replica. */
  gateway(settings?: Record<string, string>, limits?: HttpLimits): Promise<GatewayClient>
}

const PERMISSIONS = ['authorize', 'provision', 'token:read', 'token:refresh', 'grant:read', 'grant:write'] as const

export async function startStack(
  t: Test,
  redisUrl: string,
  sandboxOptions: Parameters<typeof startDriven>[0] = {},
  settings: Record<string, string> = {},
): Promise<Stack> {
  const { driver: sandbox, close } = await startDriven(sandboxOptions)
  t.teardown(close)
  const everything = newCaller('everything', ['*'])
  const single = new Map(
    PERMISSIONS.map(permission => [permission, newCaller(permission.replace(':', '-'), [permission])]),
  )
  const entries = [everything, ...single.values()].map(({ entry }) => entry)
  const logged: string[] = []
  const logTo = new Writable({
    write(chunk, _encoding, done) {
      logged.push(String(chunk))
      done()
    },
  })
  const journal = mkdtempSync(join(tmpdir(), 'htgw-journal-'))
  t.teardown(() => rmSync(journal, { recursive: true, force: true }))
  const environment: Record<string, string> = {
    PORT: '0',
    ...settingsFor(sandbox.options),
    REDIS_URL: redisUrl,
    REDIS_PREFIX: `t${process.pid}.${Math.random().toString(36).slice(2)}`,
    ENCRYPTION_KEYS: newEncryptionKey(),
    CALLERS: JSON.stringify(entries),
    JOURNAL_DIR: journal,
    LOG_LEVEL: 'trace',
    ...settings,
  }

  async function gateway(more: Record<string, string> = {}, limits?: HttpLimits): Promise<GatewayClient> {
    const running = await createServedGateway(readConfig({ ...environment, ...more }), logTo, limits)
    const url = await running.listen()
    let isClosed = false
    const closeOnce = async () => {
      if (isClosed) return
      isClosed = true
      await running.close()
    }
    t.teardown(closeOnce)
    return {
      url,
      reopenAudit: () => running.audit.reopen(),
      doors: running.doors(),
      leave: () => running.leave(),
      close: closeOnce,
      get: (path, apiKey = everything.apiKey) =>
        ask(url, 'GET', path, undefined, { authorization: `Bearer ${apiKey}` }),
      send: (method, path, body, headers = {}) =>
        ask(url, method, path, body, { authorization: `Bearer ${everything.apiKey}`, ...headers }),
    }
  }

  return {
    sandbox,
    redirectUri: sandbox.options.redirectUri,
    apiKey: everything.apiKey,
    keyFor: permission => single.get(permission)?.apiKey ?? '',
    environment,
    logged,
    gateway,
  }
}

/** A body that is a string goes out as it is. */
async function ask(url: string, method: string, path: string, body: unknown, headers: Record<string, string>) {
  const hasBody = body !== undefined
  const response = await fetch(`${url}${path}`, {
    method,
    redirect: 'manual',
    headers: { connection: 'close', ...(hasBody ? { 'content-type': 'application/json' } : {}), ...headers },
    ...(hasBody ? { body: typeof body === 'string' ? body : JSON.stringify(body) } : {}),
  })
  const text = await response.text()
  const isJson = /json/.test(response.headers.get('content-type') ?? '')
  return { status: response.status, headers: response.headers, body: isJson && text !== '' ? JSON.parse(text) : text }
}
