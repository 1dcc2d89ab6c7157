import type { Mark, WrittenLine } from './line.ts'

/** Where audit lines go. Nobody waits for a write: what goes wrong is told as trouble. */
export interface Sink {
  /** false: too much waits already; what is written all the same is kept all the same. */
  hasRoom(): boolean
  write(line: WrittenLine): void
  /** From the next line on, a file is opened anew by its name: it was renamed (logrotate). */
  reopen(): void
  /** The last line of which it is known that it has left this process; null: none yet. */
  written(): Mark | null
  /** The code of what keeps lines from being written; null: nothing. */
  trouble(): string | null
  /** Resolves with the number of lines that could not be written, when all others are. */
  close(): Promise<number>
}

/** What both sinks tell: when trouble begins (the error), and when it ends (null). */
export type OnTrouble = (error: Error | null) => void

export function codeOf(error: Error): string {
  return (error as NodeJS.ErrnoException).code ?? error.name
}
