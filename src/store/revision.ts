import { randomInt } from 'node:crypto'
import type { Clock } from '../ports/clock.ts'
import { ABSENT } from '../ports/store.ts'

/**
 * The revision after this one. A new record begins at the clock's milliseconds and a random part, so that one which was
 * removed and made again is not taken for the one before by a writer who slept in between. Each step is of a random size
 * for the same reason: after a fail-over that lost writes, others take their place, and have to be told from them.
 */
export function nextRevision(revision: number, clock: Pick<Clock, 'now'>): number {
  return revision === ABSENT ? clock.now() * 1000 + randomInt(1000) : revision + 1 + randomInt(1000)
}
