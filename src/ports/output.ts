/** Standard output, as operators see it. */
export interface OutputState {
  /**
   * `STALLED`: lines wait and the reader takes nothing, or so little that lines are dropped. Else the code of the error
   * (`EPIPE`, `ENOSPC`). null: lines leave the process.
   */
  trouble(): string | null
  /** Lines that were dropped since the start, by kind. */
  dropped(): Readonly<Record<OutputKind, number>>
}

export type OutputKind = 'log' | 'audit'

/** For a log that goes elsewhere than to standard output. */
export const otherOutput: OutputState = {
  trouble: () => null,
  dropped: () => ({ log: 0, audit: 0 }),
}
