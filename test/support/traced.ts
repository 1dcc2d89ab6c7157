/** A gateway as a process whose traces are kept: a real Redis, a sandbox behind a wiretap, and a collector that keeps what it gets. */
import type { Test } from 'tap'
import { request } from 'undici'
import { type SandboxDriver, startDriven } from '../../sandbox/driver.ts'
import { newCaller } from '../../src/cli/keys.ts'
import { type CollectedSpan, type Collector, startCollector } from './collector.ts'
import { serveEnvironment } from './environment.ts'
import { type Running, run } from './process.ts'
import { freePort, type RedisServer, startRedis } from './redis.ts'
import { startWiretap, type Wiretap } from './wiretap.ts'

export const PASSWORD = 'password'

/** One for a whole file; its password must stand in no span. */
export async function startRedisFor(t: Pick<Test, 'teardown'>): Promise<RedisServer> {
  const redis = await startRedis({ args: ['--requirepass', PASSWORD] })
  t.teardown(() => redis.stop())
  return redis
}

export const CALLERS_TRACE = '0af7651916cd43dd8448eb211c80319c'
export const CALLERS_SPAN = 'b7ad6b7169203331'
export const traceparent = `00-${CALLERS_TRACE}-${CALLERS_SPAN}-01`
const LOADED = ['--import', './test/support/loaded.ts']

export interface Traced {
  readonly url: string
  readonly apiKey: string
  readonly gateway: Running
  readonly sandbox: SandboxDriver
  readonly wiretap: Wiretap
  readonly collector: Collector
  ask(
    method: 'GET' | 'POST' | 'PUT',
    path: string,
    body?: object | null,
    headers?: Record<string, string>,
  ): Promise<Answer>
}

interface Answer {
  readonly status: number
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever comes.
  readonly body: any
}

/** `settings` without an endpoint: no traces. */
export async function start(
  t: Test,
  redis: RedisServer,
  settings: (collector: Collector) => Record<string, string>,
): Promise<Traced> {
  const collector = await startCollector(t)
  const { driver: sandbox, close } = await startDriven()
  t.teardown(close)
  const wiretap = await startWiretap(t, sandbox.options.url, () => {})
  const { apiKey, entry } = newCaller('scheduler', ['*'])
  const environment = serveEnvironment(t, `redis://:${PASSWORD}@127.0.0.1:${redis.port}`, entry, {
    PORT: '0',
    SHUTDOWN_DELAY_SECONDS: '0',
    REDIS_PREFIX: `t${await freePort()}`,
    HEALTHTAP_APP_ID: sandbox.options.appId,
    HEALTHTAP_APP_SECRET: sandbox.options.appSecret,
    HEALTHTAP_API_URL: wiretap.url,
    HEALTHTAP_REDIRECT_URIS: sandbox.options.redirectUri,
    ...settings(collector),
  })
  const gateway = run(t, ['serve'], environment, LOADED)
  const { address = '' } = await gateway.line(/"ready"/)
  return {
    url: address,
    apiKey,
    gateway,
    sandbox,
    wiretap,
    collector,
    async ask(method, path, body = null, headers = {}) {
      const { statusCode: status, body: answer } = await request(`${address}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${apiKey}`,
          connection: 'close',
          'content-type': 'application/json',
          ...headers,
        },
        ...(body === null ? {} : { body: JSON.stringify(body) }),
      })
      const text = await answer.text()
      return { status, body: text.startsWith('{') ? JSON.parse(text) : text }
    },
  }
}

export const toCollector = ({ url }: Collector) => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: url,
  OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
  OTEL_EXPORTER_OTLP_HEADERS: 'x-collector-key=a%20secret',
})

export const named = (name: string | RegExp) => (span: CollectedSpan) =>
  typeof name === 'string' ? span.name === name : name.test(span.name)

/** The one that fits. */
export async function theSpan(collector: Collector, fits: (span: CollectedSpan) => boolean): Promise<CollectedSpan> {
  const [span, ...more] = await collector.some(1, fits)
  if (span === undefined || more.length > 0) throw new Error(`there should be one, and are ${more.length + 1}`)
  return span
}

export async function stop({ gateway }: Traced): Promise<void> {
  gateway.kill('SIGTERM')
  if ((await gateway.ended()) !== 0) throw new Error(`it has not ended well: ${gateway.stdout()}${gateway.stderr()}`)
}

export const linesOf = ({ gateway }: Traced) =>
  gateway
    .stdout()
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line))
