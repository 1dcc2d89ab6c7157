import { EventEmitter } from 'node:events'
import { fstatSync, openSync, write, writeSync } from 'node:fs'
import type { DestinationStream } from 'pino'

/** What comes within so long goes out in one write: a line alone costs as much as a hundred. */
const GATHER_MS = 20
/** Lines wait in memory while the reader is slow or away. Beyond this, log lines are dropped … */
const MOST_WAITING_BYTES = 4 * 1024 * 1024
/** … until so little waits again: else single lines would get through, each with its own notice of a gap. */
const DROP_UNTIL_BYTES = MOST_WAITING_BYTES / 2
/** Audit lines have as much room again, which a flood of log lines cannot take from them. */
const MOST_WAITING_WITH_AUDIT_BYTES = 2 * MOST_WAITING_BYTES
const AUDIT_ROOM_AGAIN_BYTES = 1.5 * MOST_WAITING_BYTES
/** A full pipe tells nothing when it has room again: it is tried after 1 ms, 2 ms, 4 ms, up to this. */
const LONGEST_PAUSE_MS = 100
/** A full disk, or a reader that is gone, is tried again so often. */
const RETRY_MS = 1_000
/** A reader that takes nothing for so long is reported. Shorter pauses are common. */
const STALLED_AFTER_MS = 2_000
/** How long the end of the process waits for a reader that takes nothing, and for one that is slow. */
const EXIT_WITHOUT_PROGRESS_MS = 500
const EXIT_LONGEST_MS = 3_000
const EXIT_POLL_MS = 10

interface OutputEvents {
  /** What was written until now is on its way. */
  handover: []
  /** All that was on its way has left the process. */
  drain: []
  error: [Error]
  /** Log lines are taken again, after so many were dropped. */
  resumed: [number]
}

/**
 * Standard output, for lines that are written without waiting for them. The bytes that wait are bounded, whatever the reader
 * does: what does not fit is dropped as whole lines, newest first, and counted. What waits at the end of the process goes out
 * then, if the reader takes it.
 */
export class Output extends EventEmitter<OutputEvents> implements DestinationStream {
  readonly #descriptor: number
  #gathered = ''
  #gatherTimer: NodeJS.Timeout | null = null
  /** Handed over, not yet written; of the first, the rest. */
  readonly #chunks: Buffer[] = []
  /** Of `#gathered` and `#chunks` together. */
  #waitingBytes = 0
  #isWriting = false
  #writingSinceMs = 0
  #retryTimer: NodeJS.Timeout | null = null
  #pauseMs = 0
  /** When bytes last left, or began to wait. */
  #progressAtMs = 0
  #code: string | null = null
  #isDropping = false
  #droppedNow = 0
  #droppedInAll = 0
  #isFull = false

