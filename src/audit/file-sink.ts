import { type FileHandle, mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Clock } from '../ports/clock.ts'
import type { Mark, WrittenLine } from './line.ts'
import { codeOf, type OnTrouble, type Sink } from './sink.ts'

interface Waiting {
  readonly line: WrittenLine
  readonly bytes: number
  /** It goes into the file that bears the name by then. */
  isAfresh: boolean
}

const GATHER_MS = 10
const RETRY_MS = 1_000
const BATCH_BYTES = 64 * 1024
/** Some forty thousand lines: a disk may be full for a while before any is lost. */
const MOST_WAITING_BYTES = 16 * 1024 * 1024
const LINE_FEED = 0x0a

/**
 * Lines into a file, in order, in batches, one write at a time. After an error it goes on from the very byte at which the
 * disk stopped, once a second; in another file, if one is asked for meanwhile, with the line that was torn.
 */
export function createFileSink(options: {
  readonly path: string
  readonly clock: Clock
  readonly onTrouble: OnTrouble
}): Sink {
  const { path, clock } = options
  const waiting: Waiting[] = []
  let waitingBytes = 0
  let file: FileHandle | null = null
  /** Bytes of the first line that waits which are in the file already. */
  let torn = 0
  let isReopening = false
  let written: Mark | null = null
  let trouble: string | null = null
  let pumping: Promise<void> = Promise.resolve()
  let isPumping = false
  const closing = new AbortController()

  function tell(error: Error | null): void {
    const before = trouble
    trouble = error === null ? null : codeOf(error)
    if ((before === null) !== (trouble === null)) options.onTrouble(error)
  }

  async function pump(): Promise<void> {
    isPumping = true
    while (waiting.length > 0) {
      // Not on the way of whoever brought the line; and what else comes meanwhile goes along.
      if (waitingBytes < BATCH_BYTES) await clock.sleep(GATHER_MS, closing.signal)
      try {
        await writeSome()
        tell(null)
      } catch (error) {
        tell(error as Error)
        if (closing.signal.aborted) break
        if (waiting.some(each => each.isAfresh)) await leaveFile()
        await clock.sleep(RETRY_MS, closing.signal)
      }
    }
    isPumping = false
  }

  async function writeSome(): Promise<void> {
    if (waiting[0]?.isAfresh) await leaveFile()
    file ??= await openFile(path)
    const batch = nextBatch()
    const buffer = Buffer.from(batch.map(({ line }) => line.text).join('')).subarray(torn)
    let done = 0
    try {
      while (done < buffer.length) done += (await file.write(buffer, done)).bytesWritten
    } finally {
      settle(batch, torn + done)
    }
  }

  /** At least one line, and none beyond one that belongs into another file. */
  function nextBatch(): readonly Waiting[] {
    let bytes = 0
    const end = waiting.findIndex((each, index) => {
      bytes += each.bytes
      return index > 0 && (each.isAfresh || bytes > BATCH_BYTES)
    })
    return end === -1 ? [...waiting] : waiting.slice(0, end)
  }

  function settle(batch: readonly Waiting[], bytesWritten: number): void {
    torn = bytesWritten
    let whole = 0
    for (const { line, bytes } of batch) {
      if (torn < bytes) break
      torn -= bytes
      waitingBytes -= bytes
      written = line.mark
      whole += 1
    }
    waiting.splice(0, whole)
  }

  /** A file that cannot be finished is left as it is; what waits for another one does not wait for it. */
  async function leaveFile(): Promise<void> {
    for (const each of waiting) each.isAfresh = false
    torn = 0
    const left = file
    file = null
    await closeFile(left)
  }

  return {
    hasRoom: () => waitingBytes < MOST_WAITING_BYTES,
    write(line) {
      const bytes = Buffer.byteLength(line.text)
      waiting.push({ line, bytes, isAfresh: isReopening })
      waitingBytes += bytes
      isReopening = false
      if (!isPumping) pumping = pump()
    },
    reopen() {
      isReopening = true
    },
    written: () => written,
    trouble: () => trouble,
    async close() {
      closing.abort()
      await pumping
      await closeFile(file)
      return waiting.length
    },
  }
}

/** Whoever was stopped in the middle of a line left half of one: ours do not begin there. */
async function openFile(path: string): Promise<FileHandle> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const file = await open(path, 'a+', 0o600)
  try {
    const { size } = await file.stat()
    const last = Buffer.alloc(1)
    if (size > 0) await file.read(last, 0, 1, size - 1)
    if (size > 0 && last[0] !== LINE_FEED) await file.write('\n')
    return file
  } catch (error) {
    await closeFile(file)
    throw error
  }
}

/** Whatever fails here has been written as far as it could be. */
async function closeFile(file: FileHandle | null): Promise<void> {
  await file?.sync().catch(() => {})
  await file?.close().catch(() => {})
}
