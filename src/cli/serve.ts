import closeWithGrace from 'close-with-grace'
import { DRAIN_MS } from '../app.ts'
import { ConfigError, readConfig, type ServeConfig } from '../config.ts'
import { createServedGateway, type Gateway, type ServedGateway } from '../gateway.ts'

/** Long enough for requests, and for renewals under way: the provider's deadline, and a while to store what they brought. */
const GRACE_BEYOND_DEADLINE_MS = DRAIN_MS + 10_000

/** How long it may take at most from SIGTERM to the end: whoever stops it should not kill it sooner. */
export function graceMs({ providerTimeoutMs }: Pick<ServeConfig, 'providerTimeoutMs'>): number {
  return providerTimeoutMs + GRACE_BEYOND_DEADLINE_MS
}

/** Throws `ConfigError`. */
export async function serve(): Promise<void> {
  const config = readConfig()
  const gateway = await createServedGateway(config)
  closeGracefully(gateway, graceMs(config))
  process.on('SIGHUP', () => {
    // First, and whatever the settings are like: a file that was renamed is not waited for.
    gateway.audit.reopen()
    reload(gateway)
  })
  if (config.rateLimitPerCaller === 0 && config.rateLimitPerGuid === 0) {
    gateway.logger.info('no rate limits are set: see RATE_LIMIT_PER_CALLER and RATE_LIMIT_PER_GUID')
  }
  const address = await gateway.listen()
  gateway.logger.info({ address, ...gateway.doors() }, 'ready')
}

/** Settings that come from files are read again. What is wrong with them is told, and those of before stay. */
function reload(gateway: ServedGateway): void {
  try {
    const needRestart = gateway.reload(readConfig())
    gateway.logger.info('settings are reloaded')
    if (needRestart.length > 0) gateway.logger.warn({ settings: needRestart }, 'these take effect at the next start')
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    gateway.logger.error({ problems: error.problems }, 'settings are not reloaded: those of before stay')
  }
}

/** On SIGTERM and SIGINT: no more requests, finish what is under way, store it, exit 0. */
export function closeGracefully(gateway: Pick<Gateway, 'logger' | 'close'>, delayMs: number): void {
  // A hang-up reloads the settings of `serve`.
  closeWithGrace({ delay: delayMs, skip: ['SIGHUP'] }, async ({ err, signal }) => {
    if (err === undefined) gateway.logger.info({ signal }, 'closing')
    else gateway.logger.fatal({ err }, 'closing after an error that nobody expected')
    await gateway.close()
  })
}
