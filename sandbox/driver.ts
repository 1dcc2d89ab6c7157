import type { CountsReport } from './control/counts.ts'
import type { Fault } from './control/faults.ts'
import { startSandbox } from './index.ts'
import { newToken } from './provider/secrets.ts'

/** An app as it is registered at a sandbox, and that sandbox's address, without a slash at the end. */
export interface DriverOptions {
  readonly url: string
  readonly appId: string
  readonly appSecret: string
  readonly redirectUri: string
}

/** An answer, read to its end. */
export interface Answered {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** The body's members; empty where it is no JSON object. */
  readonly body: Readonly<Record<string, unknown>>
}

export interface Tokens {
  readonly access_token: string
  readonly refresh_token: string
  readonly scope: string
  readonly guid: string
}

/** Of every user that a driver makes. */
const PASSWORD = 'a password'

/** A sandbox on a free port, for an app of its own, and a driver for it. The caller closes it. */
export async function startDriven(
  options: Partial<Parameters<typeof startSandbox>[0]> = {},
): Promise<{ driver: SandboxDriver; close(): Promise<void> }> {
  const redirectUri = options.redirectUris?.[0] ?? 'https://www.mywebsite.com/login_with_healthtap'
  const { appId = newToken(), appSecret = newToken() } = options
  const { url, close } = await startSandbox({ redirectUris: [redirectUri], port: 0, ...options, appId, appSecret })
  return { driver: new SandboxDriver({ url, appId, appSecret, redirectUri }), close }
}

/**
 * Drives a running sandbox over HTTP, as tests and scripts need it: consents without a browser, asks the provider's
 * endpoints, turns the controls.
 */
export class SandboxDriver {
  readonly options: DriverOptions

  constructor(options: DriverOptions) {
    this.options = options
  }

  /** `Authorization: Basic …` with the app's credentials, or with another secret. */
  basicAuth(appSecret: string = this.options.appSecret): string {
    return `Basic ${Buffer.from(`${this.options.appId}:${appSecret}`).toString('base64')}`
  }

  async send(path: string, init: RequestInit = {}): Promise<Answered> {
    const response = await fetch(`${this.options.url}${path}`, { redirect: 'manual', ...init })
    const text = await response.text()
    return { status: response.status, headers: response.headers, text, body: parseObject(text) }
  }

  /** JSON with the app's Basic auth; `headers` are added, or replace these. */
  sendJson(path: string, body: unknown, headers: Record<string, string> = {}, method = 'POST'): Promise<Answered> {
    const defaults = { 'content-type': 'application/json', authorization: this.basicAuth() }
    return this.send(path, { method, headers: { ...defaults, ...headers }, body: JSON.stringify(body) })
  }

  /** Sends the consent form. `fields` are added to, or replace, those of a person who allows `profile_read`. */
  decide(fields: Record<string, string> = {}, headers: Record<string, string> = {}): Promise<Answered> {
    const { appId, redirectUri } = this.options
    const form = {
      client_id: appId,
      redirect_uri: redirectUri,
      scope: 'profile_read',
      username: 'ada',
      decision: 'allow',
    }
    return this.send('/oauth/authorize', { method: 'POST', headers, body: new URLSearchParams({ ...form, ...fields }) })
  }

  /** Allows, and returns the code. */
  async code(fields: Record<string, string> = {}): Promise<string> {
    const { headers, status } = await this.decide(fields)
    const code = new URL(headers.get('location') ?? 'none:').searchParams.get('code')
    if (code === null) throw new Error(`the sandbox gave no code: status ${status}`)
    return code
  }

  exchange(code: string, more: Record<string, unknown> = {}, headers?: Record<string, string>): Promise<Answered> {
    const { appId: client_id, redirectUri: redirect_uri } = this.options
    const body = { grant_type: 'authorization_code', code, client_id, redirect_uri, ...more }
    return this.sendJson('/oauth/token', body, headers)
  }

  refresh(
    refreshToken: string,
    more: Record<string, unknown> = {},
    headers?: Record<string, string>,
  ): Promise<Answered> {
    return this.sendJson('/oauth/token', { grant_type: 'refresh_token', refresh_token: refreshToken, ...more }, headers)
  }

  /** Allows and exchanges: a person's first pair. */
  async grant(fields: Record<string, string> = {}): Promise<Tokens> {
    return tokensOf(await this.exchange(await this.code(fields)))
  }

  createUser(username: string, more: Record<string, unknown> = {}): Promise<Answered> {
    return this.sendJson('/api/v2.1/users.json', { username, password: PASSWORD, ...more })
  }

  /** The password grant. The password is the one that `createUser` sends, if it is not told another. */
  authenticate(
    username: string,
    more: Record<string, unknown> = {},
    headers?: Record<string, string>,
  ): Promise<Answered> {
    return this.sendJson('/oauth/token', { grant_type: 'password', username, password: PASSWORD, ...more }, headers)
  }

  me(accessToken: string, resource: 'me' | 'pay' = 'me'): Promise<Answered> {
    return this.send(`/api/v2.1/${resource}.json`, { headers: { authorization: `Bearer ${accessToken}` } })
  }

  revoke(token: string): Promise<Answered> {
    return this.sendJson('/oauth/revoke', { token })
  }

  addFault(fault: Fault): Promise<Answered> {
    return this.sendJson('/sandbox/faults', fault)
  }

  /** Also lets go whoever waits because of one. */
  clearFaults(): Promise<Answered> {
    return this.send('/sandbox/faults', { method: 'DELETE' })
  }

  /** Brings `times` requests past the provider's checks, then lets them loose on the commit, all at once. Clears all faults. */
  async race(operation: Fault['operation'], times: number, request: () => Promise<Answered>): Promise<Answered[]> {
    const before = await this.#delayed()
    await this.addFault({ operation, kind: 'latency', latency_ms: 60_000, times })
    const answers = Promise.all(Array.from({ length: times }, request))
    while ((await this.#delayed()) < before + times);
    await this.clearFaults()
    return answers
  }

  async counts(): Promise<CountsReport> {
    return JSON.parse((await this.send('/sandbox/counts')).text)
  }

  async livePairs(guid: string): Promise<unknown> {
    return (await this.send(`/sandbox/grants/${guid}`)).body.live_pairs
  }

  /** How many requests a latency has hit so far. */
  async #delayed(): Promise<number> {
    return (await this.counts()).faults.latency ?? 0
  }
}

/** Throws where the answer brought no tokens. */
export function tokensOf({ status, body }: Answered): Tokens {
  if (typeof body.access_token !== 'string') throw new Error(`no tokens: status ${status}, error ${body.error}`)
  return body as unknown as Tokens
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}
