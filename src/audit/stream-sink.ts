import type { DestinationStream } from 'pino'
import type { Clock } from '../ports/clock.ts'
import type { Mark } from './line.ts'
import type { OnTrouble, Sink } from './sink.ts'

/** It says when what was written is on its way, and when that has left; and goes on by itself after an error. */
interface Draining {
  on(event: 'handover' | 'drain', listener: () => void): void
  on(event: 'error', listener: (error: Error) => void): void
  /** A line that is never dropped. */
  writeKept(text: string): void
  /** false: too much waits already for the reader of the output. */
  hasRoom(): boolean
  /** The code of what keeps lines from leaving; null: nothing. */
  trouble(): string | null
}

/** How long the end of the process waits for whoever reads our output. */
const FAREWELL_MS = 1_000

/** Lines into the stream that the log goes to, since two writers on one output would tear each other's lines. */
export function createStreamSink(options: {
  readonly stream: DestinationStream
  readonly clock: Clock
  readonly onTrouble: OnTrouble
}): Sink {
  const { stream, clock } = options
  const drains = isDraining(stream)
  let last: Mark | null = null
  let onItsWay: Mark | null = null
  let written: Mark | null = null
  let isFailing = false
  let drained = () => {}

  function tell(error: Error | null): void {
    if (isFailing === (error !== null)) return
    isFailing = error !== null
    options.onTrouble(error)
  }

  const trouble = () => (drains ? stream.trouble() : null)

  if (drains) {
    stream.on('handover', () => {
      onItsWay = last
    })
    stream.on('drain', () => {
      written = onItsWay
      tell(null)
      if (written === last) drained()
    })
    stream.on('error', tell)
  }

  return {
    /** The log waits in the same place, and is dropped sooner. */
    hasRoom: () => !drains || stream.hasRoom(),
    write({ text, mark }) {
      last = mark
      if (drains) stream.writeKept(text)
      else {
        stream.write(text)
        written = last
      }
    },
    reopen() {},
    written: () => written,
    trouble,
    async close() {
      if (written === last || trouble() !== null) return 0
      const drain = new Promise<void>(resolve => {
        drained = resolve
      })
      const done = new AbortController()
      await Promise.race([drain, clock.sleep(FAREWELL_MS, done.signal)])
      done.abort()
      return 0
    },
  }
}

function isDraining(stream: object): stream is DestinationStream & Draining {
  return 'writeKept' in stream && 'on' in stream
}
