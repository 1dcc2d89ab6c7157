/**
 * Whom the provider has said something about that may be meant for all, such as "wait". Where others succeed afterwards, it was
 * about that subject alone.
 */
import { LRUCache } from 'lru-cache'

export interface Suspects {
  /** How many are under suspicion. */
  readonly size: number
  has(subject: string): boolean
  /** `request`: the number of the latest request by now. */
  add(subject: string, request: number): void
  /** The request of this number has succeeded; `subject` null: a probe. What was said before it went out was not meant for all. */
  succeeded(subject: string | null, request: number): void
  /** Whether it is known to be about this subject alone. That lasts until it succeeds. */
  isAlone(subject: string): boolean
}

export function createSuspects(most: number): Suspects {
  const suspects = new LRUCache<string, number>({ max: most })
  const alone = new LRUCache<string, true>({ max: most })
  return {
    get size() {
      return suspects.size
    },
    has: subject => suspects.has(subject),
    add: (subject, request) => void suspects.set(subject, request),
    succeeded(subject, request) {
      if (subject !== null) {
        suspects.delete(subject)
        alone.delete(subject)
      }
      for (const [suspect, since] of [...suspects.entries()]) {
        if (request <= since) continue
        suspects.delete(suspect)
        alone.set(suspect, true)
      }
    },
    isAlone: subject => alone.has(subject),
  }
}
