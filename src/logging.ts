import { type DestinationStream, type Logger, pino } from 'pino'
import type { BrokerEvent, Events } from './ports/events.ts'

/**
 * JSON lines. Only what is listed here gets into a line: no headers, no query strings, no bodies, and of an error its kind
 * and where it came from, but not its text, since that may quote what failed. `mixin` gives more fields for each line.
 */
export function createLogger(level: string, destination: DestinationStream, mixin?: () => object): Logger {
  return pino(
    {
      level,
      base: { service: 'healthtap-gateway' },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
      serializers: { err: errorView, req: () => undefined, res: () => undefined },
      ...(mixin === undefined ? {} : { mixin }),
    },
    destination,
  )
}

function errorView(error: unknown) {
  if (!(error instanceof Error)) return { type: typeof error }
  const frames = framesOf(error).filter(line => /^\s+at /.test(line))
  const code = (error as NodeJS.ErrnoException).code
  return { type: error.name, ...(typeof code === 'string' ? { code } : {}), stack: frames.map(line => line.trim()) }
}

/** The stack begins with the text, which may have lines that look like the others. None: it cannot be told which is which. */
function framesOf({ message, stack = '' }: Error): string[] {
  const start = stack.indexOf(message)
  return start < 0 ? [] : stack.slice(start + message.length).split('\n')
}

/** How loud each event is. */
const LEVELS: Readonly<Record<BrokerEvent['type'], 'debug' | 'info' | 'warn' | 'error'>> = {
  'grant.stored': 'info',
  'grant.attempted': 'debug',
  'grant.renewed': 'info',
  'grant.in_doubt': 'warn',
  'grant.rested': 'info',
  'grant.restored': 'error',
  'grant.renewal_failed': 'warn',
  'grant.needs_attention': 'warn',
  'grant.ended': 'warn',
  'grant.password_used': 'warn',
  'grant.revoking': 'info',
  'grant.revoked': 'info',
  'pair.discarded': 'warn',
  'pair.revoked': 'info',
  'commit.delayed': 'error',
  'provider.unavailable': 'error',
  'provider.available': 'info',
  'provider.paused': 'warn',
  'client.refused': 'error',
  'client.accepted': 'info',
  'record.unreadable': 'error',
  'refresher.failed': 'error',
}

/** The broker's events as log lines. */
export function loggedEvents(logger: Logger): Events {
  return {
    emit(event) {
      const { type, ...facts } = event
      const detail = event.type === 'grant.needs_attention' ? { detail: adviceOn(event) } : {}
      logger[LEVELS[type]]({ ...facts, ...detail }, type)
    },
  }
}

function adviceOn({ attempts, code }: Extract<BrokerEvent, { type: 'grant.needs_attention' }>): string {
  return `The refresh of this grant has failed ${attempts} times in a row, the last time with ${code}. It is tried again, less and less often, until its token expires and after. Read the grant's last_error and the lines before this one, then see GrantsNeedAttention in docs/metrics.md.`
}
