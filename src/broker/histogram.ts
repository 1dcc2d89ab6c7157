import type { Histogram } from './survey.ts'

export interface HistogramCounting {
  /** What lies before or after all of it is not counted. */
  add(atMs: number): void
  counted(): Histogram
}

/** `size` stretches of `everyMs`, the first of which begins at `fromMs`; each holds its beginning, and not its end. */
export function countingByTime(of: { fromMs: number; everyMs: number; size: number }): HistogramCounting {
  const { fromMs, everyMs, size } = of
  const counts = new Array<number>(size).fill(0)
  return {
    add(atMs) {
      const index = Math.floor((atMs - fromMs) / everyMs)
      if (index >= 0 && index < size) counts[index] = (counts[index] ?? 0) + 1
    },
    counted: () => ({ fromMs, everyMs, counts }),
  }
}

/** Where the stretch that holds `atMs` begins, if they are counted from 1970: so that they stay where they are as time goes by. */
export function beginningOf(atMs: number, everyMs: number): number {
  return Math.floor(atMs / everyMs) * everyMs
}
