/** Puts the parts together: real clock, real provider, Redis or memory, and the app on top. What it opens, it closes. */
import type { Server } from 'node:https'
import { createSecureContext } from 'node:tls'
import type { DestinationStream, Logger } from 'pino'
import { type AppPorts, buildApp } from './app.ts'
import { auditedEvents } from './audit/events.ts'
import { type AuditLog, noAudit } from './audit/log.ts'
import { openAudit } from './audit/open.ts'
import { createCallers } from './callers/callers.ts'
import type { Config, ServeConfig } from './config.ts'
import { addressOf, type DoorAddresses, type DoorPorts } from './doors.ts'
import type { HttpLimits } from './http-limits.ts'
import { createLogger, loggedEvents } from './logging.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import type { SharedCounts } from './ports/counts.ts'
import type { Events } from './ports/events.ts'
import type { Journal } from './ports/journal.ts'
import { type OutputState, otherOutput } from './ports/output.ts'
import type { Stores } from './ports/store.ts'
import { createHealthTap } from './provider/healthtap.ts'
import { needRestart } from './reload.ts'
import { createCodec } from './store/codec.ts'
import { createMemoryStores } from './store/memory.ts'
import { createRedisStores } from './store/redis/index.ts'
import { createSealer } from './store/sealing.ts'
import { systemClock } from './system/clock.ts'
import { createFileJournal, noJournal } from './system/journal.ts'
import { Output } from './system/output.ts'
import { systemRandom } from './system/random.ts'
import { createSlots } from './system/slots.ts'
import { contextForCallers } from './tls.ts'
import type { Traces } from './tracing/traces.ts'

export interface ServedGateway extends Gateway {
  /**
   * Takes over what may change while it runs. Returns the names of those that have changed and need a restart. Where it
   * throws, all is as it was.
   */
  reload(config: ServeConfig): readonly string[]
}

export interface Gateway {
  readonly logger: Logger
  /** Whoever renames its file says so. */
  readonly audit: Pick<AuditLog, 'reopen'>
  /** Resolves with the address it listens on. Where a port cannot be had it closes again, and rejects. */
  listen(): Promise<string>
  /** Those of the other listeners. */
  doors(): DoorAddresses
  /** Says that it is not ready any more, and goes on answering. Renews nothing ahead of time from now on. */
  leave(): void
  /** Finishes what is under way, stores what it brought, and lets go of everything. */
  close(): Promise<void>
}

/** As `serve` runs it: on Redis, with a journal. `logTo` absent: standard output; `limits` absent: those of production. */
export async function createServedGateway(
  config: ServeConfig,
  logTo: DestinationStream = new Output(),
  limits?: HttpLimits,
): Promise<ServedGateway> {
  const metrics = createMetrics()
  const { logger, traces } = await watched(config, metrics, logTo)
  const events = loggedEvents(logger)
  const sealer = createSealer(config.encryptionKeys)
  const onUnreadable = (file: string) => logger.error({ file }, 'a journal entry cannot be opened; it is left there')
  const journal = createFileJournal(config.journalDir, createCodec(sealer), onUnreadable)
  const stores = createRedisStores({
    address: config.redis,
    prefix: config.redisPrefix,
    sealer,
    clock: systemClock,
    onFinding: ({ about, text }) => logger.warn({ about, text }, 'redis is not set up to keep grants safe'),
    onConnectionError: error => logger.warn({ err: error }, 'redis connection'),
    onUnreadable({ guid, reason, keyId }) {
      if (guid !== null) toAll(events, metrics.events).emit({ type: 'record.unreadable', guid, reason, keyId })
    },
    onCommand: metrics.redis,
    tracing: traces,
    mostSightings: config.tokenCacheSize,
  })
  const { auditHeads: heads, counts } = stores
  const audit = await openAudit({ config, output: logTo, heads, logger, clock: systemClock, random: systemRandom })
  const output = watchedOutput(logTo, logger, config.auditLog === '-' ? audit : noAudit)
  const kept = { stores, journal, counts, audit, metrics, traces, output }
  const gateway = await assemble(config, logger, events, kept, limits)
  return {
    ...gateway,
    reload(next) {
      gateway.reload(next)
      sealer.use(next.encryptionKeys)
      stores.forget()
      return needRestart(config, next)
    },
  }
}

