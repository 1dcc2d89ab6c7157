import TinyQueue from 'tinyqueue'

interface Event {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
}

/** Time and everything that happens in it, one step after another. */
export class Schedule {
  nowMs = Date.UTC(2026, 10, 24)
  steps = 0
  #order = 0
  readonly #events = new TinyQueue<Event>([], (a, b) => a.atMs - b.atMs || a.order - b.order)

  after(ms: number, run: () => void): void {
    this.#order += 1
    this.#events.push({ atMs: this.nowMs + Math.max(0, ms), order: this.#order, run })
  }

  sleep(ms: number): Promise<void> {
    return new Promise(resolve => this.after(ms, resolve))
  }

  /** Lets everything happen that happens by `untilMs`, as long as `goOn` says so. */
  async run(untilMs: number, goOn: () => boolean): Promise<void> {
    while (goOn()) {
      const event = this.#events.peek()
      if (event === undefined || event.atMs > untilMs) break
      this.#events.pop()
      this.nowMs = event.atMs
      this.steps += 1
      event.run()
      // Whatever follows from it without waiting for anything runs before the next event does.
      await new Promise(resolve => setImmediate(resolve))
    }
    this.nowMs = Math.max(this.nowMs, untilMs)
  }
}
