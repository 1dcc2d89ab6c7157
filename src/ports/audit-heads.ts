/** How far an audit stream has come: its last line that was written. */
export interface AuditHead {
  readonly stream: string
  readonly seq: number
  readonly mac: string
  /** RFC 3339. */
  readonly at: string
}

/**
 * The ends of audit streams, kept elsewhere than the streams themselves: a file alone cannot tell that its end was cut off.
 * All methods throw `StoreUnavailable`.
 */
export interface AuditHeads {
  put(head: AuditHead): Promise<void>
  all(): Promise<readonly AuditHead[]>
  /** Heads that were last written before this time, RFC 3339, are forgotten. */
  forgetBefore(at: string): Promise<void>
}
