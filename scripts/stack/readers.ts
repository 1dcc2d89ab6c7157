/** Somebody who reads tokens all the time. */
import type { People } from './people.ts'

interface Tally {
  read: number
  /** What was answered instead of a token. */
  readonly failed: string[]
}

const READERS = 4

export function newTally(): Tally {
  return { read: 0, failed: [] }
}

/** Reads from before `work` has begun until it is done, and a little more. Rejects as `work` does. */
export async function readUntil(people: People, tally: Tally, work: Promise<void>): Promise<void> {
  let isOver = false
  const readers = Array.from({ length: READERS }, async (_, reader) => {
    for (let turn = reader; !isOver; turn += 1) {
      const guid = people.guids[turn % people.guids.length] ?? ''
      const { status, text } = await people.read(guid)
      tally.read += 1
      if (status !== 200) tally.failed.push(`${status} ${text.slice(0, 200)}`)
    }
  })
  await work.finally(() => {
    isOver = true
  })
  await Promise.all(readers)
}
