import { RecordUnreadable } from '../../ports/store.ts'
import type { StoredForm } from '../stored-form.ts'
import { Tally } from '../tally.ts'
import type { RedisClient } from './connection.ts'
import type { Keys } from './keys.ts'
import { keysNeededBy, parseRecord } from './records.ts'
import { onEachMaster, recordKeysOn, storedUnder } from './walk.ts'

export interface Sample {
  readonly opened: number
  /** By which keys they are sealed, and what does not open. */
  readonly tally: Tally
}

/** A server that is full of other things is not walked to its end. */
const MOST_STEPS = 40

/** Opens up to some `most` records on each master, as they come: Redis lists them by a hash of their names. Throws `StoreUnavailable`. */
export async function sampleRecords(
  { client, keys, form }: { client: RedisClient; keys: Keys; form: StoredForm },
  most: number,
): Promise<Sample> {
  const tally = new Tally()
  let opened = 0
  await onEachMaster({ client, keys }, async master => {
    let [looked, steps] = [0, 0]
    for await (const names of recordKeysOn(master, keys)) {
      const found = await storedUnder(master, names)
      names.forEach((key, index) => {
        const stored = found[index]
        if (stored != null && opens(key, stored)) opened += 1
      })
      looked += names.length
      steps += 1
      if (looked >= most || steps >= MOST_STEPS) break
    }
  })
  return { opened, tally }

  function opens(key: string, stored: Buffer): boolean {
    tally.needs(keysNeededBy(stored))
    try {
      parseRecord(form, key, stored)
      return true
    } catch (error) {
      if (!(error instanceof RecordUnreadable)) throw error
      const record = keys.recordUnder(key)
      tally.doesNotOpen(error, record?.kind === 'grant' ? `grant ${record.name}` : `a ${record?.kind} record`)
      return false
    }
  }
}