/** On the embedded store: all is gone when the process ends. */
export async function createEmbeddedGateway(config: Config, logTo: DestinationStream = new Output()): Promise<Gateway> {
  const metrics = createMetrics()
  const { logger, traces } = await watched(config, metrics, logTo)
  const stores = createMemoryStores(systemClock)
  const output = watchedOutput(logTo, logger, noAudit)
  const kept = { stores, journal: noJournal, counts: null, audit: noAudit, metrics, traces, output }
  return await assemble(config, logger, loggedEvents(logger), kept)
}

/** The log, and the traces that its lines belong to; null: there are none, and OpenTelemetry is not even loaded. */
async function watched(
  { logLevel, traces: config }: Config,
  { spans: onSpans }: Metrics,
  logTo: DestinationStream,
): Promise<{ logger: Logger; traces: Traces | null }> {
  if (config === null) return { logger: createLogger(logLevel, logTo), traces: null }
  const { logFields, openTraces } = await import('./tracing/open.ts')
  const logger = createLogger(logLevel, logTo, logFields)
  return { logger, traces: openTraces({ config, logger, clock: systemClock, onSpans }) }
}

/** `audit`: the stream that goes to the same output; `noAudit`: none does. */
function watchedOutput(logTo: DestinationStream, logger: Logger, audit: Pick<AuditLog, 'lost'>): OutputState {
  if (!(logTo instanceof Output)) return otherOutput
  let auditLinesTold = 0
  logTo.on('resumed', logLines => {
    const auditLines = audit.lost() - auditLinesTold
    auditLinesTold = audit.lost()
    const counts = { log_lines: logLines, audit_lines: auditLines }
    logger.warn(counts, 'lines were dropped here: standard output was not read. Check what collects the log')
  })
  return {
    trouble: () => logTo.trouble(),
    dropped: () => ({ log: logTo.dropped(), audit: audit.lost() }),
  }
}

interface Kept {
  readonly stores: Stores
  readonly journal: Journal
  readonly counts: SharedCounts | null
  readonly audit: AuditLog
  readonly metrics: Metrics
  readonly traces: Traces | null
  readonly output: OutputState
}

async function assemble(
  config: Config,
  logger: Logger,
  events: Events,
  { stores, journal, counts, audit, metrics, traces, output }: Kept,
  limits?: HttpLimits,
): Promise<Gateway & { reload(config: Config): void }> {
  const callers = createCallers(config, systemClock)
  const provider = createHealthTap({
    ...config,
    redirectUri: config.redirectUris[0] ?? '',
    timeoutMs: config.providerTimeoutMs,
    connections: config.providerMaxConcurrency,
    onDate: metrics.provider.dated,
    ...(traces === null ? {} : { tracing: traces }),
  })
  const ports: AppPorts = {
    clock: systemClock,
    random: systemRandom,
    slots: createSlots(config.providerMaxConcurrency),
    events: toAll(events, auditedEvents(audit), metrics.events),
    audit,
    logger,
    callers,
    provider: metrics.provider.measured(provider, { hasIdentityUrl: config.identityUrl !== null }),
    stores,
    journal,
    counts,
    metrics,
    traces,
    output,
  }
  const app = await buildApp(config, ports, limits)
  let doors: DoorAddresses = {}

  async function close(): Promise<void> {
    await app.close()
    await provider.close()
    await audit.close()
    await stores.close()
    await traces?.close()
  }

  return {
    logger,
    audit,
    async listen() {
      try {
        await app.listen({ host: config.host, port: config.port })
        doors = await app.doors.open(config.host, doorPorts(config), app.routing)
        return addressOf(app.server)
      } catch (error) {
        // It renews already: what is under way must not get lost with the process.
        await close()
        throw error
      }
    },
    doors: () => doors,
    leave: () => app.leave(),
    reload(next) {
      // What could throw comes first, so that nothing is taken over by halves.
      const tls = config.tls === null ? null : next.tls
      if (tls !== null) createSecureContext(contextForCallers(tls))
      callers.use(next)
      provider.useSecrets(next)
      logger.level = next.logLevel
      if (tls !== null) {
        ;(app.server as Server).setSecureContext(contextForCallers(tls))
        app.doors.useTls(tls)
      }
    },
    close,
  }
}

function doorPorts({ publicPort, metricsPort }: Config): DoorPorts {
  return {
    ...(publicPort === null ? {} : { public: publicPort }),
    ...(metricsPort === null ? {} : { metrics: metricsPort }),
  }
}

function toAll(...listeners: readonly Events[]): Events {
  return {
    emit(event) {
      for (const listener of listeners) listener.emit(event)
    },
  }
}
