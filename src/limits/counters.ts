/** What this replica has counted, and what it has been told of the others: two windows of it, and no more than so many names. */
import type { CountChange, CountTotal } from '../ports/counts.ts'
import { WINDOW_MS, waitMs } from './window.ts'

interface Count {
  own: number
  /** As much of `own` as the others can know of. */
  shared: number
  /** What the others had counted when we last heard of it. */
  others: number
}

interface Window {
  readonly number: number
  /** The oldest first. */
  readonly counts: Map<string, Count>
  /** The names with something in them that the others cannot know of. */
  readonly changed: Set<string>
}

export interface Counters {
  /**
   * Counts so many requests, if all of them are within `limit` for each window; else none, and it returns milliseconds until they
   * would be, or as many as ever can be.
   */
  take(name: string, limit: number, nowMs: number, count?: number): number
  hasChanges(): boolean
  /** Up to `most` names, with what the others do not know yet. */
  changes(most: number): readonly CountChange[]
  /** What the others answered to `change`; null: nothing, it is going to be told again. */
  learn(change: CountChange, answer: CountTotal | null): void
}

/** Beyond `maxNames` the name that was first counted in its window is forgotten; where counts are shared, it is learned again. */
export function createCounters(maxNames: number): Counters {
  let before = emptyWindow(-2)
  let current = emptyWindow(-1)

  function turnTo(number: number): void {
    if (number === current.number) return
    // A clock that was set back a little goes on in the window it was in.
    if (number === current.number - 1) return
    before = number === current.number + 1 ? current : emptyWindow(number - 1)
    current = emptyWindow(number)
  }

  function countOf(window: Window, name: string): Count {
    const known = window.counts.get(name)
    if (known !== undefined) return known
    const [oldest] = window.counts.size < maxNames ? [] : window.counts.keys()
    if (oldest !== undefined) {
      window.counts.delete(oldest)
      window.changed.delete(oldest)
    }
    const count = { own: 0, shared: 0, others: 0 }
    window.counts.set(name, count)
    return count
  }

  function unknown(window: Window, name: string): number {
    const count = window.counts.get(name)
    return count === undefined ? 0 : count.own - count.shared
  }

  function learnOf(window: Window, name: string, added: number, total: number): void {
    const count = countOf(window, name)
    count.shared += added
    count.others = Math.max(0, total - count.shared)
    if (count.own <= count.shared) window.changed.delete(name)
  }

  return {
    take(name, limit, nowMs, count = 1) {
      turnTo(Math.floor(nowMs / WINDOW_MS))
      const elapsedMs = Math.max(0, nowMs - current.number * WINDOW_MS)
      const usage = { current: totalOf(current, name), before: totalOf(before, name), elapsedMs }
      const wait = waitMs(usage, limit, count)
      if (wait > 0 || count > limit) return Math.max(1, wait)
      countOf(current, name).own += count
      current.changed.add(name)
      return 0
    },
    hasChanges: () => before.changed.size + current.changed.size > 0,
    changes(most) {
      const names = [...new Set([...before.changed, ...current.changed])].slice(0, most)
      return names.map(name => ({
        name,
        window: current.number,
        add: unknown(current, name),
        addBefore: unknown(before, name),
      }))
    },
    learn(change, answer) {
      if (answer === null) return
      const { name, window, add, addBefore } = change
      if (window === current.number) {
        learnOf(current, name, add, answer.total)
        learnOf(before, name, addBefore, answer.totalBefore)
      } else if (window === before.number) {
        // A new window has begun in between.
        learnOf(before, name, add, answer.total)
      }
    },
  }
}

function emptyWindow(number: number): Window {
  return { number, counts: new Map(), changed: new Set() }
}

function totalOf(window: Window, name: string): number {
  const count = window.counts.get(name)
  return count === undefined ? 0 : count.own + count.others
}
