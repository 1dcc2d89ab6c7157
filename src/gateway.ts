/** Puts the parts together: real clock, real provider, Redis or memory, and the app on top. What it opens, it closes. */
import type { DestinationStream, Logger } from 'pino'
import { type AppPorts, buildApp } from './app.ts'
import type { Config, ServeConfig } from './config.ts'
import type { DoorAddresses, DoorPorts } from './doors.ts'
import type { HttpLimits } from './http-limits.ts'
import { createLogger, loggedEvents } from './logging.ts'
import { createMetrics } from './metrics.ts'
import type { SharedCounts } from './ports/counts.ts'
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

export interface Gateway {
  readonly logger: Logger
  /** Resolves with the address it listens on. Where a port cannot be had it closes again, and rejects. */
  listen(): Promise<string>
  /** Those of the other listeners. */
  doors(): DoorAddresses
  /** Finishes what is under way, stores what it brought, and lets go of everything. */
  close(): Promise<void>
}

/** As `serve` runs it: on Redis, with a journal. `logTo` absent: standard output; `limits` absent: those of production. */
export async function createServedGateway(
  config: ServeConfig,
  logTo?: DestinationStream,
  limits?: HttpLimits,
): Promise<Gateway> {
  const logger = createLogger(config.logLevel, logTo)
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
  })
  return await assemble(config, logger, { stores, journal, counts: stores.counts }, limits)
}

/** On the embedded store: all is gone when the process ends. */
export async function createEmbeddedGateway(config: Config, logTo?: DestinationStream): Promise<Gateway> {
  const stores = createMemoryStores(systemClock)
  return await assemble(config, createLogger(config.logLevel, logTo), { stores, journal: noJournal, counts: null })
}

interface Kept {
  readonly stores: Stores
  readonly journal: Journal
  readonly counts: SharedCounts | null
}

async function assemble(
  config: Config,
  logger: Logger,
  { stores, journal, counts }: Kept,
  limits?: HttpLimits,
): Promise<Gateway> {
  const metrics = createMetrics()
  const provider = createHealthTap({
    ...config,
    redirectUri: config.redirectUris[0] ?? '',
    timeoutMs: config.providerTimeoutMs,
    connections: config.providerMaxConcurrency,
  })
  const ports: AppPorts = {
    clock: systemClock,
    random: systemRandom,
    slots: createSlots(config.providerMaxConcurrency),
    events: toAll(loggedEvents(logger), metrics.events),
    logger,
    provider,
    stores,
    journal,
    counts,
    metrics,
  }
  const app = await buildApp(config, ports, limits)
  let doors: DoorAddresses = {}

  async function close(): Promise<void> {
    await app.close()
    await provider.close()
    await stores.close()
  }

  return {
    logger,
    async listen() {
      try {
        const address = await app.listen({ host: config.host, port: config.port })
        doors = await app.doors.open(config.host, doorPorts(config), app.routing)
        return address
      } catch (error) {
        // It renews already: what is under way must not get lost with the process.
        await close()
        throw error
      }
    },
    doors: () => doors,
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
