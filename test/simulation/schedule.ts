import TinyQueue from 'tinyqueue'

interface Event {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
}

/** Time and everything that happens in it, one step after another. */
export class Schedule {
  nowMs: number
  steps = 0
  #order = 0
  readonly #events = new TinyQueue<Event>([], (a, b) => a.atMs - b.atMs || a.order - b.order)

  constructor(nowMs = Date.UTC(2026, 10, 24)) {
    this.nowMs = nowMs
  }

  /** Unless what it returns is called before. */
  after(ms: number, run: () => void): () => void {
    this.#order += 1
    let isCalledOff = false
    const unlessCalledOff = () => (isCalledOff ? undefined : run())
    this.#events.push({ atMs: this.nowMs + Math.max(0, ms), order: this.#order, run: unlessCalledOff })
    return () => {
      isCalledOff = true
    }
  }

  sleep(ms: number): Promise<void> {
    return new Promise(resolve => this.after(ms, resolve))
  }

  /** Lets everything happen that happens by `untilMs`, as long as `goOn` says so. `settled`: what follows from a step has happened. */
  async run(untilMs: number, goOn: () => boolean, settled = atOnce): Promise<void> {
    await settled()
    while (goOn()) {
      const event = this.#events.peek()
      if (event === undefined || event.atMs > untilMs) break
      this.#events.pop()
      this.nowMs = event.atMs
      this.steps += 1
      event.run()
      await settled()
    }
    this.nowMs = Math.max(this.nowMs, untilMs)
  }
}

/** Whatever follows from what has happened, without waiting for anything, has happened too. */
export function atOnce(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}
