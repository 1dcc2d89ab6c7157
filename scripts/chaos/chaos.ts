/** The processes, and the readers. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { FaultKind } from '../../sandbox/control/faults.ts'
import { type SandboxDriver, startDriven } from '../../sandbox/driver.ts'
import { newCaller, newEncryptionKey } from '../../src/cli/keys.ts'
import { ask } from '../../test/support/redis.ts'
import { type Deployment, startCluster, startSentinels } from '../../test/support/redis-deployments.ts'
import { type GatewayProcess, type Shared, startAgain, startGateway } from '../gateway-process.ts'
import { LoneRedis } from '../lone-redis.ts'
import { end, ready } from '../processes.ts'
import type { Way } from './faults.ts'
import { Witness } from './witness.ts'

export interface ChaosOptions {
  readonly rotation: 'instant' | 'on_use'
  readonly redis: 'single' | 'sentinel' | 'cluster'
  readonly gateways: number
  readonly grants: number
  readonly lifetimeSeconds: number
  readonly passwordGrant: boolean
}

const READERS = 4
export class Chaos {
  readonly gateways: GatewayProcess[] = []
  readonly sandbox: SandboxDriver
  readonly #options: ChaosOptions
  readonly #closeSandbox: () => Promise<void>
  readonly #apiKey: string
  readonly #shared: Shared
  readonly #witness: Witness
  #onCommit: ((gateway: GatewayProcess) => void) | null = null
  #redis: LoneRedis | null = null
  #deployment: Deployment | null = null
  #failOvers = 0
  #isReading = true

  private constructor(options: ChaosOptions, sandbox: SandboxDriver, closeSandbox: () => Promise<void>) {
    this.#options = options
    this.sandbox = sandbox
    this.#closeSandbox = closeSandbox
    const { apiKey, entry } = newCaller('chaos', ['*'])
    this.#apiKey = apiKey
    this.#shared = {
      sandbox: sandbox.options,
      keys: newEncryptionKey(),
      callers: JSON.stringify([entry]),
      program: 'dist/src/main.js',
      environment: options.passwordGrant ? { HEALTHTAP_PASSWORD_GRANT: 'true' } : {},
    }
    const { passwordGrant, redis, rotation } = options
    this.#witness = new Witness({ rotation, passwordGrant, mayGoBack: redis !== 'single' })
  }

  static async start(options: ChaosOptions): Promise<Chaos> {
    const { rotation, lifetimeSeconds, passwordGrant } = options
    const { driver, close } = await startDriven({ rotation, passwordGrant, tokenLifetimeSeconds: lifetimeSeconds })
    const chaos = new Chaos(options, driver, close)
    const redisUrl = await chaos.#startStore()
    for (let index = 0; index < options.gateways; index += 1) await chaos.#addGateway(redisUrl)
    for (let index = 0; index < options.grants; index += 1) await chaos.#addPerson(index)
    return chaos
  }

  async #startStore(): Promise<string> {
    if (this.#options.redis === 'single') {
      this.#redis = await LoneRedis.start()
      return `redis://127.0.0.1:${this.#redis.port}`
    }
    this.#deployment = await (this.#options.redis === 'cluster' ? startCluster() : startSentinels())
    return this.#deployment.url
  }

  async #addGateway(redis: string): Promise<void> {
    const gateway: GatewayProcess = await startGateway(this.#shared, { redis, api: this.sandbox.options.url }, line =>
      this.#told(gateway, line),
    )
    this.gateways.push(gateway)
    await ready(gateway.url)
  }

  #startAgain(gateway: GatewayProcess): void {
    gateway.child = startAgain(this.#shared.program, gateway.environment, line => this.#told(gateway, line))
  }

  #told(gateway: GatewayProcess, line: string): void {
    const { msg, guid } = JSON.parse(line) as { msg: string; guid?: string }
    if (!/^[a-z]+\.[a-z_]+$/.test(msg)) return
    this.#witness.heard(msg, guid)
    if (msg === 'grant.renewed') this.#onCommit?.(gateway)
  }

  /** The next gateway that commits, at that moment. */
  untilCommitted(): Promise<GatewayProcess> {
    return new Promise(resolve => {
      this.#onCommit = gateway => {
        this.#onCommit = null
        resolve(gateway)
      }
    })
  }

  async #addPerson(index: number): Promise<void> {
    const response = await this.#fetch(this.anyGateway(), '/v1/users', { username: `person ${index}` })
    const { guid } = (await response.json()) as { guid: string }
    this.#witness.knows(guid)
  }

  async #fetch({ url }: GatewayProcess, path: string, body?: object): Promise<Response> {
    const headers = { authorization: `Bearer ${this.#apiKey}`, 'content-type': 'application/json' }
    const sent = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }
    return await fetch(`${url}${path}`, { headers, ...sent, signal: AbortSignal.timeout(15_000) })
  }

  anyGateway(): GatewayProcess {
    return this.gateways[Math.floor(Math.random() * this.gateways.length)] as GatewayProcess
  }

  beginReading(): void {
    for (let reader = 0; reader < READERS; reader += 1) void this.#readOn(reader)
  }

  async #readOn(reader: number): Promise<void> {
    for (let turn = reader; this.#isReading; turn += READERS) {
      const guid = this.#guids[turn % this.#guids.length] ?? ''
      const ask = () => this.#fetch(this.anyGateway(), `/v1/grants/${guid}/token`)
      const attempt = async (accessToken: string) => (await this.sandbox.me(accessToken)).status !== 401
      await this.#witness.reads(guid, ask, attempt)
      await sleep(10)
    }
  }

  get #guids(): readonly string[] {
    return this.#witness.guids
  }

  struck(way: Way): void {
    this.#witness.struck(way)
  }

  async quiet(ms: number): Promise<void> {
    await sleep(ms)
  }

  /** Until a fault has hit so many requests; or for long enough, where nothing is left to hit. */
  async untilHit(kind: FaultKind, times: number): Promise<void> {
    const before = (await this.sandbox.counts()).faults[kind] ?? 0
    for (let tries = 0; tries < 300; tries += 1) {
      if (((await this.sandbox.counts()).faults[kind] ?? 0) >= before + times) return
      await sleep(20)
    }
    this.#witness.count(`not hit: ${kind}`)
  }

  async untilRefreshed(times: number): Promise<void> {
    const before = await this.#refreshes()
    for (let tries = 0; tries < 200 && (await this.#refreshes()) < before + times; tries += 1) await sleep(10)
  }

  async #refreshes(): Promise<number> {
    return (await this.sandbox.counts()).totals.refresh?.ok ?? 0
  }

  /** At once, and up again a moment later. */
  async kill(gateways: readonly GatewayProcess[]): Promise<void> {
    await Promise.all(gateways.map(gateway => end(gateway.child, 'SIGKILL')))
    await sleep(500)
    for (const gateway of gateways) this.#startAgain(gateway)
  }

  async terminate(gateway: GatewayProcess): Promise<void> {
    await end(gateway.child, 'SIGTERM')
    this.#startAgain(gateway)
  }

  async pauseWrites(ms: number): Promise<void> {
    for (const port of this.#storePorts()) await ask(port, `CLIENT PAUSE ${ms} WRITE`).catch(() => '')
  }

  #storePorts(): number[] {
    return this.#deployment?.servers.map(({ port }) => port) ?? (this.#redis === null ? [] : [this.#redis.port])
  }

  async restartRedis(): Promise<void> {
    if (this.#redis === null) return
    await this.#redis.end('SIGKILL')
    await sleep(1_000)
    await this.#redis.start()
  }

  async signalRedis(signal: 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    this.#redis?.signal(signal)
  }

  /** A lone Redis is killed and paused; where there are replicas, its masters are, and another takes their place. */
  can(way: Way): boolean {
    if (way === 'fail over') return this.#deployment !== null && this.#failOvers < 2
    return this.#deployment === null || (way !== 'kill Redis' && way !== 'pause Redis')
  }

  async failOver(): Promise<void> {
    this.#failOvers += 1
    await this.#deployment?.failOver()
  }

  async refuseCredentialsUntil(endsAt: number): Promise<void> {
    await this.withAnotherSecret(async () => {
      // What was under way when it changed has come to an end.
      await sleep(2_000)
      const before = await this.#grants()
      await sleep(Math.max(0, endsAt - Date.now() - 30_000))
      const alarms = this.#witness.times('client.refused')
      if (alarms !== this.gateways.length) this.#witness.isWrong(`${alarms} alarms of ${this.gateways.length} gateways`)
      const after = await this.#grants()
      for (const [guid, was] of before) {
        const is = after.get(guid)
        const isUnchanged = is?.status === was.status && is.version === was.version
        if (!isUnchanged) this.#witness.isWrong(`${guid} was ${JSON.stringify(was)}, and is ${JSON.stringify(is)}`)
      }
    })
    await sleep(Math.max(0, endsAt - Date.now() - 5_000))
    for (const guid of this.#guids) {
      const { status } = await this.#fetch(this.anyGateway(), `/v1/grants/${guid}/token`)
      if (status !== 200) this.#witness.isWrong(`${guid} has not recovered: ${status}`)
    }
  }

  async withAnotherSecret(work: () => Promise<void>): Promise<void> {
    await this.#setSecret('another-secret')
    await work()
    await this.#setSecret(this.sandbox.options.appSecret)
  }

  async #setSecret(appSecret: string): Promise<void> {
    const authorization = this.sandbox.basicAuth()
    await this.sandbox.sendJson('/sandbox/settings', { app_secret: appSecret }, { authorization }, 'PUT')
  }

  async #grants(): Promise<Map<string, { status: string; version: number }>> {
    const all = new Map<string, { status: string; version: number }>()
    for (const guid of this.#guids) {
      const response = await this.#fetch(this.anyGateway(), `/v1/grants/${guid}`)
      all.set(guid, (await response.json()) as { status: string; version: number })
    }
    return all
  }

  /** Nothing goes wrong any more, and everybody has had the time to notice. */
  async recover(): Promise<void> {
    await this.sandbox.clearFaults()
    await Promise.all(this.gateways.map(({ url }) => ready(url)))
    await sleep(3_000)
  }

  async conclude(isQuiet: boolean): Promise<{ figures: object; wrong: readonly string[] }> {
    this.#isReading = false
    // Doubts end after two leases of six seconds.
    await sleep(15_000)
    // In this order: renewals go on, and what the provider had done stands in the versions that are read after that.
    const counts = await this.sandbox.counts()
    return this.#witness.concludes(counts, await this.#grants(), isQuiet)
  }

  async stop(): Promise<void> {
    this.#isReading = false
    for (const { child } of this.gateways) await end(child, 'SIGTERM')
    await this.#redis?.end('SIGTERM')
    await this.#deployment?.stop()
    await this.#closeSandbox()
  }
}
