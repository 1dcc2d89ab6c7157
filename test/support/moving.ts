import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { exportGrants } from '../../src/cli/grants/export.ts'
import { importGrants } from '../../src/cli/grants/import.ts'
import type { Terminal } from '../../src/cli/grants/terminal.ts'
import { newEncryptionKey } from '../../src/cli/keys.ts'
import type { Environment } from '../../src/config.ts'
import type { Grant } from '../../src/ports/records.ts'
import { encryptionKeys } from '../../src/settings/forms.ts'
import { systemClock } from '../../src/system/clock.ts'
import { openRedisStores } from '../contract/redis-stores.ts'
import { putKnown } from '../support/key-drill.ts'
import type { Stack } from '../support/stack.ts'

export const PASSPHRASE = 'correct horse battery staple'

export interface Files {
  readonly file: string
  readonly passphraseFile: string
}

export function filesOf(t: Test, passphrase = PASSPHRASE): Files {
  const dir = mkdtempSync(join(tmpdir(), 'htgw-move-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const passphraseFile = join(dir, 'passphrase')
  writeFileSync(passphraseFile, `${passphrase}\n`)
  return { file: join(dir, 'grants.export'), passphraseFile }
}

/** Settings of another deployment for the same app: its own prefix, keys and journal. */
export function elsewhere(t: Test, { environment }: Stack, more: Record<string, string> = {}): Record<string, string> {
  const journal = mkdtempSync(join(tmpdir(), 'htgw-journal-'))
  t.teardown(() => rmSync(journal, { recursive: true, force: true }))
  const prefix = `t${process.pid}.${Math.random().toString(36).slice(2)}`
  return { ...environment, REDIS_PREFIX: prefix, ENCRYPTION_KEYS: newEncryptionKey(), JOURNAL_DIR: journal, ...more }
}

export function storesOf(t: Test, environment: Environment) {
  const keys = encryptionKeys(environment.ENCRYPTION_KEYS ?? '')
  const server = { url: environment.REDIS_URL ?? '' }
  const stores = openRedisStores(server, systemClock, { prefix: environment.REDIS_PREFIX ?? '', keys })
  let isClosed = false
  const close = async () => {
    if (!isClosed) await stores.close()
    isClosed = true
  }
  t.teardown(close)
  return { ...stores, close }
}

/** Puts these grants there; what has opened the store for it is gone when this resolves, as a gateway would be that was stopped. */
export async function fillWith(t: Test, environment: Environment, guids: readonly string[]): Promise<void> {
  const stores = storesOf(t, environment)
  await putKnown(stores, guids)
  await stores.close()
  await nobodyListens(t, environment)
}

/** Redis notices a moment later that somebody has gone. */
export async function nobodyListens(t: Test, environment: Environment): Promise<void> {
  const raw = new Redis(environment.REDIS_URL ?? '')
  while (((await raw.call('PUBSUB', 'NUMSUB', `${environment.REDIS_PREFIX}:settled`)) as unknown[])[1] !== 0)
    await raw.ping()
  raw.disconnect()
  t.ok(true, 'nobody listens')
}

/** Of Redis: it may not see who listens. */
export async function blindUser(environment: Environment): Promise<void> {
  const raw = new Redis(environment.REDIS_URL ?? '')
  await raw.call('ACL', 'SETUSER', 'blind', 'reset', 'on', '>password', '~*', '&*', '+@all', '-pubsub|numsub')
  raw.disconnect()
}

export async function grantsIn(t: Test, environment: Environment): Promise<ReadonlyMap<string, Grant>> {
  const { close, grants } = storesOf(t, environment)
  const found = new Map<string, Grant>()
  let cursor: string | undefined
  do {
    const page = await grants.list({ limit: 500, ...(cursor === undefined ? {} : { cursor }) })
    for (const grant of page?.grants ?? []) found.set(grant.guid, grant)
    cursor = page?.nextCursor ?? undefined
  } while (cursor !== undefined)
  await close()
  await nobodyListens(t, environment)
  return found
}

export function seat(more: Partial<Terminal> = {}) {
  const [out, err]: [string[], string[]] = [[], []]
  const terminal: Terminal = {
    out: { write: text => out.push(text) },
    err: { write: text => err.push(text) },
    now: Date.now,
    ask: null,
    ...more,
  }
  return { terminal, printed: () => out.join(''), said: () => err.join('') }
}

export const MOVE = { copy: false, gatewaysStopped: false }
export const TAKE = { sourceIsGone: false, partial: false }

/** What it prints; or how it fails. */
export async function run(
  work: (terminal: Terminal) => Promise<number>,
  more: Partial<Terminal> = {},
): Promise<string> {
  const { printed, terminal } = seat(more)
  return await work(terminal).then(
    code => `${code} ${printed()}`,
    (error: Error) => `${error.name}: ${error.message}`,
  )
}

export const exporting = ({ file, passphraseFile }: Files, environment: Environment, more = {}, terminal = {}) =>
  run(to => exportGrants(file, { ...MOVE, passphraseFile, ...more }, to, environment), terminal)
export const importing = ({ file, passphraseFile }: Files, environment: Environment, more = {}, terminal = {}) =>
  run(to => importGrants(file, { ...TAKE, passphraseFile, ...more }, to, environment), terminal)
