/** The operators' console in a real browser, on a gateway that holds grants of each kind; and all that the page lets out. */
import { Redis } from 'ioredis'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import type { Test } from 'tap'
import { newCaller } from '../../src/cli/keys.ts'
import { Canaries } from './canaries.ts'
import { until } from './process.ts'
import { freePort, type RedisServer } from './redis.ts'
import { type GatewayClient, type Stack, startStack } from './stack.ts'
import { startWiretap } from './wiretap.ts'

/** Markup, if anybody takes it for that. */
export const HOSTILE = '<img src=x onerror="window.ran=1"><script>window.ran=1</script>'
/** As long as a username can be, without a place to break it. */
export const LONG = 'a'.repeat(255)

export const CALLERS = {
  everything: newCaller('everything', ['*']),
  reader: newCaller('reader', ['grant:read']),
  refresher: newCaller('refresher', ['grant:read', 'token:refresh']),
  writer: newCaller('writer', ['grant:read', 'grant:write']),
  tokens: newCaller('tokens', ['token:read']),
  ofAda: newCaller('of-ada', ['*']),
  limited: newCaller('limited', ['grant:read']),
}
export type CallerName = keyof typeof CALLERS

export interface ConsoleWorld extends Stack {
  readonly canaries: Canaries
  /** By username. */
  readonly guids: Readonly<Record<string, string>>
  /** Where the gateway listens, each time that it is started. */
  readonly port: number
  keyOf(caller: CallerName): string
  /** The one that runs now. */
  client(): GatewayClient
  /** Another in its place. */
  restart(settings?: Record<string, string>): Promise<void>
  /** Another in its place, which counts the grants anew. */
  recount(): Promise<void>
  /** The page, and nobody has signed in. */
  open(options?: BrowserContextOptions): Promise<Opened>
}

export interface Opened {
  readonly page: Page
  /** Requests to the API, as `GET /v1/overview`. */
  readonly asked: string[]
  signIn(as?: CallerName): Promise<void>
  /** What canaries of ours the page holds or has let out. */
  findings(): Promise<readonly unknown[]>
  /** Addresses elsewhere, scripts' errors, and whatever the browser complains about but refusals. */
  readonly complaints: string[]
}

const ENDED = 30

/** Two people who were provisioned, one of them renewed; strange names; imports of which many have ended. */
export async function startConsole(t: Test, browser: Browser, redis: RedisServer): Promise<ConsoleWorld> {
  const canaries = new Canaries()
  for (const { apiKey, entry } of Object.values(CALLERS)) canaries.add(`API key of ${entry.name}`, apiKey)
  const stack = await startStack(t, redis.url)
  const wiretap = await startWiretap(t, stack.sandbox.options.url, (name, secret) => canaries.add(name, secret))
  const port = await freePort()
  const common = { PORT: String(port), HEALTHTAP_API_URL: wiretap.url }

  const guids: Record<string, string> = {}
  const seeding = await stack.gateway({ ...common, CALLERS: callersOf({}) })
  const as = (method: string, path: string, body: object) =>
    seeding.send(method, path, body, { authorization: `Bearer ${CALLERS.everything.apiKey}` })
  for (const username of ['ada', 'bob', 'eve', HOSTILE, LONG]) {
    guids[username] = (await as('POST', '/v1/users', { username })).body.guid
  }
  await as('POST', `/v1/grants/${guids.ada}/refresh`, { version: 1 })
  for (let index = 0; index < ENDED; index += 1) {
    const pair = { access_token: canaries.make('access token'), refresh_token: canaries.make('refresh token') }
    // HealthTap does not know it, and says so when it is renewed at once.
    await as('PUT', `/v1/grants/ended-${index}`, { ...pair, expires_in: 1 })
  }
  await until(async () => (await listOfEnded(seeding)).length === ENDED)
  await seeding.close()
  // A count is made when a gateway starts, unless there is one.
  await forgetCensus(redis, stack.environment.REDIS_PREFIX ?? '')

  let running = await start({})
  await until(async () => (await overviewOf(running)).counted_at !== null)

  async function start(settings: Record<string, string>): Promise<GatewayClient> {
    return await stack.gateway({ ...common, CALLERS: callersOf({ guids: [guids.ada ?? ''] }), ...settings })
  }

  return {
    ...stack,
    canaries,
    guids,
    port,
    keyOf: caller => CALLERS[caller].apiKey,
    client: () => running,
    async restart(settings = {}) {
      await running.close()
      running = await start(settings)
    },
    async recount() {
      await running.close()
      await forgetCensus(redis, stack.environment.REDIS_PREFIX ?? '')
      running = await start({})
      await until(async () => (await overviewOf(running)).counted_at !== null)
    },
    open: options => openPage(t, browser, running.url, canaries, options),
  }
}

