import { setTimeout as sleep } from 'node:timers/promises'
import closeWithGrace from 'close-with-grace'
import { DRAIN_MS } from '../app.ts'
import { ConfigError, type Environment, readConfig, type ServeConfig, takeEnvironment } from '../config.ts'
import { createServedGateway, type Gateway, type ServedGateway } from '../gateway.ts'
import { misspelledIn } from '../settings/misspelled.ts'

/** Long enough for requests, and for renewals under way: the provider's deadline, and a while to store what they brought. */
const GRACE_BEYOND_DEADLINE_MS = DRAIN_MS + 10_000

/** How long it may take at most from SIGTERM to the end: whoever stops it should not kill it sooner. */
export function graceMs(config: Pick<ServeConfig, 'providerTimeoutMs' | 'shutdownDelaySeconds'>): number {
  return config.shutdownDelaySeconds * 1000 + config.providerTimeoutMs + GRACE_BEYOND_DEADLINE_MS
}

/** Throws `ConfigError`. */
export async function serve(): Promise<void> {
  const environment = takeEnvironment()
  const config = readConfig(environment)
  const gateway = await createServedGateway(config)
  const delayMs = config.shutdownDelaySeconds * 1000
  closeGracefully(gateway, graceMs(config) - delayMs, delayMs)
  process.on('SIGHUP', () => {
    // First, and whatever the settings are like: a file that was renamed is not waited for.
    gateway.audit.reopen()
    reload(gateway, environment)
  })
  if (config.rateLimitPerCaller === 0 && config.rateLimitPerGuid === 0) {
    gateway.logger.info('no rate limits are set: see RATE_LIMIT_PER_CALLER and RATE_LIMIT_PER_GUID')
  }
  const misspelled = misspelledIn(environment)
  if (misspelled.length > 0) gateway.logger.warn({ misspelled }, 'these are no settings, and say nothing')
  const address = await gateway.listen()
  gateway.logger.info({ address, ...gateway.doors() }, 'ready')
}

/** Settings that come from files are read again. What is wrong with them is told, and those of before stay. */
function reload(gateway: ServedGateway, environment: Environment): void {
  try {
    const needRestart = gateway.reload(readConfig(environment))
    gateway.logger.info('settings are reloaded')
    if (needRestart.length > 0) gateway.logger.warn({ settings: needRestart }, 'these take effect at the next start')
  } catch (error) {
    const why = error instanceof ConfigError ? { problems: error.problems } : { err: error }
    gateway.logger.error(why, 'settings are not reloaded: those of before stay')
  }
}

/**
 * On SIGTERM and SIGINT: say so, and `leaveMs` later take no more requests, finish what is under way, store it, exit 0. What has not ended
 * `graceMs` after that is cut off.
 */
export function closeGracefully(
  { logger, leave, close }: Pick<Gateway, 'logger' | 'leave' | 'close'>,
  graceMs: number,
  leaveMs: number,
): void {
  // Else it prints errors as they are, with their text and what they carry: a command to Redis, and its arguments.
  const told = {
    error(what: unknown) {
      if (typeof what === 'string') logger.fatal(what)
      else logger.fatal({ err: what }, 'an error while closing')
    },
  }
  // A hang-up reloads the settings of `serve`.
  closeWithGrace({ delay: leaveMs + graceMs, skip: ['SIGHUP'], logger: told }, async ({ err, signal }) => {
    leave()
    if (err === undefined) {
      logger.info({ signal }, 'closing')
      await sleep(leaveMs)
    } else logger.fatal({ err }, 'closing after an error that nobody expected')
    await close()
  })
}
