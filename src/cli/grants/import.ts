/** `import`: puts what `export` has written into the Redis of a deployment, whose gateways may run. Nothing that is there is written over. */
import { type Environment, readConfig } from '../../config.ts'
import { type ContainerReader, openContainer } from '../../handover/container.ts'
import { type Carried, fromPlain } from '../../handover/records.ts'
import type { Grant, Provisioning } from '../../ports/records.ts'
import { RecordUnreadable } from '../../ports/store.ts'
import { closeRedis } from '../../store/redis/connection.ts'
import { type HandoverStore, place } from '../../store/redis/handover.ts'
import { defineScripts, type Scripts } from '../../store/redis/scripts.ts'
import { appOf, type Manifest, openStore } from './carrying.ts'
import { readPassphrase } from './passphrase.ts'
import { createProgress } from './progress.ts'
import { AskedWrongly, NotDone, type Terminal } from './terminal.ts'

export interface ImportOptions {
  readonly passphraseFile?: string | undefined
  /** Whoever calls has made sure that a copy's source renews nothing any more. */
  readonly sourceIsGone: boolean
  /** Also a file whose writer was stopped. */
  readonly partial: boolean
}

interface Outcome {
  placed: number
  /** The same authorization stands there: from an import before. */
  already: number
  /** Something else stands there: by name, the first few. */
  readonly others: string[]
  otherCount: number
}

const MOST_NAMES = 5
const AT_ONCE = 50

/** Returns the exit code. Throws as `exportGrants`. */
export async function importGrants(
  path: string,
  options: ImportOptions,
  terminal: Terminal,
  environment?: Environment,
): Promise<number> {
  const config = readConfig(environment)
  const passphrase = await readPassphrase(options.passphraseFile, false, terminal)
  const latest = await survey(await openContainer(path, passphrase, 'r'), path, appOf(config), options)
  const store = openStore(config)
  const reader = await openContainer(path, passphrase, 'r')
  try {
    const outcome = await placeAll(reader, latest, { ...store, scripts: defineScripts(store.client) }, terminal)
    for (const line of summary(outcome)) terminal.out.write(`${line}\n`)
    return outcome.otherCount === 0 ? 0 : 1
  } finally {
    await reader.close()
    closeRedis(store.client)
  }
}

/** Reads all of it before anything is written. Answers in which chunk each record stands last: that is the newest of it. */
async function survey(
  reader: ContainerReader,
  path: string,
  app: string,
  { partial, sourceIsGone }: ImportOptions,
): Promise<ReadonlyMap<string, number>> {
  try {
    const manifest = reader.first as Manifest
    if (manifest.app !== app) {
      throw new NotDone(`${path} was exported for another HEALTHTAP_APP_ID: its tokens would be refused here.`)
    }
    const latest = new Map<string, number>()
    let index = 0
    for await (const chunk of reader.chunks()) {
      for (const { name } of chunk as readonly Carried[]) latest.set(name, index)
      index += 1
    }
    if (reader.last() === undefined && !partial) {
      throw new NotDone(
        `${path} is not finished: run grants export with it again. If its Redis is gone for good, say --partial.`,
      )
    }
    if (manifest.kind === 'copy' && !sourceIsGone) {
      throw new AskedWrongly(
        `${path} is a copy: where its gateways still run, both would lose people. If they are gone for good, say --source-is-gone.`,
      )
    }
    return latest
  } finally {
    await reader.close()
  }
}

async function placeAll(
  reader: ContainerReader,
  latest: ReadonlyMap<string, number>,
  store: HandoverStore & { readonly scripts: Scripts },
  terminal: Terminal,
): Promise<Outcome> {
  const outcome: Outcome = { placed: 0, already: 0, others: [], otherCount: 0 }
  const progress = createProgress(terminal.err, 'records', terminal.now)
  let [index, looked] = [0, 0]
  try {
    for await (const chunk of reader.chunks()) {
      const newest = (chunk as readonly Carried[]).filter(({ name }) => latest.get(name) === index)
      for (let start = 0; start < newest.length; start += AT_ONCE) {
        const some = newest.slice(start, start + AT_ONCE)
        await Promise.all(some.map(carried => placeOne(carried, store, outcome)))
        looked += some.length
        progress.show(looked, latest.size)
      }
      index += 1
    }
    return outcome
  } finally {
    progress.end()
  }
}

async function placeOne(
  { name, record: plain }: Carried,
  store: HandoverStore & { readonly scripts: Scripts },
  outcome: Outcome,
): Promise<void> {
  const record = fromPlain(plain) as Grant | Provisioning
  const key = store.keys.named(name)
  const standing = await place(store, key, record).catch((error: unknown) => {
    if (error instanceof RecordUnreadable) return 'unreadable' as const
    throw error
  })
  if (standing === null) {
    if ('pair' in record) outcome.placed += 1
  } else if (standing !== 'unreadable' && isSame(record, standing)) {
    if ('pair' in record) outcome.already += 1
  } else {
    outcome.otherCount += 1
    const what = 'pair' in record ? `grant ${record.guid}` : 'a username that belongs to somebody else here'
    if (outcome.others.length < MOST_NAMES && !outcome.others.includes(what)) outcome.others.push(what)
  }
}

/** Whether what stands is this very record, or what has become of it since it was imported. */
function isSame(record: Grant | Provisioning, standing: Grant | Provisioning): boolean {
  if ('pair' in record) {
    return 'pair' in standing && standing.createdAtMs === record.createdAtMs && standing.version >= record.version
  }
  if (record.status !== 'done') return true
  return !('pair' in standing) && standing.status === 'done' && standing.guid === record.guid
}

function summary({ already, others, otherCount, placed }: Outcome): readonly string[] {
  const lines = [`${placed} grants are imported${already > 0 ? `, ${already} were there already` : ''}.`]
  if (otherCount > 0) {
    const more = otherCount > others.length ? ' …' : ''
    lines.push(`${otherCount} are left as they stand here, and differ from the file: ${others.join(', ')}${more}`)
  }
  return lines
}
