/** Audit streams as the gateway writes them, in memory, and what a verifier says to them. */
import { createSecretKey, randomBytes } from 'node:crypto'
import { type AuditKeys, createAuditKeys } from '../../src/audit/keys.ts'
import { LINE_START, type Mark, readLine, type WrittenLine } from '../../src/audit/line.ts'
import { type AuditLog, createAuditLog } from '../../src/audit/log.ts'
import type { Sink } from '../../src/audit/sink.ts'
import { createVerifier, type Report } from '../../src/audit/verifier.ts'
import type { AuditHead } from '../../src/ports/audit-heads.ts'
import { ManualClock } from './clock.ts'

export function newKeys(): AuditKeys {
  return createAuditKeys(createSecretKey(randomBytes(32)))
}

export interface Recorded extends AuditLog {
  /** Without their ends. */
  readonly lines: string[]
  /** As many as it says are taken, the others are refused. */
  room: number
}

export function recordedStream(keys: AuditKeys, stream: string, previous: Mark | null = null): Recorded {
  const lines: string[] = []
  let last: Mark | null = null
  const recorded = { lines, room: Number.POSITIVE_INFINITY }
  const sink: Sink = {
    hasRoom: () => lines.length < recorded.room,
    write({ text, mark }: WrittenLine) {
      lines.push(text.trimEnd())
      last = mark
    },
    reopen() {},
    written: () => last,
    trouble: () => null,
    close: async () => 0,
  }
  return Object.assign(
    recorded,
    createAuditLog({ sink, keys, clock: new ManualClock(), stream, gateway: '1.2.3', previous }),
  )
}

/** A stream with `count` reads of a token in it. */
export async function closedStream(
  keys: AuditKeys,
  stream: string,
  count: number,
  previous: Mark | null = null,
): Promise<string[]> {
  const recorded = recordedStream(keys, stream, previous)
  for (let index = 0; index < count; index += 1) readToken(recorded, index)
  await recorded.close()
  return recorded.lines
}

export function readToken(log: Pick<AuditLog, 'record'>, version: number): void {
  log.record({ event: 'token.read', by: 'caller', caller: 'scheduler', guid: 'ada', version, outcome: 'ok' })
}

/** The place of a line, for what is to be chained to it. */
export function markOf(line: string | undefined): Mark {
  const read = readLine(line ?? '')
  if (read === null) throw new Error(`no audit line: ${line}`)
  return { stream: read.stream, seq: read.seq, mac: read.mac }
}

export function auditLinesIn(text: string): string[] {
  return text.split('\n').filter(line => line.startsWith(LINE_START))
}

export function verify(
  keys: readonly AuditKeys[],
  files: readonly (readonly string[])[],
  options: { heads?: readonly AuditHead[]; partial?: boolean } = {},
): Report {
  const verifier = createVerifier({ keys, heads: options.heads ?? null, partial: options.partial ?? false })
  files.forEach((lines, index) => {
    verifier.begin(`file-${index + 1}`)
    for (const line of lines) verifier.take(line)
  })
  return verifier.report()
}

/** What is wrong, in short: kind and line. */
export function faultsOf(report: Report): string[] {
  return report.faults.map(({ kind, line }) => (line === null ? kind : `${kind}@${line}`))
}
