import { pino } from 'pino'
import { buildApp } from '../../src/app.ts'
import { noAudit } from '../../src/audit/log.ts'
import { createCallers } from '../../src/callers/callers.ts'
import type { Config } from '../../src/config.ts'
import { Secret } from '../../src/ports/secret.ts'
import { createHealthTap } from '../../src/provider/healthtap.ts'
import { createMemoryStores } from '../../src/store/memory.ts'
import { systemClock } from '../../src/system/clock.ts'
import { noJournal } from '../../src/system/journal.ts'
import { systemRandom } from '../../src/system/random.ts'
import { createSlots } from '../../src/system/slots.ts'

/** The document that the app shows at /openapi.json, as the committed file has it. */
export async function openapiDocument(): Promise<string> {
  const provider = createHealthTap({ ...config, redirectUri: '', timeoutMs: 1, connections: 1 })
  const app = await buildApp(config, {
    clock: systemClock,
    random: systemRandom,
    slots: createSlots(1),
    events: { emit() {} },
    logger: pino({ enabled: false }),
    callers: createCallers(config, systemClock),
    provider,
    stores: createMemoryStores(systemClock),
    journal: noJournal,
    audit: noAudit,
  })
  const response = await app.inject('/openapi.json')
  await app.close()
  await provider.close()
  return `${JSON.stringify(response.json(), null, 2)}\n`
}

const config: Config = {
  host: '127.0.0.1',
  port: 0,
  appId: 'app',
  appSecret: new Secret('secret'),
  authorizeUrl: 'http://127.0.0.1:1/oauth/authorize',
  apiUrl: 'http://127.0.0.1:1',
  identityUrl: null,
  identityPointer: '/guid',
  redirectUris: ['https://app.example.com/callback'],
  scopes: ['profile_read'],
  pkce: true,
  providerTimeoutMs: 1000,
  providerMaxConcurrency: 1,
  callers: [],
  jwtIssuers: [],
  tls: null,
  refreshMarginSeconds: 600,
  refreshMarginRatio: 0.2,
  refreshIdleAfterSeconds: 0,
  tokenMinTtlSeconds: 30,
  defaultLifetimeSeconds: 3600,
  returnToOrigins: [],
  requireState: false,
  logLevel: 'silent',
}
