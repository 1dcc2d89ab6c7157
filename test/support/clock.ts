import { type Clock, sleepBy } from '../../src/ports/clock.ts'

interface Sleeper {
  atMs: number
  readonly wake: () => void
}

/** A clock that stands still until it is told to go on. */
export class ManualClock implements Clock {
  #nowMs: number
  readonly #sleepers = new Set<Sleeper>()

  constructor(startMs = Date.UTC(2026, 10, 23, 12)) {
    this.#nowMs = startMs
  }

  now(): number {
    return this.#nowMs
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepBy(this, ms, signal)
  }

  after(ms: number, act: () => void): () => void {
    const cancel = () => this.#sleepers.delete(sleeper)
    const wake = () => {
      cancel()
      act()
    }
    const sleeper = { atMs: this.#nowMs + ms, wake }
    this.#sleepers.add(sleeper)
    return cancel
  }

  /** Time goes by, and nobody is woken: as for a process that sleeps. */
  jump(ms: number): void {
    this.#nowMs += ms
  }

  /** The clock is wrong from here on; those who sleep are woken after as long as before, since timers do not go by it. */
  setBack(ms: number): void {
    this.#nowMs -= ms
    for (const sleeper of this.#sleepers) sleeper.atMs -= ms
  }

  /** Wakes everybody whose time comes within `ms`, in order, and lets each do what they have to do at that moment. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms
    await settled()
    for (;;) {
      const next = [...this.#sleepers].sort((first, second) => first.atMs - second.atMs)[0]
      if (next === undefined || next.atMs > untilMs) break
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.wake()
      await settled()
    }
    this.#nowMs = untilMs
    await settled()
  }
}

/** Resolves when everything has run that waits for nothing from outside. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise(resolve => setImmediate(resolve))
}
