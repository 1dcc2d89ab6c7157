/**
 * How many requests a name may make. Counted in windows of ten seconds; what was counted in the window before weighs as much
 * as it still lies within the last ten seconds, as if it had been spread evenly. Pure.
 */
export const WINDOW_MS = 10_000

export interface Usage {
  /** Counted since the window began. */
  readonly current: number
  readonly before: number
  readonly elapsedMs: number
}

/**
 * Milliseconds until so many more requests are within `limit` for each window, if nobody else asks; 0: they are now. Where they are
 * more than ever can be, until as many as can be are.
 */
export function waitMs({ current, before, elapsedMs }: Usage, limit: number, count = 1): number {
  const room = limit - Math.min(count, limit)
  const leftMs = WINDOW_MS - elapsedMs
  if (current <= room) return Math.max(0, untilFadedMs(before, room - current) - elapsedMs)
  return leftMs + untilFadedMs(current, room)
}

/** How far into the next window, in whole milliseconds, `count` weighs no more than `room`. */
function untilFadedMs(count: number, room: number): number {
  return count <= room ? 0 : Math.ceil((WINDOW_MS * (count - room)) / count)
}
