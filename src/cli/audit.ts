/** `audit verify`: reads audit files, and says whether they are as the gateway wrote them. */
import { createReadStream } from 'node:fs'
import { createAuditKeys } from '../audit/keys.ts'
import { linesOf } from '../audit/lines-of.ts'
import { createVerifier, type Finding, type Report, type Verifier } from '../audit/verifier.ts'
import { type AuditConfig, type Environment, readAuditConfig } from '../config.ts'
import type { AuditHead } from '../ports/audit-heads.ts'
import { createRedisAuditHeads } from '../store/redis/audit-heads.ts'
import { closeRedis, connectRedis } from '../store/redis/connection.ts'
import { createKeys } from '../store/redis/keys.ts'

export interface VerifyArguments {
  readonly json: boolean
  readonly partial: boolean
}

const MOST_PRINTED = 50

/**
 * `files`: older ones first; `-` is standard input; none: the one that AUDIT_LOG names. Returns the exit code: 0 where all is
 * good, 1 where it is not, or the store does not answer. Throws `ConfigError`, and what keeps a file from being read.
 */
export async function verifyAudit(
  files: readonly string[],
  { json, partial }: VerifyArguments,
  print: (line: string) => void,
  environment?: Environment,
): Promise<number> {
  const config = readAuditConfig(environment)
  const keys = [config.auditKey ?? [], ...config.encryptionKeys.map(({ key }) => key)].flat().map(createAuditKeys)
  // Before the files: what a running gateway writes meanwhile is no fault.
  const store = await headsIn(config)
  const verifier = createVerifier({ keys, heads: store.heads, partial })
  for (const file of files.length > 0 ? files : [config.auditLog]) await readInto(verifier, file)
  const report = verifier.report()
  const ok = report.ok && store.status !== 'unavailable'
  if (json) print(JSON.stringify({ ...report, ok, store: store.status }))
  else printReport(report, STORE_TEXTS[store.status], print)
  return ok ? 0 : 1
}

type StoreStatus = 'compared' | 'unavailable' | 'none'

const STORE_TEXTS: Readonly<Record<StoreStatus, string>> = {
  compared: 'The ends of the streams were compared with what the store has seen.',
  unavailable: 'FAULT  The store does not answer: whether an end was cut off cannot be told. Check REDIS_URL.',
  none: 'REDIS_URL is not set: whether an end was cut off cannot be told.',
}

async function headsIn(config: AuditConfig): Promise<{ heads: readonly AuditHead[] | null; status: StoreStatus }> {
  if (config.redis === null) return { heads: null, status: 'none' }
  const client = connectRedis(config.redis)
  // The question below says what it met.
  client.on('error', () => {})
  try {
    const heads = await createRedisAuditHeads(client, createKeys(config.redisPrefix).auditHeads).all()
    return { heads, status: 'compared' }
  } catch {
    return { heads: null, status: 'unavailable' }
  } finally {
    closeRedis(client)
  }
}

async function readInto(verifier: Verifier, file: string): Promise<void> {
  verifier.begin(file === '-' ? '(standard input)' : file)
  const chunks = file === '-' ? process.stdin : createReadStream(file)
  for await (const line of linesOf(chunks as AsyncIterable<Buffer>)) verifier.take(line)
}

function printReport(report: Report, store: string, print: (line: string) => void): void {
  for (const { stream, status, lines, first_seq, last_seq, first_at, last_at } of report.streams) {
    print(
      `stream ${stream}  ${status.padEnd(7)}  ${lines} lines, ${first_seq} to ${last_seq}, ${first_at} to ${last_at}`,
    )
  }
  printSome(report.notes, 'note ', report.notes.length, print)
  printSome(report.faults, 'FAULT', report.fault_count, print)
  print(store)
  const lines = report.streams.reduce((sum, stream) => sum + stream.lines, 0)
  const verdict = report.ok ? 'no faults' : `${report.fault_count} faults`
  print(`${lines} lines in ${report.streams.length} streams: ${verdict}.`)
}

function printSome(findings: readonly Finding[], mark: string, total: number, print: (line: string) => void): void {
  for (const { file, line, stream, text } of findings.slice(0, MOST_PRINTED)) {
    const place = [file, line].filter(part => part !== null).join(':')
    print(`${mark}  ${[place, stream === null ? '' : `stream ${stream}`, text].filter(part => part !== '').join('  ')}`)
  }
  if (total > MOST_PRINTED) print(`${mark}  … and ${total - MOST_PRINTED} more`)
}
