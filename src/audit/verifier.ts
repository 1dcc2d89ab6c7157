/** Looks at the lines of audit streams, in the order in which they stand, and says what is wrong with them. */
import type { AuditHead } from '../ports/audit-heads.ts'
import { beginChain, type Chain, follow, type Verdict } from './chain.ts'
import type { AuditKeys } from './keys.ts'
import { LINE_START, type Mark, type ReadLine, readLine } from './line.ts'

export type FaultKind =
  | Exclude<Verdict['kind'], 'good'>
  /** The stream that this one goes on from is not here. */
  | 'not_chained'
  | 'unknown_key'
  /** A line that no gateway writes. */
  | 'unreadable'
  /** The store has seen later lines. */
  | 'cut_off'
  /** A file without a single audit line. */
  | 'empty'

export interface Finding {
  /** null: not about a line. */
  readonly file: string | null
  readonly line: number | null
  readonly stream: string | null
  readonly text: string
}

export interface Fault extends Finding {
  readonly kind: FaultKind
}

export interface StreamReport {
  readonly stream: string
  readonly lines: number
  readonly first_seq: number
  readonly last_seq: number
  readonly first_at: string
  readonly last_at: string
  /** `open`: it was not closed; the process runs, or was killed. `rotated`: it goes on in another file. */
  readonly status: 'closed' | 'open' | 'rotated'
}

export interface Report {
  readonly ok: boolean
  readonly streams: readonly StreamReport[]
  readonly faults: readonly Fault[]
  /** Faults there are, where they are more than are listed. */
  readonly fault_count: number
  readonly notes: readonly Finding[]
}

interface Stream {
  readonly id: string
  /** null: its key is not known. */
  chain: Chain | null
  lines: number
  readonly firstSeq: number
  lastSeq: number
  readonly firstAt: string
  lastAt: string
  status: StreamReport['status']
  lastFile: number
}

interface CurrentFile {
  readonly name: string | null
  readonly index: number
  lines: number
  auditLines: number
}

export interface Verifier {
  /** The next file, older ones first. */
  begin(file: string): void
  take(text: string): void
  report(): Report
}

const MOST_LISTED = 1_000

