import { readFileSync } from 'node:fs'
import type { Redis } from 'ioredis'
import { RecordUnreadable } from '../../ports/store.ts'
import type { StoredForm } from '../stored-form.ts'
import type { Tally } from '../tally.ts'
import type { RedisClient } from './connection.ts'
import type { Keys } from './keys.ts'
import { keysNeededBy, resealRecord } from './records.ts'
import { onEachMaster, pipelined, recordKeysOn, storedUnder } from './walk.ts'

export interface ResealOptions {
  readonly client: RedisClient
  readonly keys: Keys
  readonly form: StoredForm
  /** What is found and done is counted there, as it goes. */
  readonly tally: Tally
  /** Called after each batch. */
  readonly onProgress: () => void
}

const SCRIPT = 'reseal_record'
const LUA = readFileSync(new URL(`./lua/${SCRIPT}.lua`, import.meta.url), 'utf8')

/**
 * Seals every record anew that is not sealed with the key that seals now, on every master, while gateways go on reading and
 * writing. Answers whether the walk has seen all that stood there throughout: where a server has gone or slots have moved
 * meanwhile, it may have missed some. Throws `StoreUnavailable`; what was done until then is done.
 */
export async function resealRecords(options: ResealOptions): Promise<boolean> {
  return await onEachMaster(options, master => walk(master, options))
}

async function walk(master: Redis, options: ResealOptions): Promise<void> {
  const { keys, onProgress } = options
  master.defineCommand(SCRIPT, { lua: LUA, numberOfKeys: 1 })
  for await (const names of recordKeysOn(master, keys)) {
    await resealBatch(master, names, options)
    onProgress()
  }
}

async function resealBatch(master: Redis, names: readonly string[], options: ResealOptions): Promise<void> {
  const { tally } = options
  const found = await storedUnder(master, names)
  const writes = names.flatMap((key, index) => {
    const stored = found[index]
    const resealed = stored == null ? null : reseal(key, stored, options)
    return stored == null || resealed === null ? [] : [[SCRIPT, key, stored, resealed]]
  })
  for (const answer of await pipelined(master, writes)) {
    if (answer === 1) tally.resealed += 1
    else tally.overtaken += 1
  }
}

/** null: there is nothing to be written. */
function reseal(key: string, stored: Buffer, { form, keys, tally }: ResealOptions): Buffer | null {
  tally.needs(keysNeededBy(stored))
  try {
    const resealed = resealRecord(form, key, stored)
    if (resealed === null) tally.already += 1
    return resealed
  } catch (error) {
    if (!(error instanceof RecordUnreadable)) throw error
    const record = keys.recordUnder(key)
    // The other names say something about somebody, or are good for something.
    tally.doesNotOpen(error, record?.kind === 'grant' ? `grant ${record.name}` : `a ${record?.kind} record`)
    return null
  }
}
