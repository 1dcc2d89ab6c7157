import PQueue from 'p-queue'
import type { Lane, Slots } from '../ports/slots.ts'
import { inOwnScope } from '../scope.ts'

const PRIORITY: Readonly<Record<Lane, number>> = { reader: 1, background: 0 }

/**
 * At most `concurrency` tasks at once; a reader's goes before those that wait in the background. Each goes on in the trace of
 * who asked for it, and not of whose end made room.
 */
export function createSlots(concurrency: number): Slots {
  const queue = new PQueue({ concurrency })
  const waiting = new Set<string>()

  return {
    run: (lane, task) => queue.add(inOwnScope(task), { priority: PRIORITY[lane] }),
    runNamed(name, lane, task) {
      waiting.add(name)
      const begin = () => {
        waiting.delete(name)
        return task()
      }
      return queue.add(inOwnScope(begin), { id: name, priority: PRIORITY[lane] })
    },
    hurry(name) {
      if (waiting.has(name)) queue.setPriority(name, PRIORITY.reader)
    },
  }
}
