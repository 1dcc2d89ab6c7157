import type { Clock } from '../ports/clock.ts'

/** Whoever scrapes waits for ten seconds, and others are in the same queue. */
const WAIT_MS = 1_000

/**
 * `ask`, at most once in `everyMs`: who comes in between is told the same. null: it failed, or did not answer in a second; that
 * is told in between as well, so that nobody waits for it again and again.
 */
export function nowAndThen<T>(clock: Clock, everyMs: number, ask: () => Promise<T>): () => Promise<T | null> {
  let askedAtMs = Number.NEGATIVE_INFINITY
  let answer: Promise<T | null> = Promise.resolve(null)

  async function inTime(): Promise<T | null> {
    const done = new AbortController()
    try {
      return await Promise.race([ask(), clock.sleep(WAIT_MS, done.signal).then(() => null)])
    } catch {
      return null
    } finally {
      done.abort()
    }
  }

  return () => {
    const nowMs = clock.now()
    if (Math.abs(nowMs - askedAtMs) >= everyMs) {
      askedAtMs = nowMs
      answer = inTime()
    }
    return answer
  }
}
