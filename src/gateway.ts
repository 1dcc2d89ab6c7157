/** Puts the parts together: real clock, real provider, Redis or memory, and the app on top. What it opens, it closes. */
import type { Server } from 'node:https'
import { isDeepStrictEqual } from 'node:util'
import { type DestinationStream, type Logger, pino } from 'pino'
import { buildApp, secureContext } from './app.ts'
import { auditedEvents } from './audit/events.ts'
import { type AuditLog, noAudit } from './audit/log.ts'
import { openAudit } from './audit/open.ts'
import { createCallers } from './callers/callers.ts'
import type { Config, ServeConfig } from './config.ts'
import { createLogger, loggedEvents } from './logging.ts'
import type { Events } from './ports/events.ts'
import type { Journal } from './ports/journal.ts'
import type { Stores } from './ports/store.ts'
import { createHealthTap } from './provider/healthtap.ts'
import { createCodec } from './store/codec.ts'
import { createMemoryStores } from './store/memory.ts'
import { createRedisStores } from './store/redis/index.ts'
import { createSealer } from './store/sealing.ts'
import { systemClock } from './system/clock.ts'
import { createFileJournal, noJournal } from './system/journal.ts'
import { systemRandom } from './system/random.ts'
import { createSlots } from './system/slots.ts'

export interface ServedGateway extends Gateway {
  /** Takes over what may change while it runs. Returns the names of those that have changed and need a restart. */
  reload(config: ServeConfig): readonly string[]
}

export interface Gateway {
  readonly logger: Logger
  /** Whoever renames its file says so. */
  readonly audit: Pick<AuditLog, 'reopen'>
  /** Resolves with the address it listens on. */
  listen(): Promise<string>
  /** Finishes what is under way, stores what it brought, and lets go of everything. */
  close(): Promise<void>
}

/** As `serve` runs it: on Redis, with a journal. `logTo` absent: standard output. */
export async function createServedGateway(
  config: ServeConfig,
  logTo: DestinationStream = pino.destination({ sync: false }),
): Promise<ServedGateway> {
  const logger = createLogger(config.logLevel, logTo)
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
      if (guid !== null) events.emit({ type: 'record.unreadable', guid, reason, keyId })
    },
  })
  const { auditHeads: heads } = stores
  const audit = await openAudit({ config, output: logTo, heads, logger, clock: systemClock, random: systemRandom })
  const gateway = await assemble(config, logger, events, stores, journal, audit)
  return {
    ...gateway,
    reload(next) {
      sealer.use(next.encryptionKeys)
      gateway.reload(next)
      return needRestart(config, next)
    },
  }
}

/** On the embedded store: all is gone when the process ends. */
export async function createEmbeddedGateway(config: Config, logTo?: DestinationStream): Promise<Gateway> {
  const logger = createLogger(config.logLevel, logTo)
  return await assemble(config, logger, loggedEvents(logger), createMemoryStores(systemClock), noJournal, noAudit)
}

async function assemble(
  config: Config,
  logger: Logger,
  events: Events,
  stores: Stores,
  journal: Journal,
  audit: AuditLog,
): Promise<Gateway & { reload(config: Config): void }> {
  const callers = createCallers(config, systemClock)
  const provider = createHealthTap({
    ...config,
    redirectUri: config.redirectUris[0] ?? '',
    timeoutMs: config.providerTimeoutMs,
    connections: config.providerMaxConcurrency,
  })
  const app = await buildApp(config, {
    clock: systemClock,
    random: systemRandom,
    slots: createSlots(config.providerMaxConcurrency),
    events: toAll(events, auditedEvents(audit)),
    audit,
    logger,
    callers,
    provider,
    stores,
    journal,
  })
  return {
    logger,
    audit,
    listen: () => app.listen({ host: config.host, port: config.port }),
    reload(next) {
      callers.use(next)
      provider.useSecret(next.appSecret)
      logger.level = next.logLevel
      if (config.tls !== null && next.tls !== null) (app.server as Server).setSecureContext(secureContext(next.tls))
    },
    async close() {
      await app.close()
      await provider.close()
      await audit.close()
      await stores.close()
    },
  }
}

function toAll(...listeners: readonly Events[]): Events {
  return {
    emit(event) {
      for (const listener of listeners) listener.emit(event)
    },
  }
}

const RELOADED: readonly (keyof ServeConfig)[] = ['appSecret', 'callers', 'encryptionKeys', 'jwtIssuers', 'logLevel']

function needRestart(before: ServeConfig, after: ServeConfig): readonly string[] {
  const others = (Object.keys(after) as (keyof ServeConfig)[]).filter(
    name => name !== 'tls' && !RELOADED.includes(name),
  )
  const isTlsTurned = (before.tls === null) !== (after.tls === null)
  return [...others.filter(name => !isDeepStrictEqual(before[name], after[name])), ...(isTlsTurned ? ['tls'] : [])]
}
