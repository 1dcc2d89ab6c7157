import { type Clock, sleepBy } from '../ports/clock.ts'

/** Longer ones would overflow the timer and end at once. */
const LONGEST_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (ms, signal) => sleepBy(systemClock, ms, signal),
  after(ms, act) {
    const timer = setTimeout(act, Math.min(ms, LONGEST_MS))
    return () => clearTimeout(timer)
  },
}
