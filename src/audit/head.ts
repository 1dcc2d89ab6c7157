import type { AuditHeads } from '../ports/audit-heads.ts'
import type { Clock } from '../ports/clock.ts'
import type { AuditLog } from './log.ts'

const EVERY_MS = 1_000
const KEPT_FOR_MS = 400 * 86_400_000

export interface HeadKeeper {
  /** Tells the store how far the stream has come, a last time. Call it when the stream is closed. */
  stop(): Promise<void>
}

/**
 * Tells the store, once a second where there is something to tell, how far the stream has come. A store that is away is
 * told later: a head that lags behind only means that less of the end is watched over.
 */
export function keepHead(options: {
  readonly audit: Pick<AuditLog, 'head'>
  readonly heads: AuditHeads
  readonly clock: Clock
}): HeadKeeper {
  const { audit, heads, clock } = options
  const closing = new AbortController()
  let toldSeq = 0

  async function tell(): Promise<void> {
    const head = audit.head()
    if (head === null || head.seq === toldSeq) return
    await heads.put({ ...head, at: timeOf(clock.now()) })
    toldSeq = head.seq
  }

  async function run(): Promise<void> {
    await heads.forgetBefore(timeOf(clock.now() - KEPT_FOR_MS)).catch(() => {})
    while (!closing.signal.aborted) {
      await clock.sleep(EVERY_MS, closing.signal)
      await tell().catch(() => {})
    }
  }

  const running = run()
  return {
    async stop() {
      closing.abort()
      await running
      await tell().catch(() => {})
    },
  }
}

function timeOf(atMs: number): string {
  return new Date(atMs).toISOString()
}
