/** People whose tokens the gateway holds, and whether it still holds all of them. */
import assert from 'node:assert/strict'
import type { Answer, Stack } from './compose.ts'

const SANDBOX = 'http://sandbox:3001'

export class People {
  /** What the gateways are asked at. */
  gateway = 'http://gateway:3000'
  readonly #stack: Stack
  readonly #apiKey: string
  readonly #versions = new Map<string, number>()

  constructor(stack: Stack, apiKey: string) {
    this.#stack = stack
    this.#apiKey = apiKey
  }

  get guids(): readonly string[] {
    return [...this.#versions.keys()]
  }

  call(method: string, path: string, body?: unknown): Promise<Answer> {
    const headers = { authorization: `Bearer ${this.#apiKey}`, 'content-type': 'application/json' }
    const more = body === undefined ? {} : { body: JSON.stringify(body) }
    return this.#stack.ask(method, `${this.gateway}${path}`, { headers, ...more })
  }

  async provision(username: string): Promise<void> {
    const { guid, version } = parsed(await this.call('POST', '/v1/users', { username }), 201)
    this.#versions.set(guid, version)
  }

  /** As a browser goes: to the page that asks, and back through the public door. */
  async signIn(username: string): Promise<void> {
    const { state, authorization_url: url } = parsed(await this.call('POST', '/v1/authorizations', {}), 201)
    const form = new URLSearchParams([...new URL(url).searchParams, ['username', username], ['decision', 'allow']])
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    const consent = { headers, body: form.toString() }
    const { location } = await this.#stack.ask('POST', `${SANDBOX}/oauth/authorize`, consent)
    const { search } = new URL(location ?? '')
    const door = new URL(this.gateway)
    door.port = '3002'
    const page = await this.#stack.ask('GET', `${new URL('/tap-in/callback', door)}${search}`)
    assert.equal(page.status, 200, page.text)
    const { status, guid } = parsed(await this.call('GET', `/v1/authorizations/${state}`), 200)
    assert.equal(status, 'connected')
    this.#versions.set(guid, parsed(await this.call('GET', `/v1/grants/${guid}/token`), 200).version)
  }

  read(guid: string): Promise<Answer> {
    return this.call('GET', `/v1/grants/${guid}/token`)
  }

  refresh(guid: string): Promise<Answer> {
    return this.call('POST', `/v1/grants/${guid}/refresh`, { version: this.#versions.get(guid) })
  }

  /** How long the provider takes for each refresh from now on; 0: as usual. */
  async refreshesTake(ms: number): Promise<void> {
    await this.#stack.ask('DELETE', `${SANDBOX}/sandbox/faults`)
    if (ms === 0) return
    const fault = { operation: 'refresh', kind: 'latency', latency_ms: ms }
    const headers = { 'content-type': 'application/json' }
    await this.#stack.ask('POST', `${SANDBOX}/sandbox/faults`, { headers, body: JSON.stringify(fault) })
  }

  async refreshedAtProvider(): Promise<number> {
    return (await this.#counts()).totals.refresh?.ok ?? 0
  }

  /** How many requests had to wait, as `refreshesTake` says. */
  async delayedAtProvider(): Promise<number> {
    return (await this.#counts()).faults.latency ?? 0
  }

  async #counts() {
    return parsed(await this.#stack.ask('GET', `${SANDBOX}/sandbox/counts`), 200)
  }

  /** Resolves when no renewal is under way any more, whoever began it. */
  async settled(): Promise<void> {
    for (const guid of this.#versions.keys()) {
      await this.#stack.until(`${guid} is settled`, async () => (await this.read(guid)).status === 200)
    }
  }

  /** Rejects where somebody has no token, one that the provider does not take, or none that can be renewed. */
  async allAreThere(): Promise<void> {
    for (const [guid, version] of this.#versions) {
      const token = parsed(await this.read(guid), 200)
      assert.ok(token.version >= version, `${guid} went back from version ${version} to ${token.version}`)
      await this.#isTaken(guid, token.access_token)
      this.#versions.set(guid, token.version)
      const renewed = parsed(await this.refresh(guid), 200)
      assert.equal(renewed.version, token.version + 1, `${guid} was renewed once`)
      await this.#isTaken(guid, renewed.access_token)
      this.#versions.set(guid, renewed.version)
      const held = parsed(await this.#stack.ask('GET', `${SANDBOX}/sandbox/grants/${guid}`), 200)
      assert.equal(held.live_pairs, 1, `${guid} has one pair at the provider`)
      assert.equal(parsed(await this.call('GET', `/v1/grants/${guid}`), 200).status, 'active')
    }
  }

  async #isTaken(guid: string, accessToken: string): Promise<void> {
    const headers = { authorization: `Bearer ${accessToken}` }
    const me = parsed(await this.#stack.ask('GET', `${SANDBOX}/api/v2.1/me.json`, { headers }), 200)
    assert.equal(me.guid, guid)
  }
}

/** Throws where the answer is another one. */
export function parsed({ status, text }: Answer, expected: number) {
  assert.equal(status, expected, text)
  return JSON.parse(text)
}
