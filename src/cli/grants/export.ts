/**
 * `export`: takes the grants of a deployment out of its Redis, into a file that a passphrase opens. A refresh token works
 * once: so they are moved, not copied, and each is on the disk before it is taken out.
 */
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Environment, ServeConfig } from '../../config.ts'
import { readConfig } from '../../config.ts'
import { type ContainerWriter, createContainer, openContainer } from '../../handover/container.ts'
import { type Carried, toPlain } from '../../handover/records.ts'
import type { Secret } from '../../ports/secret.ts'
import { createCodec } from '../../store/codec.ts'
import { closeRedis } from '../../store/redis/connection.ts'
import {
  countGrants,
  type HandoverStore,
  isUnderWay,
  type Leaving,
  putBackAll,
  takeOut,
  visitLeaving,
} from '../../store/redis/handover.ts'
import { connectedGateways } from '../../store/redis/server-facts.ts'
import { createSealer } from '../../store/sealing.ts'
import { Tally } from '../../store/tally.ts'
import { createFileJournal } from '../../system/journal.ts'
import { appOf, type Closing, type Manifest, openStore } from './carrying.ts'
import { readPassphrase } from './passphrase.ts'
import { createProgress } from './progress.ts'
import { AskedWrongly, NotDone, type Terminal } from './terminal.ts'

export interface ExportOptions {
  readonly passphraseFile?: string | undefined
  /** The grants stay where they are. */
  readonly copy: boolean
  /** Whoever calls has made sure that no gateway runs, where Redis does not let that be seen. */
  readonly gatewaysStopped: boolean
}

const LOOK_AGAIN_MS = 500

/**
 * Returns the exit code. Throws `NotDone`, `AskedWrongly`, `ContainerError`, `StoreUnavailable`, `ConfigError`,
 * and what keeps the file from being written.
 */
export async function exportGrants(
  path: string,
  options: ExportOptions,
  terminal: Terminal,
  environment?: Environment,
): Promise<number> {
  const config = readConfig(environment)
  const store = openStore(config)
  try {
    if (!options.copy) await checkNobodyRenews(config, store, options)
    const file = await openFile(path, config, options, terminal)
    try {
      const tally = await fill(file, store, options.copy, terminal)
      const closing: Closing = { grants: file.grants.size, finished_at: new Date(terminal.now()).toISOString() }
      await file.writer.finish(closing)
      for (const line of summary(path, file.grants.size, options.copy)) terminal.out.write(`${line}\n`)
      for (const { count, names } of tally.unreadable) {
        terminal.out.write(
          `${count} cannot be opened, and stay where they are: ${names.join(', ')}. See docs/key-rotation.md.\n`,
        )
      }
      return tally.unreadableCount === 0 ? 0 : 1
    } finally {
      await file.writer.close()
    }
  } finally {
    closeRedis(store.client)
  }
}

/** Whoever renews meanwhile would be answered a pair that the file does not have. */
async function checkNobodyRenews(config: ServeConfig, store: HandoverStore, options: ExportOptions): Promise<void> {
  // First what says plainly that Redis is away.
  await countGrants(store)
  const gateways = await connectedGateways(store.client, store.keys)
  if (gateways === null && !options.gatewaysStopped) {
    throw new NotDone(
      'Redis does not let us see whether gateways run on it. Stop them all, then say --gateways-stopped.',
    )
  }
  if (gateways !== null && gateways > 0) {
    throw new NotDone(`${gateways} connected to this Redis as gateways are. Stop every gateway first; or see --copy.`)
  }
  const notOpened: string[] = []
  const journal = createFileJournal(config.journalDir, createCodec(createSealer(config.encryptionKeys)), name =>
    notOpened.push(name),
  )
  const waiting = (await journal.entries()).length + notOpened.length
  if (waiting > 0) {
    throw new NotDone(
      `${waiting} renewals wait in JOURNAL_DIR, newer than what is in Redis. Start a gateway here until it is empty, stop it, and run this again.`,
    )
  }
}

interface ExportFile {
  readonly writer: ContainerWriter
  /** The revision of each record that is in it, by name: the latest. */
  readonly revisions: Map<string, number>
  /** The names of the grants among them. */
  readonly grants: Set<string>
}

interface Line extends Carried {
  readonly kind: Leaving['kind']
  readonly revision: number
}

/** A new one; or one that was begun, and is gone on with. */
async function openFile(
  path: string,
  config: ServeConfig,
  { copy, passphraseFile }: ExportOptions,
  terminal: Terminal,
): Promise<ExportFile> {
  const manifest: Manifest = {
    kind: copy ? 'copy' : 'move',
    app: appOf(config),
    begun_at: new Date(terminal.now()).toISOString(),
  }
  const [revisions, grants] = [new Map<string, number>(), new Set<string>()]
  const isNew = !existsSync(path)
  const passphrase = await readPassphrase(passphraseFile, isNew, terminal)
  if (isNew) return { writer: await createContainer(path, passphrase, manifest), revisions, grants }
  const writer = await goOn(path, passphrase, manifest, line => {
    revisions.set(line.name, line.revision)
    if (line.kind === 'grant') grants.add(line.name)
  })
  terminal.err.write(`${path} was begun before, and is gone on with: ${grants.size} grants are in it.\n`)
  return { writer, revisions, grants }
}

