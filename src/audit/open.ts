/** The audit stream of a gateway that serves: where it goes, by which key, and who watches over its end. */
import type { DestinationStream, Logger } from 'pino'
import type { AuditHeads } from '../ports/audit-heads.ts'
import type { Clock } from '../ports/clock.ts'
import type { Random } from '../ports/random.ts'
import { VERSION } from '../version.ts'
import { createFileSink } from './file-sink.ts'
import { keepHead } from './head.ts'
import { type AuditMaster, createAuditKeys } from './keys.ts'
import { type AuditLog, createAuditLog } from './log.ts'
import { codeOf } from './sink.ts'
import { createStreamSink } from './stream-sink.ts'
import { lastLineOf } from './tail.ts'

export interface AuditSettings {
  /** `-`: into `output`; else a file. */
  readonly auditLog: string
  /** null: derived from the first of the encryption keys. */
  readonly auditKey: AuditMaster | null
  readonly encryptionKeys: readonly [{ readonly key: AuditMaster }, ...unknown[]]
}

const STREAM_ID_BYTES = 12

/** Begins a stream. A file that cannot be written keeps nobody from starting: it is told, and tried again. */
export async function openAudit(options: {
  readonly config: AuditSettings
  /** Where the log goes. */
  readonly output: DestinationStream
  readonly heads: AuditHeads
  readonly logger: Logger
  readonly clock: Clock
  readonly random: Random
}): Promise<AuditLog> {
  const { config, heads, logger, clock, random } = options
  const isFile = config.auditLog !== '-'
  const onTrouble = (error: Error | null) => {
    if (error === null) logger.info('audit lines are written again')
    else logger.error({ code: codeOf(error) }, 'audit lines cannot be written; requests are answered all the same')
  }
  const sink = isFile
    ? createFileSink({ path: config.auditLog, clock, onTrouble })
    : createStreamSink({ stream: options.output, clock, onTrouble })
  const audit = createAuditLog({
    sink,
    keys: createAuditKeys(config.auditKey ?? config.encryptionKeys[0].key),
    clock,
    stream: random.token(STREAM_ID_BYTES),
    gateway: VERSION,
    previous: isFile ? await lastLineOf(config.auditLog) : null,
  })
  const keeper = keepHead({ audit, heads, clock })

  return {
    ...audit,
    async close() {
      const unwritten = await audit.close()
      if (unwritten > 0) logger.error({ lines: unwritten }, 'audit lines are lost: they could not be written')
      await keeper.stop()
      return unwritten
    },
  }
}
