/** Where the records lie: in memory, or on a real server. */
import type { Clock } from '../../src/ports/clock.ts'
import type { Stores } from '../../src/ports/store.ts'
import { createMemoryStores } from '../../src/store/memory.ts'
import { atOnce, type Schedule } from './schedule.ts'

export interface Backend {
  /** To look into, and for faults. */
  readonly stores: Stores
  /** The same records, for one replica. */
  connect(): Stores
  /** Resolves when nothing that was asked is unanswered, and what follows from that has happened. */
  idle(): Promise<void>
}

export function memoryBackend(schedule: Schedule): Backend {
  const stores = createMemoryStores({ now: () => schedule.nowMs })
  return { stores, connect: () => stores, idle: atOnce }
}

/** How many connections replicas share: more than there are at once. */
const CONNECTIONS = 4

/**
 * Records on a server. Simulated time stands still until the server has answered. So the order of calls is the seed's; only the
 * words that the server publishes come when they come. `open` connects once.
 */
export function serverBackend(
  schedule: Schedule,
  open: (clock: Clock) => Stores,
): Backend & { close(): Promise<void> } {
  const clock: Clock = {
    now: () => schedule.nowMs,
    sleep: () => atOnce(),
    after: (ms, act) => schedule.after(ms, act),
  }
  let unanswered = 0
  const counted = (stores: Stores): Stores => {
    const wrapped = Object.entries(stores).map(([name, member]) => {
      if (typeof member === 'function' || name === 'sightings') return [name, member]
      const methods = Object.entries(member as Record<string, (...args: unknown[]) => unknown>)
      return [
        name,
        Object.fromEntries(methods.map(([method, run]) => [method, method === 'settled' ? run : counting(run)])),
      ]
    })
    return Object.fromEntries(wrapped) as Stores
  }
  const counting =
    (run: (...args: unknown[]) => unknown) =>
    (...args: unknown[]) => {
      const answer = run(...args)
      if (!(answer instanceof Promise)) return answer
      unanswered += 1
      return answer.finally(() => {
        unanswered -= 1
      })
    }
  const all = Array.from({ length: CONNECTIONS }, () => open(clock))
  let next = 0
  const connections = all.map(counted)
  return {
    stores: connections[0] as Stores,
    connect() {
      next = (next % (CONNECTIONS - 1)) + 1
      return connections[next] as Stores
    },
    async idle() {
      do await atOnce()
      while (unanswered > 0)
      await atOnce()
    },
    async close() {
      await Promise.all(all.map(stores => stores.close()))
    },
  }
}