async function goOn(
  path: string,
  passphrase: Secret,
  { app, kind }: Manifest,
  onLine: (line: Line) => void,
): Promise<ContainerWriter> {
  const reader = await openContainer(path, passphrase, 'r+')
  try {
    const before = reader.first as Manifest
    if (before.app !== app) throw new NotDone(`${path} is an export of another app: name another file.`)
    if (before.kind !== kind) {
      throw new AskedWrongly(`${path} was begun ${before.kind === 'copy' ? 'with' : 'without'} --copy: go on that way.`)
    }
    for await (const lines of reader.chunks()) for (const line of lines as readonly Line[]) onLine(line)
    return await reader.resume()
  } catch (error) {
    await reader.close()
    throw error
  }
}

/** A move ends when a walk through everything finds nothing more; a copy when it has each grant once. */
async function fill(file: ExportFile, store: HandoverStore, copy: boolean, terminal: Terminal): Promise<Tally> {
  const progress = createProgress(terminal.err, 'grants', terminal.now)
  const standing = await countGrants(store)
  const total = copy ? standing : file.grants.size + standing
  try {
    for (;;) {
      const tally = new Tally()
      let [taken, waitingFor] = [0, 0]
      const isWhole = await visitLeaving(store, tally, async (found, master) => {
        const { fresh, quiet } = sorted(found, file, store, terminal.now())
        waitingFor += found.filter(each => !quiet.includes(each) && !(copy && isIn(file, store, each))).length
        if (fresh.length > 0) await write(file, store, fresh)
        // On the disk: now they can go; those as well that were written before somebody was killed.
        if (!copy) await takeOut(store, quiet, master)
        taken += quiet.length
        progress.show(file.grants.size, total)
      })
      if (isWhole && waitingFor === 0 && (copy || taken === 0)) return tally
      if (waitingFor > 0) {
        progress.show(file.grants.size, total, `waiting for ${waitingFor} that are being renewed`)
        await sleep(LOOK_AGAIN_MS)
      }
    }
  } finally {
    progress.end()
  }
}

/** `quiet`: nobody is at them. `fresh`: those of them that the file does not have as they stand. */
function sorted(found: readonly Leaving[], file: ExportFile, { keys }: HandoverStore, nowMs: number) {
  const quiet = found.filter(each => !isUnderWay(each, nowMs))
  return { quiet, fresh: quiet.filter(({ key, stored }) => file.revisions.get(keys.nameOf(key)) !== stored.revision) }
}

function isIn({ revisions }: ExportFile, { keys }: HandoverStore, { key }: Leaving): boolean {
  return revisions.has(keys.nameOf(key))
}

async function write({ grants, revisions, writer }: ExportFile, { keys }: HandoverStore, fresh: readonly Leaving[]) {
  const lines = fresh.map(({ key, kind, stored }): Line => {
    return { name: keys.nameOf(key), kind, revision: stored.revision, record: toPlain(stored.record) }
  })
  await writer.append(lines)
  for (const { kind, name, revision } of lines) {
    revisions.set(name, revision)
    if (kind === 'grant') grants.add(name)
  }
}

function summary(path: string, grants: number, copy: boolean): readonly string[] {
  if (copy) {
    return [
      `${grants} grants are copied to ${path}. They stay here, too, and each renewal here makes the copy of that grant worthless.`,
      'Import it only when this deployment is gone for good: two that renew the same grants lose them.',
    ]
  }
  return [
    `${grants} grants are moved to ${path}. Gateways on this Redis do not have them any more.`,
    `Next, with the settings of the other deployment: healthtap-gateway grants import ${path}`,
    'Changed your mind, and imported it nowhere? Within 30 days: healthtap-gateway grants export --undo',
  ]
}

/** Puts back what was taken out. Returns the exit code; throws as `exportGrants`. */
export async function undoExport(
  { yes }: { readonly yes: boolean },
  terminal: Terminal,
  environment?: Environment,
): Promise<number> {
  const config = readConfig(environment)
  if (!yes) {
    if (terminal.ask === null) throw new AskedWrongly('Nobody is here to be asked: say --yes to put the grants back.')
    const question = 'Put the exported grants back? Only where they were imported nowhere: else both lose them. [y/N] '
    if (!/^y(es)?$/i.test((await terminal.ask(question)).trim())) {
      terminal.err.write('Nothing was done.\n')
      return 1
    }
  }
  const store = openStore(config)
  try {
    const { back, isWhole, overtaken } = await putBackAll(store)
    terminal.out.write(`${back} records are back in service.\n`)
    if (overtaken > 0) terminal.out.write(`${overtaken} are not: something newer stands in their place.\n`)
    if (!isWhole) terminal.out.write('A server of Redis went away meanwhile: run this again.\n')
    return isWhole ? 0 : 1
  } finally {
    closeRedis(store.client)
  }
}
