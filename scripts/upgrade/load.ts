/** Every kind of call, over and over, until it is ended; then what became of the people. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { SandboxDriver } from '../../sandbox/driver.ts'
import type { Balancer } from '../../test/support/balancer.ts'

const PEOPLE = 24

export class Load {
  readonly calls: Record<string, number> = {}
  readonly #balancer: Balancer
  readonly #sandbox: SandboxDriver
  readonly #lifetimeSeconds: number
  /** Those who stay. */
  readonly #guids: string[] = []
  readonly #deleted: string[] = []
  readonly #wrong: string[] = []
  #isOver = false
  #work: Promise<unknown> = Promise.resolve()

  private constructor(balancer: Balancer, sandbox: SandboxDriver, lifetimeSeconds: number) {
    this.#balancer = balancer
    this.#sandbox = sandbox
    this.#lifetimeSeconds = lifetimeSeconds
  }

  /** `lifetimeSeconds`: of the provider's access tokens. */
  static async begin(balancer: Balancer, sandbox: SandboxDriver, lifetimeSeconds: number): Promise<Load> {
    const load = new Load(balancer, sandbox, lifetimeSeconds)
    for (let index = 0; index < PEOPLE; index += 1) {
      if (index % 3 === 0) await load.#import()
      else if (index % 3 === 1) await load.#exchange(`visitor ${index}`)
      else load.#guids.push(await load.#provision(`user ${index}`))
    }
    load.#work = Promise.all([
      balancer.lookUntil(() => load.#isOver),
      ...[0, 7, 13, 19].map(first => load.#repeat(10, turn => load.#read(first + turn))),
      load.#repeat(50, turn => load.#report(turn)),
      load.#repeat(100, () => load.#readMany()),
      load.#repeat(200, turn => load.#comeAndGo(turn)),
      load.#repeat(200, turn => load.#exchange(`visitor ${turn % PEOPLE}`)),
      load.#repeat(200, () => load.#import()),
      load.#repeat(200, turn => load.#lookUp(turn)),
    ])
    return load
  }

  async end(): Promise<void> {
    this.#isOver = true
    await this.#work
  }

  /** What went wrong: requests that failed, people without a good token, deleted people whose pairs live. */
  async judge(): Promise<readonly string[]> {
    const wrong = [...this.#balancer.failures, ...this.#wrong]
    for (const guid of new Set(this.#guids)) {
      const { body } = await this.#balancer.send('GET', `/v1/grants/${guid}/token`)
      const { status } = await this.#sandbox.me(body.access_token ?? '')
      if (status !== 200) wrong.push(`${guid} was lost: ${body.code ?? status}`)
    }
    for (const guid of this.#deleted) {
      const alive = await this.#sandbox.livePairs(guid)
      if (alive !== 0) wrong.push(`${guid} was deleted, and ${alive} of its pairs live`)
    }
    return wrong
  }

  async #repeat(everyMs: number, call: (turn: number) => Promise<unknown>): Promise<void> {
    for (let turn = 0; !this.#isOver; turn += 1, await sleep(everyMs)) await call(turn)
  }

  async #send(name: string, method: string, path: string, body?: object) {
    this.calls[name] = (this.calls[name] ?? 0) + 1
    return await this.#balancer.send(method, path, body)
  }

  #guid(turn: number): string {
    return this.#guids[turn % this.#guids.length] ?? ''
  }

  async #read(turn: number): Promise<number> {
    const guid = this.#guid(turn)
    const { body } = await this.#send('read', 'GET', `/v1/grants/${guid}/token`)
    if (turn % 5 === 0) await this.#sandbox.me(body.access_token ?? '')
    return body.version
  }

  async #report(turn: number): Promise<void> {
    const version = await this.#read(turn)
    await this.#send('report', 'POST', `/v1/grants/${this.#guid(turn)}/refresh`, { version })
  }

  async #readMany(): Promise<void> {
    const { body } = await this.#send('batch', 'POST', '/v1/tokens', { guids: this.#guids.slice(0, PEOPLE) })
    for (const { problem } of body.results ?? []) {
      if (problem !== undefined) this.#wrong.push(`in a batch: ${problem.code}`)
    }
  }

  async #provision(username: string): Promise<string> {
    const answers = await Promise.all([0, 1].map(() => this.#send('provision', 'POST', '/v1/users', { username })))
    const [guid, ...others] = new Set(answers.map(({ body }) => body.guid))
    if (others.length > 0) this.#wrong.push(`two guids for ${username}`)
    return guid
  }

  /** A user is made, read, and deleted again. */
  async #comeAndGo(turn: number): Promise<void> {
    const guid = await this.#provision(`passer-by ${turn}`)
    await this.#send('read', 'GET', `/v1/grants/${guid}/token`)
    if (turn % 3 === 0) return void this.#guids.push(guid)
    await this.#send('delete', 'DELETE', `/v1/grants/${guid}`)
    this.#deleted.push(guid)
  }

  async #exchange(username: string): Promise<void> {
    const begun = await this.#send('authorize', 'POST', '/v1/authorizations', {})
    const { authorization_url: url = 'none:', state } = begun.body
    const code = await this.#sandbox.code({ username, ...Object.fromEntries(new URL(url).searchParams) })
    const exchange = { code, state, redirect_uri: this.#sandbox.options.redirectUri }
    const { body } = await this.#send('exchange', 'POST', '/v1/grants', exchange)
    await this.#send('authorization', 'GET', `/v1/authorizations/${state}`)
    if (body.guid !== undefined && !this.#guids.includes(body.guid)) this.#guids.push(body.guid)
  }

  /** A new person's pair is imported, and the same one once more. */
  async #import(): Promise<void> {
    const madeMs = Date.now()
    const { guid, ...pair } = await this.#sandbox.grant({ username: `import ${madeMs} ${Math.random()}` })
    const body = {
      access_token: pair.access_token,
      refresh_token: pair.refresh_token,
      expires_in: this.#lifetimeSeconds - 1,
    }
    for (let times = 0; times < 2; times += 1) await this.#send('import', 'PUT', `/v1/grants/${guid}`, body)
    this.#guids.push(guid)
  }

  async #lookUp(turn: number): Promise<void> {
    await this.#send('look up', 'GET', `/v1/grants/${this.#guid(turn)}`)
    await this.#send('list', 'GET', '/v1/grants?limit=100')
  }
}
