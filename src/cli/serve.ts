import closeWithGrace from 'close-with-grace'
import { readConfig, settingsWithoutEffect } from '../config.ts'
import { createServedGateway, type Gateway } from '../gateway.ts'

/** Long enough for renewals under way: the provider's deadline, and a while to store what they brought. */
const GRACE_BEYOND_DEADLINE_MS = 10_000

/** Throws `ConfigError`. */
export async function serve(): Promise<void> {
  const config = readConfig()
  const gateway = await createServedGateway(config)
  closeGracefully(gateway, config.providerTimeoutMs + GRACE_BEYOND_DEADLINE_MS)
  for (const name of settingsWithoutEffect()) gateway.logger.warn({ setting: name }, 'has no effect in this version')
  if (config.rateLimitPerCaller === 0 && config.rateLimitPerGuid === 0) {
    gateway.logger.info('no rate limits are set: see RATE_LIMIT_PER_CALLER and RATE_LIMIT_PER_GUID')
  }
  const address = await gateway.listen()
  gateway.logger.info({ address, ...gateway.doors() }, 'ready')
}

/** On SIGTERM and SIGINT: no more requests, finish what is under way, store it, exit 0. */
export function closeGracefully(gateway: Pick<Gateway, 'logger' | 'close'>, delayMs: number): void {
  closeWithGrace({ delay: delayMs }, async ({ err, signal }) => {
    if (err === undefined) gateway.logger.info({ signal }, 'closing')
    else gateway.logger.fatal({ err }, 'closing after an error that nobody expected')
    await gateway.close()
  })
}
