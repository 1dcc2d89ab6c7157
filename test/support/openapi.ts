import { pino } from 'pino'
import { buildApp } from '../../src/app.ts'
import { noAudit } from '../../src/audit/log.ts'
import { createCallers } from '../../src/callers/callers.ts'
import { readEmbeddedConfig } from '../../src/config.ts'
import { createMetrics } from '../../src/metrics.ts'
import { createHealthTap } from '../../src/provider/healthtap.ts'
import { createMemoryStores } from '../../src/store/memory.ts'
import { systemClock } from '../../src/system/clock.ts'
import { noJournal } from '../../src/system/journal.ts'
import { systemRandom } from '../../src/system/random.ts'
import { createSlots } from '../../src/system/slots.ts'
import { LEAST } from './settings.ts'

/** The document that the app shows at /openapi.json, as the committed file has it. */
export async function openapiDocument(): Promise<string> {
  const config = readEmbeddedConfig(LEAST)
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
    counts: null,
    traces: null,
    metrics: createMetrics(),
  })
  const response = await app.inject('/openapi.json')
  await app.close()
  await provider.close()
  return `${JSON.stringify(response.json(), null, 2)}\n`
}
