/**
 * Deadlines in awake time: the time in which this process ran. A process that was stopped (SIGSTOP, a frozen VM or cgroup) or
 * whose event loop was blocked has not read its sockets meanwhile, so that time does not count against the other side.
 *
 * One timer ticks for all open deadlines; there is none while none is open. A tick adds the time since the last one, at most
 * two ticks' worth. A deadline is acted on after the event loop has polled the sockets, so an answer that is already in the
 * kernel's buffer wins. After a late tick no deadline ends for another `GRACE_TICKS`: a sender may have to send again what our
 * host did not take while it was frozen.
 */

export interface Deadlines {
  /** The point in awake time that lies this far ahead. */
  in(ms: number): number
  /** Calls `expire` once this point in awake time has passed, unless the returned function was called before. */
  watch(atMs: number, expire: () => void): () => void
}

/** What tells and schedules time; tests move it by hand. */
export interface Ticking {
  /** Monotonic milliseconds. */
  now(): number
  /** Calls `tick` once, after `TICK_MS`. */
  schedule(tick: () => void): void
  /** Calls `work` once the sockets have been polled. */
  afterPoll(work: () => void): void
}

export const TICK_MS = 50
const LATE_MS = 2 * TICK_MS
/** 100 ms: enough for an answer that waits in the kernel, or for one retransmission in a data centre. */
const GRACE_TICKS = 2

interface Watched {
  readonly atMs: number
  readonly expire: () => void
}

export function createDeadlines(ticking: Ticking = realTicking()): Deadlines {
  const open = new Set<Watched>()
  let awakeMs = 0
  let tickedAtMs = 0
  let isTicking = false
  let graceTicks = 0

  function awakeNowMs(): number {
    return isTicking ? awakeMs + sinceTickMs() : awakeMs
  }

  function sinceTickMs(): number {
    return Math.min(ticking.now() - tickedAtMs, LATE_MS)
  }

  function tick(): void {
    const isLate = ticking.now() - tickedAtMs > LATE_MS
    awakeMs += sinceTickMs()
    tickedAtMs = ticking.now()
    isTicking = open.size > 0
    if (!isTicking) return
    // A loop that is late at every tick still gets to its deadlines: no grace begins while one ends.
    if (graceTicks > 0) graceTicks -= 1
    else if (isLate) graceTicks = GRACE_TICKS
    if (graceTicks === 0 && isAnyPast()) ticking.afterPoll(expirePast)
    ticking.schedule(tick)
  }

  function isAnyPast(): boolean {
    for (const { atMs } of open) if (atMs <= awakeMs) return true
    return false
  }

  function expirePast(): void {
    for (const watched of open) {
      if (watched.atMs > awakeMs) continue
      open.delete(watched)
      watched.expire()
    }
  }

  return {
    in: ms => awakeNowMs() + ms,

    watch(atMs, expire) {
      const watched = { atMs, expire }
      open.add(watched)
      if (!isTicking) {
        isTicking = true
        graceTicks = 0
        tickedAtMs = ticking.now()
        ticking.schedule(tick)
      }
      return () => void open.delete(watched)
    },
  }
}

function realTicking(): Ticking {
  let timer: NodeJS.Timeout | null = null
  return {
    now: () => performance.now(),
    schedule(tick) {
      timer = timer === null ? setTimeout(tick, TICK_MS) : timer.refresh()
    },
    afterPoll: work => void setImmediate(work),
  }
}
