/** The HTTP service in this process, on the embedded store, with a provider that says what the test wants and a clock that stands still. */
import { pino } from 'pino'
import type { Test } from 'tap'
import { buildApp } from '../../src/app.ts'
import { noAudit } from '../../src/audit/log.ts'
import type { Permission } from '../../src/callers/caller.ts'
import { createCallers } from '../../src/callers/callers.ts'
import { newCaller, newEncryptionKey } from '../../src/cli/keys.ts'
import { type Environment, readConfig } from '../../src/config.ts'
import { createMetrics } from '../../src/metrics.ts'
import type { Provider } from '../../src/ports/provider.ts'
import { createMemoryStores } from '../../src/store/memory.ts'
import { noJournal } from '../../src/system/journal.ts'
import { systemRandom } from '../../src/system/random.ts'
import { createSlots } from '../../src/system/slots.ts'
import { ManualClock } from './clock.ts'
import { ScriptedProvider } from './provider.ts'

/** `realProvider` absent: a scripted one. */
export async function startApp(t: Test, settings: Environment = {}, realProvider?: Provider) {
  const everything = newCaller('everything', ['*'])
  const reader = newCaller('reader', ['grant:read'] satisfies Permission[])
  const config = readConfig({
    HEALTHTAP_APP_ID: 'app',
    HEALTHTAP_APP_SECRET: 'app-secret',
    HEALTHTAP_REDIRECT_URIS: 'https://app.example/cb',
    REDIS_URL: 'redis://127.0.0.1:1',
    ENCRYPTION_KEYS: newEncryptionKey(),
    CALLERS: JSON.stringify([everything.entry, reader.entry]),
    ...settings,
  })
  const clock = new ManualClock()
  const provider = new ScriptedProvider()
  const stores = createMemoryStores(clock)
  const metrics = createMetrics()
  const app = await buildApp(config, {
    clock,
    random: systemRandom,
    slots: createSlots(8),
    events: metrics.events,
    logger: pino({ enabled: false }),
    provider: realProvider ?? provider,
    stores,
    journal: noJournal,
    callers: createCallers(config, clock),
    audit: noAudit,
    counts: null,
    traces: null,
    metrics,
  })
  await app.ready()
  t.teardown(() => app.close())
  const send = (method: 'GET' | 'POST' | 'PUT', url: string, payload?: object, apiKey = everything.apiKey) =>
    app.inject({ method, url, headers: { authorization: `Bearer ${apiKey}` }, ...(payload ? { payload } : {}) })
  return { app, clock, provider, stores, metrics, send, readerKey: reader.apiKey }
}
