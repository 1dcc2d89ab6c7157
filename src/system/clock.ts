import type { Clock } from '../ports/clock.ts'

/** Longer sleeps would overflow the timer and end at once. */
const LONGEST_SLEEP_MS = 2 ** 31 - 1

function after(ms: number, act: () => void): () => void {
  const timer = setTimeout(act, Math.min(ms, LONGEST_SLEEP_MS))
  return () => clearTimeout(timer)
}

export const systemClock: Clock = {
  now: () => Date.now(),
  after,
  sleep(ms, signal) {
    return new Promise(resolve => {
      if (signal?.aborted) return resolve()
      const wake = () => {
        cancel()
        signal?.removeEventListener('abort', wake)
        resolve()
      }
      const cancel = after(ms, wake)
      signal?.addEventListener('abort', wake)
    })
  },
}
