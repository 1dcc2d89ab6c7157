/** The audit stream of this process: one chain of lines, from `audit.opened` to `audit.closed`. */
import type { Clock } from '../ports/clock.ts'
import type { Secret } from '../ports/secret.ts'
import type { AuditKeys } from './keys.ts'
import { type Beginning, type LineFields, type Mark, type MoreFields, type StreamEvent, writeLine } from './line.ts'
import type { Sink } from './sink.ts'

/** What happened. Absent: there is none. */
export interface AuditEntry extends Pick<LineFields, 'event' | 'by' | 'outcome'> {
  readonly caller?: string | undefined
  readonly guid?: string | undefined
  readonly version?: number | undefined
  readonly accessToken?: Secret | undefined
  readonly requestId?: string
  readonly status?: number
  readonly remote?: string
}

export interface AuditLog {
  /** Never throws, and nobody waits: people's tokens come first. A line for which there is no room is counted as lost. */
  record(entry: AuditEntry): void
  /** The file was renamed: the stream goes on in a new one. Without effect on standard output. */
  reopen(): void
  /** What keeps lines from being written, by its code (`ENOSPC`); null: nothing. */
  trouble(): string | null
  /** How many lines were lost, since the stream began, for lack of room. */
  lost(): number
  /** The last line that was written, once there is more than the stream's own beginning; null: not yet. */
  head(): Mark | null
  /** Ends the stream. Resolves with the number of lines that are lost for good. */
  close(): Promise<number>
}

export interface AuditLogOptions {
  readonly sink: Sink
  readonly keys: AuditKeys
  readonly clock: Clock
  /** Names this process run. */
  readonly stream: string
  /** The version of the gateway. */
  readonly gateway: string
  /** The line that stands at the end of the file; null: none, or no file. */
  readonly previous: Mark | null
}

const OWN = {
  by: 'gateway',
  caller: null,
  guid: null,
  version: null,
  token: null,
  request_id: null,
  outcome: 'ok',
  status: null,
  remote: null,
} as const

export function createAuditLog(options: AuditLogOptions): AuditLog {
  const { sink, keys, clock, stream, gateway } = options
  let last: Mark = { stream, seq: 0, mac: options.previous?.mac ?? '' }
  let hasEntries = false
  let lost = 0
  let lostInAll = 0
  let closing: Promise<number> | null = null

  function append(fields: LineFields, more: MoreFields): void {
    const place = { stream, seq: last.seq + 1, at: new Date(clock.now()).toISOString() }
    const line = writeLine(keys.chain, last.mac, place, fields, more)
    last = line.mark
    sink.write(line)
  }

  function appendOwn(event: StreamEvent, more: MoreFields = {}): void {
    append({ ...OWN, event }, more)
  }

  function beginning(previous: Mark | null): Beginning {
    return { gateway, key: keys.id, previous }
  }

  /** The chain does not break where lines were lost: it says so. */
  function tellLost(): void {
    if (lost === 0) return
    appendOwn('audit.lost', { lost })
    lost = 0
  }

  appendOwn('audit.opened', beginning(options.previous))

  return {
    record(entry) {
      if (closing !== null || !sink.hasRoom()) {
        lost += 1
        lostInAll += 1
        return
      }
      tellLost()
      hasEntries = true
      append(
        {
          event: entry.event,
          by: entry.by,
          caller: entry.caller ?? null,
          guid: entry.guid ?? null,
          version: entry.version ?? null,
          token: entry.accessToken === undefined ? null : keys.fingerprint(entry.accessToken),
          request_id: entry.requestId ?? null,
          outcome: entry.outcome,
          status: entry.status ?? null,
          remote: entry.remote ?? null,
        },
        {},
      )
    },

    reopen() {
      if (closing !== null) return
      tellLost()
      appendOwn('audit.rotated')
      sink.reopen()
      appendOwn('audit.continued', beginning(last))
    },

    trouble: sink.trouble,
    lost: () => lostInAll,
    head: () => (hasEntries ? sink.written() : null),

    close() {
      if (closing !== null) return closing
      tellLost()
      appendOwn('audit.closed')
      closing = sink.close()
      return closing
    },
  }
}

/** For development: no stream, so that the terminal stays readable. */
export const noAudit: AuditLog = {
  record() {},
  reopen() {},
  trouble: () => null,
  lost: () => 0,
  head: () => null,
  close: async () => 0,
}
