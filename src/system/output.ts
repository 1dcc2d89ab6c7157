import { EventEmitter } from 'node:events'
import { type DestinationStream, pino } from 'pino'

/** What comes within so long goes out in one write: a line alone costs as much as a hundred. */
const GATHER_MS = 20

interface OutputEvents {
  /** What was written until now is on its way. */
  handover: []
  /** All that was on its way has left the process. */
  drain: []
  error: [Error]
}

/** Standard output, for lines that nobody waits for. Whatever is left goes out when the process ends. */
export class Output extends EventEmitter<OutputEvents> implements DestinationStream {
  readonly #destination: ReturnType<typeof pino.destination>
  #gathered = ''
  #isFailing = false
  #timer: NodeJS.Timeout | null = null

  /** `to`: a file descriptor or a path; absent: standard output. */
  constructor(to: number | string = 1) {
    super()
    this.#destination = pino.destination({ dest: to, sync: false })
    this.#destination.on('drain', () => {
      this.#isFailing = false
      this.emit('drain')
    })
    this.#destination.on('error', (error: Error) => {
      this.#isFailing = true
      // Else it would end the process.
      if (this.listenerCount('error') > 0) this.emit('error', error)
    })
    // Before the destination's own way of ending.
    process.prependOnceListener('exit', () => (this.#isFailing ? this.#destination.destroy() : this.flushSync()))
  }

  write(text: string): void {
    this.#gathered += text
    this.#timer ??= setTimeout(() => this.#handOver(), GATHER_MS)
  }

  /** Before the process ends, as pino does for a fatal line. Not where a disk is full: it would be tried for ever. */
  flushSync(): void {
    this.#handOver()
    if (!this.#isFailing) this.#destination.flushSync()
  }

  #handOver(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    if (this.#gathered === '') return
    const text = this.#gathered
    this.#gathered = ''
    this.emit('handover')
    this.#destination.write(text)
  }
}