function callersOf(ofAda: { guids?: string[] }): string {
  const narrowed: Readonly<Record<string, object>> = { 'of-ada': ofAda, limited: { rate_limit: 1 } }
  return JSON.stringify(Object.values(CALLERS).map(({ entry }) => ({ ...entry, ...narrowed[entry.name] })))
}

export async function overviewOf(client: GatewayClient, as: CallerName = 'everything') {
  return (await client.get('/v1/overview', CALLERS[as].apiKey)).body
}

async function listOfEnded(client: GatewayClient): Promise<unknown[]> {
  const path = '/v1/grants?status=reauthorization_required&limit=500'
  return (await client.get(path, CALLERS.everything.apiKey)).body.items
}

async function forgetCensus({ url }: RedisServer, prefix: string): Promise<void> {
  const client = new Redis(url)
  const keys = await client.keys(`${prefix}:*:census:grants`)
  await client.del(...keys)
  client.disconnect()
}

async function openPage(
  t: Test,
  browser: Browser,
  url: string,
  canaries: Canaries,
  options: BrowserContextOptions = {},
): Promise<Opened> {
  const context = await browser.newContext(options)
  t.teardown(() => context.close())
  const [asked, said, complaints]: string[][] = [[], [], []]
  await context.route('**/*', async route => {
    const request = route.request()
    const isOurs = request.url().startsWith(`${url}/`)
    said?.push(request.url(), request.postData() ?? '')
    if (!isOurs) complaints?.push(`elsewhere: ${request.url()}`)
    if (request.url().startsWith(`${url}/v1/`)) asked?.push(`${request.method()} ${request.url().slice(url.length)}`)
    await (isOurs ? route.continue() : route.abort())
  })
  const page = await context.newPage()
  page.on('console', message => {
    said?.push(message.text())
    if (!/Failed to load resource/.test(message.text())) complaints?.push(message.text())
  })
  page.on('pageerror', error => complaints?.push(error.message))
  await page.clock.install()
  await page.goto(`${url}/console`)
  return {
    page,
    asked: asked ?? [],
    complaints: complaints ?? [],
    async signIn(as = 'everything') {
      await page.getByLabel('API key').fill(CALLERS[as].apiKey)
      await page.getByRole('button', { name: 'Sign in' }).click()
    },
    async findings() {
      const places = { said: (said ?? []).join('\n'), held: await page.evaluate<string>(HELD), address: page.url() }
      return Object.entries(places).flatMap(([place, text]) => canaries.search(place, text))
    },
  }
}

/** Everything that a page keeps, as text. */
const HELD = `(async () => {
  const fields = [...document.querySelectorAll('input')].map(field => field.value)
  const databases = await indexedDB.databases()
  const names = await caches.keys().catch(() => [])
  return [document.documentElement.outerHTML, ...fields, document.cookie, JSON.stringify({ ...localStorage }),
    JSON.stringify({ ...sessionStorage }), JSON.stringify(databases), JSON.stringify(names), JSON.stringify(history.state)].join('\\n')
})()`
