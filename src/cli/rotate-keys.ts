import { type Environment, readConfig, type ServeConfig } from '../config.ts'
import { StoreUnavailable } from '../ports/store.ts'
import { createCodec } from '../store/codec.ts'
import { closeRedis, connectRedis } from '../store/redis/connection.ts'
import { createKeys } from '../store/redis/keys.ts'
import { resealRecords } from '../store/redis/reseal.ts'
import { createSealer } from '../store/sealing.ts'
import { createStoredForm } from '../store/stored-form.ts'
import { Tally, type Unreadables } from '../store/tally.ts'
import { resealJournal } from '../system/journal.ts'

/** Where the lines go: standard output. */
export interface Output {
  readonly isTTY?: boolean
  write(text: string): unknown
}

/** A walk that has nothing to do ends it. More than these: some gateway goes on sealing with another key. */
const MOST_WALKS = 4

/**
 * Seals everything anew with the first key, while gateways go on. Returns the exit code: 0, or 1 where something is not
 * sealed with it in the end. Throws `ConfigError`.
 */
export async function rotateKeys(output: Output, environment?: Environment, now = Date.now): Promise<number> {
  const config = readConfig(environment)
  const print = (line: string) => output.write(`${line}\n`)
  const ids = config.encryptionKeys.map(({ id }) => id)
  print(`Sealing with ${ids[0]}, the first of ENCRYPTION_KEYS (${ids.join(', ')}).`)
  const walks: Tally[] = []
  const progress = createProgress(output, walks, now)
  try {
    const isDone = await walkUntilSettled(config, walks, progress.show)
    progress.end()
    for (const line of summary(ids, walks, isDone)) print(line)
    return isDone && walks.at(-1)?.unreadableCount === 0 ? 0 : 1
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) throw error
    progress.end()
    print(`${resealedIn(walks)} re-sealed so far. ${error.message}.`)
    print('Nothing is lost, and every key is still needed: run this again, it goes on where it has stopped.')
    return 1
  }
}

/** Whether the last walk has seen everything, and had nothing to do. Each is added to `walks` when it begins. */
async function walkUntilSettled(config: ServeConfig, walks: Tally[], onProgress: () => void): Promise<boolean> {
  const sealer = createSealer(config.encryptionKeys)
  const [form, codec] = [createStoredForm(sealer), createCodec(sealer)]
  const keys = createKeys(config.redisPrefix)
  const client = connectRedis(config.redis)
  // What fails because of it says so.
  client.on('error', () => {})
  try {
    while (walks.length < MOST_WALKS) {
      const tally = new Tally()
      walks.push(tally)
      const isWhole = await resealRecords({ client, keys, form, tally, onProgress })
      await resealJournal(config.journalDir, codec, tally)
      if (isWhole && tally.isSettled) return true
    }
    return false
  } finally {
    closeRedis(client)
  }
}

function resealedIn(walks: readonly Tally[]): number {
  return walks.reduce((sum, walk) => sum + walk.resealed, 0)
}

function summary([sealing = '', ...others]: readonly string[], walks: readonly Tally[], isDone: boolean): string[] {
  const [first, last] = [walks[0] ?? new Tally(), walks.at(-1) ?? new Tally()]
  const lines = [`${resealedIn(walks)} re-sealed with ${sealing}, ${first.already} were sealed with it already.`]
  if (last.unreadableCount > 0) {
    lines.push(`${last.unreadableCount} cannot be opened, and are left as they are:`)
    lines.push(...last.unreadable.map(unreadables => `  ${described(unreadables)}`))
  }
  if (!isDone) {
    lines.push('Not done: records were sealed with another key while this ran, or a server of Redis went away.')
    lines.push(`Put ${sealing} first in ENCRYPTION_KEYS of every gateway, restart them, and run this again.`)
  }
  for (const id of others) {
    const count = last.neededBy(id)
    if (count > 0) lines.push(`${id} is still needed: ${count} ${count === 1 ? 'record says' : 'records say'} so.`)
    else if (isDone) lines.push(`${id} can be removed from ENCRYPTION_KEYS.`)
    else lines.push(`${id} may still be needed.`)
  }
  return lines
}

function described({ count, keyId, names, reason }: Unreadables): string {
  const why =
    reason === 'unknown_key'
      ? `sealed with ${keyId}, which is not in ENCRYPTION_KEYS`
      : `altered${keyId === null ? '' : ` (sealed with ${keyId}, as it says)`}`
  return `${count} ${why}: ${names.join(', ')}${count > names.length ? ' …' : ''}`
}

/** A line that rewrites itself on a terminal; elsewhere one now and then, for a log. */
const ON_TERMINAL_MS = 100
const IN_LOG_MS = 5_000
const CLEAR_LINE = '\r\x1b[K'

function createProgress(output: Output, walks: readonly Tally[], now: () => number) {
  const isTerminal = output.isTTY === true
  let shownAtMs = now()
  let isShown = false

  return {
    show(): void {
      if (now() - shownAtMs < (isTerminal ? ON_TERMINAL_MS : IN_LOG_MS)) return
      shownAtMs = now()
      isShown = true
      const looked = walks.at(-1)?.looked ?? 0
      const line = `walk ${walks.length}: ${looked} looked at, ${resealedIn(walks)} re-sealed`
      output.write(isTerminal ? `${CLEAR_LINE}${line}` : `${line}\n`)
    },
    end(): void {
      if (isTerminal && isShown) output.write(CLEAR_LINE)
    },
  }
}