export function createVerifier(options: {
  readonly keys: readonly AuditKeys[]
  /** null: there is no store to compare with. */
  readonly heads: readonly AuditHead[] | null
  /** The beginning may be missing: older files are gone. */
  readonly partial: boolean
}): Verifier {
  const { keys, partial } = options
  const heads = new Map((options.heads ?? []).map(head => [head.stream, head]))
  const streams = new Map<string, Stream>()
  const faults: Fault[] = []
  const notes: Finding[] = []
  let faultCount = 0
  let file: CurrentFile = { name: null, index: -1, lines: 0, auditLines: 0 }

  function fault(kind: FaultKind, stream: string | null, text: string, line: number | null = file.lines): void {
    faultCount += 1
    if (faults.length < MOST_LISTED) faults.push({ kind, file: file.name, line, stream, text })
  }

  function note(stream: string | null, text: string, line: number | null = file.lines): void {
    if (notes.length < MOST_LISTED) notes.push({ file: file.name, line, stream, text })
  }

  /** A fault; where the beginning may be missing, none. */
  function unlessPartial(kind: FaultKind, stream: string, text: string): void {
    if (partial) note(stream, text)
    else fault(kind, stream, text)
  }

  function take(text: string): void {
    file.lines += 1
    const start = text.lastIndexOf(LINE_START)
    if (start === -1) return
    file.auditLines += 1
    const line = readLine(text.slice(start))
    if (text.indexOf(LINE_START) !== start) note(null, 'the beginning of a line whose end was not written')
    if (line !== null) takeLine(line)
    // What is missing by that is told where its stream goes on.
    else if (isTorn(text)) note(null, 'a line that was not written to its end')
    else fault('unreadable', null, 'not a line that a gateway writes: it was changed')
  }

  function takeLine(line: ReadLine): void {
    const stream = streams.get(line.stream)
    if (stream === undefined) meet(line)
    else goOn(stream, line)
    const head = heads.get(line.stream)
    if (head?.seq === line.seq && head.mac !== line.mac) {
      fault('changed', line.stream, `the store has seen another line ${line.seq}`)
    }
    if (line.lost > 0) note(line.stream, `${line.lost} lines were lost before this one: there was no room for them`)
  }

  function meet(line: ReadLine): void {
    const { stream: id, seq, at, beginning } = line
    const known = beginning === undefined ? keys : keys.filter(key => key.id === beginning.key)
    const { chain, changed } = beginChain(line, known)
    const stream = { id, lines: 1, firstSeq: seq, lastSeq: seq, firstAt: at, lastAt: at, lastFile: file.index }
    streams.set(id, { ...stream, chain: known.length === 0 ? null : chain, status: statusAfter(line) })
    if (known.length === 0) fault('unknown_key', id, `written by the key ${beginning?.key}, which is not known here`)
    else if (changed === true) fault('changed', id, `line ${seq} was changed`)
    if (line.event === 'audit.opened') lookBack(line.beginning?.previous ?? null)
    else if (line.event === 'audit.continued' && file.index === 0) {
      note(id, `lines up to ${seq - 1} stand in an older file`)
    } else unlessPartial('missing', id, missingText(1, seq - 1))
  }

  /** Streams in one file are chained: the end of the one before is known by this one's beginning. */
  function lookBack(previous: Mark | null): void {
    if (previous === null) return
    const { stream: id, seq, mac } = previous
    const chain = streams.get(id)?.chain
    if (chain === undefined)
      unlessPartial('not_chained', id, `line ${seq} of this stream should stand before this line`)
    else if (chain === null) return
    else if (chain.seq < seq) fault('missing', id, missingText(chain.seq + 1, seq))
    else if (chain.seq === seq && !chain.macs.includes(mac)) fault('changed', id, `line ${seq} was changed`)
  }

  function goOn(stream: Stream, line: ReadLine): void {
    if (stream.chain === null) {
      count(stream, line)
      return
    }
    const { chain, verdict } = follow(stream.chain, line)
    stream.chain = chain
    if (verdict.kind !== 'good') fault(verdict.kind, stream.id, textOf(verdict, line, chain))
    if (verdict.kind !== 'duplicate' && verdict.kind !== 'out_of_order') count(stream, line)
  }

  function count(stream: Stream, line: ReadLine): void {
    stream.lines += 1
    stream.lastSeq = line.seq
    stream.lastAt = line.at
    stream.lastFile = file.index
    stream.status = statusAfter(line)
  }

  function end(stream: Stream): void {
    const { id, lastSeq, status } = stream
    if (status === 'rotated' && stream.lastFile < file.index) {
      fault(
        'missing',
        id,
        `it goes on after line ${lastSeq} in another file, and none of those that follow has it`,
        null,
      )
    }
    const head = heads.get(id)
    if (head !== undefined && head.seq > lastSeq && stream.chain !== null) {
      const text = missingText(lastSeq + 1, head.seq)
      if (status === 'rotated') note(id, `${text} here: they stand in the file that it goes on in`, null)
      else fault('cut_off', id, `${text} at the end: the store has seen them`, null)
    } else if (status === 'open') {
      const watched = head === undefined ? '; whether its end was cut off cannot be told' : ''
      note(id, `not closed after line ${lastSeq}: its process runs, or was killed${watched}`, null)
    }
  }

  function finishFile(): void {
    if (file.index >= 0 && file.auditLines === 0) fault('empty', null, 'there is no audit line in it', null)
  }

  return {
    begin(name) {
      finishFile()
      file = { name, index: file.index + 1, lines: 0, auditLines: 0 }
    },

    take,

    report() {
      finishFile()
      file = { ...file, name: null }
      for (const stream of streams.values()) end(stream)
      for (const head of heads.values()) {
        if (!streams.has(head.stream)) {
          note(head.stream, `the store knows this stream, up to line ${head.seq} at ${head.at}: it is not here`, null)
        }
      }
      return {
        ok: faultCount === 0,
        streams: [...streams.values()].map(reportOf),
        faults,
        fault_count: faultCount,
        notes,
      }
    },
  }
}

/** The beginning of a line, as a process that was killed leaves it: nothing stands behind its mac. */
function isTorn(text: string): boolean {
  return !text.endsWith('}') && !/,"mac":"[\w-]{43}"./.test(text)
}

function statusAfter(line: ReadLine): StreamReport['status'] {
  if (line.event === 'audit.closed') return 'closed'
  return line.event === 'audit.rotated' ? 'rotated' : 'open'
}

function textOf(verdict: Verdict, line: ReadLine, chain: Chain): string {
  if (verdict.kind === 'missing') return missingText(verdict.from, verdict.to)
  if (verdict.kind === 'duplicate') return `line ${line.seq} stands here again`
  if (verdict.kind === 'out_of_order') return `line ${line.seq} stands here, after line ${chain.seq}`
  return `line ${line.seq} was changed`
}

function missingText(from: number, to: number): string {
  return from === to ? `line ${from} is missing` : `lines ${from} to ${to} are missing`
}

function reportOf(stream: Stream): StreamReport {
  return {
    stream: stream.id,
    lines: stream.lines,
    first_seq: stream.firstSeq,
    last_seq: stream.lastSeq,
    first_at: stream.firstAt,
    last_at: stream.lastAt,
    status: stream.status,
  }
}
