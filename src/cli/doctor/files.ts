import { access, constants, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { ServeConfig } from '../../config.ts'
import { createCodec } from '../../store/codec.ts'
import { createSealer } from '../../store/sealing.ts'
import { createFileJournal } from '../../system/journal.ts'
import { reasonOf } from '../reason.ts'
import { type Check, counted, failed, named, ok, warning } from './check.ts'

/** Where the gateway writes. Nothing is written to find out. */
export async function fileChecks(config: ServeConfig): Promise<readonly Check[]> {
  return [...(await journalChecks(config)), ...(await auditLogChecks(config))]
}

async function journalChecks({ journalDir, encryptionKeys }: ServeConfig): Promise<readonly Check[]> {
  const name = 'journal'
  const problem = await whyNotWritable(journalDir, 'directory')
  if (problem !== null) {
    const why = `a renewal that Redis does not take would be lost with the process; mend JOURNAL_DIR (${journalDir})`
    return named(name, [failed(`${problem}: ${why}`)], ok(''))
  }
  const unreadable: string[] = []
  const codec = createCodec(createSealer(encryptionKeys))
  try {
    const waiting = await createFileJournal(journalDir, codec, file => unreadable.push(file)).entries()
    const lines = [
      ...(unreadable.length > 0
        ? [failed(`${unreadable.join(', ')} cannot be opened: add the key it was sealed with to ENCRYPTION_KEYS`)]
        : []),
      ...(waiting.length > 0
        ? [
            warning(
              `${counted(waiting.length, 'renewal')} wait to be stored: start a gateway here, with this JOURNAL_DIR`,
            ),
          ]
        : []),
    ]
    return named(name, lines, ok(`${journalDir} is writable, nothing waits`))
  } catch (error) {
    return named(name, [failed(`${journalDir} cannot be read (${reasonOf(error)}): mend its permissions`)], ok(''))
  }
}

async function auditLogChecks({ auditLog }: ServeConfig): Promise<readonly Check[]> {
  const name = 'audit log'
  if (auditLog === '-') return named(name, [], ok('goes to standard output'))
  const problem = await whyNotWritable(auditLog, 'file')
  const lines = problem === null ? [] : [failed(`${problem}: audit lines would get lost; mend AUDIT_LOG (${auditLog})`)]
  return named(name, lines, ok(`${auditLog} is writable`))
}

/** null: it is, or can be made, by whoever asks. */
async function whyNotWritable(path: string, kind: 'file' | 'directory'): Promise<string | null> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => error)
  if (found instanceof Error) {
    if (found.code !== 'ENOENT') return `it cannot be made (${found.code})`
    const above = dirname(resolve(path))
    return await whyNotWritable(above, 'directory')
  }
  if (kind === 'directory' && !found.isDirectory()) return 'it is no directory'
  if (kind === 'file' && found.isDirectory()) return 'it is a directory'
  const needed =
    kind === 'directory' ? constants.R_OK | constants.W_OK | constants.X_OK : constants.R_OK | constants.W_OK
  return await access(path, needed).then(
    () => null,
    error => `it is not writable (${reasonOf(error)})`,
  )
}
