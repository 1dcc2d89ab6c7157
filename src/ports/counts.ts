/** What was counted under a name, in the window of time with this number and in the one before. */
export interface CountChange {
  readonly name: string
  readonly window: number
  /** To be added; 0: only to be told. */
  readonly add: number
  readonly addBefore: number
}

export interface CountTotal {
  readonly total: number
  readonly totalBefore: number
}

/** Counts that replicas share. They are lost when nobody has added to them for a few windows. */
export interface SharedCounts {
  /**
   * Adds, and answers in the same order what all replicas together have counted; null where that cannot be told just now,
   * and the addition may or may not have been done. Never throws.
   */
  exchange(changes: readonly CountChange[]): Promise<readonly (CountTotal | null)[]>
}
