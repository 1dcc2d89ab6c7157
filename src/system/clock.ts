import type { Clock } from '../ports/clock.ts'

/** Longer sleeps would overflow the timer and end at once. */
const LONGEST_SLEEP_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep(ms, signal) {
    return new Promise(resolve => {
      if (signal?.aborted) return resolve()
      const wake = () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', wake)
        resolve()
      }
      const timer = setTimeout(wake, Math.min(ms, LONGEST_SLEEP_MS))
      signal?.addEventListener('abort', wake)
    })
  },
}
