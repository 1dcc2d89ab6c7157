import { LONGEST_LINE } from './line.ts'

const LINE_FEED = 0x0a
const CARRIAGE_RETURN = 0x0d
/** What a collector may have put before a line: a time, a name. */
const LONGEST_PREFIX = 1_024
const LONGEST_KEPT = LONGEST_LINE + LONGEST_PREFIX

/** A text's lines, one after the other. Of one that is too long to be ours, only its beginning is kept. */
export async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let kept: Buffer[] = []
  let length = 0

  function keep(part: Buffer): void {
    if (length < LONGEST_KEPT) kept.push(part.subarray(0, LONGEST_KEPT - length))
    length += part.length
  }

  function take(): string {
    const line = Buffer.concat(kept)
    kept = []
    length = 0
    return line.at(-1) === CARRIAGE_RETURN ? line.subarray(0, -1).toString() : line.toString()
  }

  for await (const chunk of chunks) {
    let start = 0
    for (let end = chunk.indexOf(LINE_FEED); end !== -1; end = chunk.indexOf(LINE_FEED, start)) {
      keep(chunk.subarray(start, end))
      yield take()
      start = end + 1
    }
    if (start < chunk.length) keep(chunk.subarray(start))
  }
  if (length > 0) yield take()
}
