import closeWithGrace from 'close-with-grace'
import { DRAIN_MS } from '../app.ts'
import { readConfig, settingsWithoutEffect } from '../config.ts'
import { createServedGateway, type Gateway } from '../gateway.ts'

/** Long enough for requests, and for renewals under way: the provider's deadline, and a while to store what they brought. */
const GRACE_BEYOND_DEADLINE_MS = DRAIN_MS + 10_000

/** Throws `ConfigError`. */
export async function serve(): Promise<void> {
  const config = readConfig()
  const gateway = await createServedGateway(config)
  closeGracefully(gateway, config.providerTimeoutMs + GRACE_BEYOND_DEADLINE_MS)
  for (const name of settingsWithoutEffect()) gateway.logger.warn({ setting: name }, 'has no effect in this version')
  gateway.logger.info({ address: await gateway.listen() }, 'ready')
}

/** On SIGTERM and SIGINT: no more requests, finish what is under way, store it, exit 0. */
export function closeGracefully(gateway: Pick<Gateway, 'logger' | 'close'>, delayMs: number): void {
  closeWithGrace({ delay: delayMs }, async ({ err, signal }) => {
    if (err === undefined) gateway.logger.info({ signal }, 'closing')
    else gateway.logger.fatal({ err }, 'closing after an error that nobody expected')
    await gateway.close()
  })
}
