import type { DiagLogger } from '@opentelemetry/api'
import type { FastifyBaseLogger } from 'fastify'

/** There are some dozens that OpenTelemetry may say. */
const MOST_TOLD = 50

/**
 * What OpenTelemetry finds amiss with itself, in our log: each thing once, and of its text what stands before the first colon. What
 * follows may quote what failed.
 */
export function diagnosticsFor(logger: Pick<FastifyBaseLogger, 'warn'>): DiagLogger {
  const told = new Set<string>()

  function tell(message: string): void {
    const about = (message.split(':')[0] ?? '').replace(/[0-9a-f]{8,}|\d+/g, '…').slice(0, 200)
    if (told.has(about) || told.size >= MOST_TOLD) return
    told.add(about)
    logger.warn({ about }, 'opentelemetry')
  }

  return { error: tell, warn: tell, info() {}, debug() {}, verbose() {} }
}
