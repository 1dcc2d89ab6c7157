import type { Rotation } from '../ports/journal.ts'
import type { BrokerContext } from './context.ts'

/** What keeps a pair that the store has not taken, for the next start. */
export interface JournalEntry {
  keep(): Promise<void>
  drop(): Promise<void>
}

/** Kept at most once; one that cannot be dropped is harmless: the next start finds that it was committed. */
export function journalEntry({ events, journal }: BrokerContext, rotation: Rotation): JournalEntry {
  let keeping: Promise<void> = Promise.resolve()
  let isKept = false

  async function put(): Promise<void> {
    if (isKept) return
    isKept = await journal.put(rotation).then(
      () => true,
      () => false,
    )
    const version = rotation.replacesVersion + 1
    events.emit({ type: 'commit.delayed', guid: rotation.guid, version, journaled: isKept })
  }

  return {
    keep() {
      keeping = keeping.then(put)
      return keeping
    },
    async drop() {
      await keeping
      if (isKept) await journal.remove(rotation).catch(() => {})
    },
  }
}
