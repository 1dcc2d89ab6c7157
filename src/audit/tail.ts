import { open } from 'node:fs/promises'
import { LINE_START, LONGEST_LINE, type Mark, readLine } from './line.ts'

/** Somewhere in it is a whole line, whatever was torn at the end. */
const TAIL_BYTES = 16 * LONGEST_LINE

/** The last whole audit line of a file, for the next stream to be chained to; null: none, or it cannot be read. */
export async function lastLineOf(path: string): Promise<Mark | null> {
  const text = await tailOf(path).catch(() => '')
  for (const line of text.split('\n').reverse()) {
    const read = line.startsWith(LINE_START) ? readLine(line) : null
    if (read !== null) return { stream: read.stream, seq: read.seq, mac: read.mac }
  }
  return null
}

async function tailOf(path: string): Promise<string> {
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    const start = Math.max(0, size - TAIL_BYTES)
    const buffer = Buffer.alloc(size - start)
    const { bytesRead } = await file.read(buffer, 0, buffer.length, start)
    return buffer.subarray(0, bytesRead).toString()
  } finally {
    await file.close()
  }
}
