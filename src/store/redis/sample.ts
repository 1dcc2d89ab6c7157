import { RecordUnreadable } from '../../ports/store.ts'
import { type Codec, keyIdsIn } from '../codec.ts'
import { Tally } from '../tally.ts'
import type { RedisClient } from './connection.ts'
import type { Keys } from './keys.ts'
import { parseRecord } from './records.ts'
import { onEachMaster, recordKeysOn, textsOf } from './walk.ts'

export interface Sample {
  readonly opened: number
  /** By which keys they are sealed, and what does not open. */
  readonly tally: Tally
}

/** A server that is full of other things is not walked to its end. */
const MOST_STEPS = 40

/** Opens up to some `most` records on each master, as they come: Redis lists them by a hash of their names. Throws `StoreUnavailable`. */
export async function sampleRecords(
  { client, keys, codec }: { client: RedisClient; keys: Keys; codec: Codec },
  most: number,
): Promise<Sample> {
  const tally = new Tally()
  let opened = 0
  await onEachMaster({ client, keys }, async master => {
    let [looked, steps] = [0, 0]
    for await (const names of recordKeysOn(master, keys)) {
      const texts = await textsOf(master, names)
      names.forEach((key, index) => {
        const text = texts[index]
        if (text != null && opens(key, text)) opened += 1
      })
      looked += names.length
      steps += 1
      if (looked >= most || steps >= MOST_STEPS) break
    }
  })
  return { opened, tally }

  function opens(key: string, text: string): boolean {
    tally.needs(keyIdsIn(text))
    try {
      parseRecord(codec, key, text)
      return true
    } catch (error) {
      if (!(error instanceof RecordUnreadable)) throw error
      const record = keys.recordUnder(key)
      tally.doesNotOpen(error, record?.kind === 'grant' ? `grant ${record.name}` : `a ${record?.kind} record`)
      return false
    }
  }
}