  /** `to`: a file descriptor or a path; absent: standard output. */
  constructor(to: number | string = 1) {
    super()
    this.#descriptor = typeof to === 'number' ? to : openSync(to, 'a')
    if (to === 1) dontBlock(to)
    process.prependOnceListener('exit', () => this.#flushAtExit())
  }

  /** A log line. Dropped where there is no room. */
  write(text: string): void {
    if (this.#waitingBytes >= MOST_WAITING_BYTES) this.#isDropping = true
    if (this.#isDropping) {
      this.#droppedNow += 1
      this.#droppedInAll += 1
      return
    }
    this.writeKept(text)
  }

  /** A line that is never dropped: ask `hasRoom` first. */
  writeKept(text: string): void {
    const nowMs = performance.now()
    if (this.#waitingBytes === 0) this.#progressAtMs = nowMs
    this.#waitingBytes += Buffer.byteLength(text)
    this.#gathered += text
    this.#gatherTimer ??= setTimeout(() => this.#handOver(), GATHER_MS)
  }

  /** Whether lines that are never dropped may be added. */
  hasRoom(): boolean {
    if (this.#waitingBytes >= MOST_WAITING_WITH_AUDIT_BYTES) this.#isFull = true
    return !this.#isFull
  }

  /** See `OutputState`. */
  trouble(): string | null {
    if (this.#code !== null) return this.#code
    const isStalled = this.#waitingBytes > 0 && performance.now() - this.#progressAtMs > STALLED_AFTER_MS
    return isStalled || this.#isDropping || this.#isFull ? 'STALLED' : null
  }

  /** Log lines that were dropped since the start. */
  dropped(): number {
    return this.#droppedInAll
  }

  /** As pino does for a fatal line. A write that is under way is not overtaken: the rest follows it. */
  flushSync(): void {
    this.#gatherChunk()
    if (!this.#isWriting && this.#code === null) this.#writeSync(EXIT_POLL_MS)
    this.#pump()
  }

  #handOver(): void {
    this.#gatherChunk()
    this.#pump()
  }

  #gatherChunk(): void {
    if (this.#gatherTimer !== null) clearTimeout(this.#gatherTimer)
    this.#gatherTimer = null
    if (this.#gathered === '') return
    this.#chunks.push(Buffer.from(this.#gathered))
    this.#gathered = ''
    this.emit('handover')
  }

  /** One write at a time, on a thread of the pool: a slow disk does not hold up requests. */
  #pump(): void {
    const [chunk] = this.#chunks
    if (this.#isWriting || this.#retryTimer !== null || chunk === undefined) return
    this.#isWriting = true
    this.#writingSinceMs = performance.now()
    write(this.#descriptor, chunk, (error, written) => {
      this.#isWriting = false
      if (error === null) this.#left(written)
      else this.#failed(error)
      this.#pump()
    })
  }

  #failed(error: NodeJS.ErrnoException): void {
    const isFull = isPassing(error)
    this.#pauseMs = isFull ? Math.min(LONGEST_PAUSE_MS, Math.max(1, 2 * this.#pauseMs)) : RETRY_MS
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = null
      this.#pump()
    }, this.#pauseMs).unref()
    if (isFull) return
    this.#code = error.code ?? error.name
    // Without a listener, it would end the process.
    if (this.listenerCount('error') > 0) this.emit('error', error)
  }

  /** So many bytes of the first chunk have left the process. */
  #left(bytes: number): void {
    const [chunk] = this.#chunks
    if (chunk === undefined) return
    if (bytes < chunk.length) this.#chunks[0] = chunk.subarray(bytes)
    else this.#chunks.shift()
    this.#waitingBytes -= bytes
    this.#progressAtMs = performance.now()
    this.#pauseMs = 0
    this.#code = null
    if (this.#waitingBytes <= AUDIT_ROOM_AGAIN_BYTES) this.#isFull = false
    if (this.#isDropping && this.#waitingBytes <= DROP_UNTIL_BYTES) this.#resume()
    if (this.#chunks.length === 0) this.emit('drain')
  }

  #resume(): void {
    const dropped = this.#droppedNow
    this.#isDropping = false
    this.#droppedNow = 0
    this.emit('resumed', dropped)
  }

  /** Nothing runs any more but this. A reader that takes nothing does not keep the process from ending. */
  #flushAtExit(): void {
    if (this.#isWriting) {
      // The descriptor blocks after all: to write to it from here would wait for the reader without end.
      if (performance.now() - this.#writingSinceMs > EXIT_WITHOUT_PROGRESS_MS) return
      // Its outcome cannot be seen from here any more. It takes microseconds, and as a rule takes everything.
      pause(2 * EXIT_POLL_MS)
      this.#chunks.shift()
    }
    this.#gatherChunk()
    this.#writeSync(EXIT_WITHOUT_PROGRESS_MS)
    // Once there was room again, a notice of what was dropped has been added.
    this.#gatherChunk()
    this.#writeSync(EXIT_WITHOUT_PROGRESS_MS)
  }

  #writeSync(patienceMs: number): void {
    const beganAtMs = performance.now()
    let progressAtMs = beganAtMs
    for (let chunk = this.#chunks[0]; chunk !== undefined; chunk = this.#chunks[0]) {
      const nowMs = performance.now()
      if (nowMs - progressAtMs > patienceMs || nowMs - beganAtMs > EXIT_LONGEST_MS) return
      try {
        this.#left(writeSync(this.#descriptor, chunk))
        progressAtMs = performance.now()
      } catch (error) {
        if (!isPassing(error as NodeJS.ErrnoException)) return
        pause(EXIT_POLL_MS)
      }
    }
  }
}

/** The reader has not taken enough yet. */
function isPassing({ code }: NodeJS.ErrnoException): boolean {
  return code === 'EAGAIN' || code === 'EBUSY' || code === 'EINTR'
}

/**
 * A write to a full pipe must fail instead of waiting: a waiting write holds a thread of the pool, and the process cannot end
 * before that thread does. Node sets O_NONBLOCK when it opens its own stream on the descriptor.
 */
function dontBlock(descriptor: 1): void {
  const stat = fstatSync(descriptor)
  if (stat.isFIFO() || stat.isSocket()) void process.stdout
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
