/** The processes, the readers, and what was seen. */
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FaultKind } from '../../sandbox/control/faults.ts'
import { type SandboxDriver, startDriven } from '../../sandbox/driver.ts'
import { newCaller, newEncryptionKey } from '../../src/cli/keys.ts'
import { ask } from '../../test/support/redis.ts'
import { type Deployment, startCluster, startSentinels } from '../../test/support/redis-deployments.ts'
import { end, freePort, ready, start } from '../processes.ts'
import { LOSSY, type Way } from './faults.ts'

export interface ChaosOptions {
  readonly rotation: 'instant' | 'on_use'
  readonly redis: 'single' | 'sentinel' | 'cluster'
  readonly gateways: number
  readonly grants: number
  readonly lifetimeSeconds: number
}

export interface GatewayProcess {
  readonly url: string
  readonly environment: Record<string, string>
  child: ChildProcess
}

interface Person {
  readonly guid: string
  version: number
  /** Since when nobody has been given a token; null: the last read brought one. */
  withoutSinceMs: number | null
  /** Since when the provider has refused what was answered; null: it took the last one. */
  refusedSinceMs: number | null
}

const READERS = 4
/**
 * In `instant` mode the old token is dead from the moment at which the provider has made the new one, and the gateway cannot
 * know that before it has the answer, nor tell the others before the store takes it: the longest pause of Redis, and a lease.
 */
const REFUSED_AT_MOST_MS = 12_000
/** Two leases of six seconds, and what outages in between add: so long after a loss the grant has ended. */
const LOSS_SHOWS_WITHIN_MS = 40_000

export class Chaos {
  readonly gateways: GatewayProcess[] = []
  readonly sandbox: SandboxDriver
  readonly #options: ChaosOptions
  readonly #closeSandbox: () => Promise<void>
  readonly #apiKey: string
  readonly #callers: string
  readonly #people: Person[] = []
  readonly #wrong: string[] = []
  readonly #errors: Record<string, number> = {}
  readonly #strikes: Record<string, number> = {}
  /** The last strike of each way, in the order in which they came. */
  readonly #struckAtMs = new Map<Way, number>()
  /** Why each grant that has ended was lost; null: for no reason that was given. */
  readonly #causes = new Map<string, Way | null>()
  #onCommit: ((gateway: GatewayProcess) => void) | null = null
  readonly #events: Record<string, number> = {}
  /** For how long each person's token was refused at the most. */
  readonly #refusedForMs = new Map<string, number>()
  #redis: ChildProcess | null = null
  #redisPort = 0
  #redisDir = ''
  #deployment: Deployment | null = null
  #failOvers = 0
  #reads = 0
  #expiredServed = 0
  #askedAgain = 0
  #longestLapseMs = 0
  #isReading = true

  private constructor(options: ChaosOptions, sandbox: SandboxDriver, closeSandbox: () => Promise<void>) {
    this.#options = options
    this.sandbox = sandbox
    this.#closeSandbox = closeSandbox
    const { apiKey, entry } = newCaller('chaos', ['*'])
    this.#apiKey = apiKey
    this.#callers = JSON.stringify([entry])
  }

  static async start(options: ChaosOptions): Promise<Chaos> {
    const { rotation, lifetimeSeconds } = options
    const { driver, close } = await startDriven({ rotation, tokenLifetimeSeconds: lifetimeSeconds })
    const chaos = new Chaos(options, driver, close)
    const keys = newEncryptionKey()
    const redisUrl = await chaos.#startStore()
    for (let index = 0; index < options.gateways; index += 1) await chaos.#addGateway(redisUrl, keys)
    for (let index = 0; index < options.grants; index += 1) await chaos.#addPerson(index)
    return chaos
  }

  async #startStore(): Promise<string> {
    if (this.#options.redis === 'single') {
      this.#redisPort = await freePort()
      this.#redisDir = mkdtempSync(join(tmpdir(), 'htgw-chaos-'))
      await this.#startRedis()
      return `redis://127.0.0.1:${this.#redisPort}`
    }
    this.#deployment = await (this.#options.redis === 'cluster' ? startCluster() : startSentinels())
    return this.#deployment.url
  }

  async #startRedis(): Promise<void> {
    const always = ['--appendonly', 'yes', '--appendfsync', 'always', '--save', '', '--dir', this.#redisDir]
    this.#redis = start('redis-server', ['--port', String(this.#redisPort), '--bind', '127.0.0.1', ...always])
    while ((await ask(this.#redisPort, 'PING').catch(() => '')) !== '+PONG\r\n') await sleep(20)
  }

  async #addGateway(redisUrl: string, keys: string): Promise<void> {
    const { options } = this.sandbox
    const port = String(await freePort())
    const environment = {
      PORT: port,
      HEALTHTAP_APP_ID: options.appId,
      HEALTHTAP_APP_SECRET: options.appSecret,
      HEALTHTAP_AUTHORIZE_URL: `${options.url}/oauth/authorize`,
      HEALTHTAP_API_URL: options.url,
      HEALTHTAP_REDIRECT_URIS: options.redirectUri,
      HEALTHTAP_TIMEOUT_MS: '1000',
      TOKEN_MIN_TTL_SECONDS: '1',
      REFRESH_MARGIN_RATIO: '0.4',
      REDIS_URL: redisUrl,
      ENCRYPTION_KEYS: keys,
      CALLERS: this.#callers,
      JOURNAL_DIR: mkdtempSync(join(tmpdir(), 'htgw-chaos-')),
    }
    const gateway: GatewayProcess = { url: `http://127.0.0.1:${port}`, environment, child: null as never }
    gateway.child = this.#startGateway(gateway)
    this.gateways.push(gateway)
    await ready(gateway.url)
  }

  #startGateway(gateway: GatewayProcess): ChildProcess {
    return start(process.execPath, ['dist/src/main.js', 'serve'], gateway.environment, line => {
      const { msg, guid } = JSON.parse(line) as { msg: string; guid?: string }
      if (!/^[a-z]+\.[a-z_]+$/.test(msg)) return
      this.#events[msg] = (this.#events[msg] ?? 0) + 1
      if (msg === 'grant.renewed') this.#onCommit?.(gateway)
      if (msg === 'grant.ended' && guid !== undefined) this.#causes.set(guid, this.#causeNow())
    })
  }

  /** The latest fault that can lose an answer, if it is not too long ago. */
  #causeNow(): Way | null {
    const since = Date.now() - LOSS_SHOWS_WITHIN_MS
    const recent = [...this.#struckAtMs].filter(([way, atMs]) => LOSSY.has(way) && atMs >= since)
    return recent.at(-1)?.[0] ?? null
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
    this.#people.push({ guid, version: 1, withoutSinceMs: null, refusedSinceMs: null })
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
      const person = this.#people[turn % this.#people.length] as Person
      if (!(await this.#readOnce(person))) {
        this.#askedAgain += 1
        await this.#readOnce(person)
      }
      await sleep(10)
    }
  }

  /** Whether the provider takes what the gateway answers; a read that brings no token is counted, and is no lie. */
  async #readOnce(person: Person): Promise<boolean> {
    this.#reads += 1
    try {
      const response = await this.#fetch(this.anyGateway(), `/v1/grants/${person.guid}/token`)
      const token = (await response.json()) as Record<string, string> & { version: number }
      if (response.status !== 200) {
        this.#count(token.code ?? String(response.status))
        if (response.status !== 409) person.withoutSinceMs ??= Date.now()
        return true
      }
      if (Date.parse(token.expires_at ?? '') < Date.now()) {
        this.#expiredServed += 1
        this.#wrong.push(`an expired token of ${person.guid} was served`)
      }
      if (token.version < person.version) {
        this.#count('an older version was answered')
        // A fail-over may lose what came last, until who wrote it finds out.
        if (this.#deployment === null) this.#wrong.push(`a replaced token of ${person.guid} was served`)
      }
      person.version = Math.max(person.version, token.version)
      if (person.withoutSinceMs !== null) {
        this.#longestLapseMs = Math.max(this.#longestLapseMs, Date.now() - person.withoutSinceMs)
        person.withoutSinceMs = null
      }
      const isTaken = (await this.sandbox.me(token.access_token ?? '')).status !== 401
      this.#tried(person, isTaken)
      return isTaken
    } catch {
      // No gateway there, at this moment.
      this.#count('no connection')
      return true
    }
  }

  #tried(person: Person, isTaken: boolean): void {
    if (isTaken) person.refusedSinceMs = null
    else person.refusedSinceMs ??= Date.now()
    const forMs = person.refusedSinceMs === null ? 0 : Date.now() - person.refusedSinceMs
    this.#refusedForMs.set(person.guid, Math.max(forMs, this.#refusedForMs.get(person.guid) ?? 0))
  }

  #count(code: string): void {
    this.#errors[code] = (this.#errors[code] ?? 0) + 1
  }

  struck(way: Way): void {
    this.#struckAtMs.delete(way)
    this.#struckAtMs.set(way, Date.now())
    this.#strikes[way] = (this.#strikes[way] ?? 0) + 1
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
    this.#count(`not hit: ${kind}`)
  }

  async untilRefreshed(times: number): Promise<void> {
    const before = (await this.#refreshes()).ok
    for (let tries = 0; tries < 200 && (await this.#refreshes()).ok < before + times; tries += 1) await sleep(10)
  }

  async #refreshes(): Promise<{ ok: number; invalid_grant: number }> {
    const outcomes = (await this.sandbox.counts()).totals.refresh ?? {}
    return { ok: outcomes.ok ?? 0, invalid_grant: outcomes.invalid_grant ?? 0 }
  }

  /** At once, and up again a moment later. */
  async kill(gateways: readonly GatewayProcess[]): Promise<void> {
    await Promise.all(gateways.map(gateway => end(gateway.child, 'SIGKILL')))
    await sleep(500)
    for (const gateway of gateways) gateway.child = this.#startGateway(gateway)
  }

  async terminate(gateway: GatewayProcess): Promise<void> {
    await end(gateway.child, 'SIGTERM')
    gateway.child = this.#startGateway(gateway)
  }

  async pauseWrites(ms: number): Promise<void> {
    for (const port of this.#storePorts()) await ask(port, `CLIENT PAUSE ${ms} WRITE`).catch(() => '')
  }

  #storePorts(): number[] {
    return this.#deployment?.servers.map(({ port }) => port) ?? [this.#redisPort]
  }

  async restartRedis(): Promise<void> {
    if (this.#redis === null) return
    await end(this.#redis, 'SIGKILL')
    await sleep(1_000)
    await this.#startRedis()
  }

  async signalRedis(signal: 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    this.#redis?.kill(signal)
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
      const alarms = this.#events['client.refused'] ?? 0
      if (alarms !== this.gateways.length) this.#wrong.push(`${alarms} alarms of ${this.gateways.length} gateways`)
      const after = await this.#grants()
      for (const [guid, was] of before) {
        const is = after.get(guid)
        const isUnchanged = is?.status === was.status && is.version === was.version
        if (!isUnchanged) this.#wrong.push(`${guid} was ${JSON.stringify(was)}, and is ${JSON.stringify(is)}`)
      }
    })
    await sleep(Math.max(0, endsAt - Date.now() - 5_000))
    for (const person of this.#people) {
      const { status } = await this.#fetch(this.anyGateway(), `/v1/grants/${person.guid}/token`)
      if (status !== 200) this.#wrong.push(`${person.guid} has not recovered: ${status}`)
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
    for (const { guid } of this.#people) {
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
    const counts = await this.sandbox.counts()
    const { ok, invalid_grant } = await this.#refreshes()
    const renewed = this.#events['grant.renewed'] ?? 0
    const grants = await this.#grants()
    let [rotations, unaccounted, spentTwice, longestRefusedMs] = [0, 0, 0, 0]
    const lost: Record<string, number> = {}
    for (const { guid } of this.#people) {
      const grant = grants.get(guid) ?? { status: 'gone', version: 0 }
      const refreshes = counts.grants[guid]?.refreshes ?? 0
      // Renewals go on: what the provider had done when it was asked stands in the versions that were read after that.
      const answersLost = Math.max(0, refreshes - (grant.version - 1))
      rotations += Math.min(refreshes, grant.version - 1)
      unaccounted += answersLost
      spentTwice += counts.grants[guid]?.refreshes_refused ?? 0
      if (grant.status === 'reauthorization_required') {
        const cause = this.#causes.get(guid) ?? 'nothing'
        lost[cause] = (lost[cause] ?? 0) + 1
        if (cause === 'nothing') this.#wrong.push(`${guid} was lost soon after no fault that can lose an answer`)
        if (this.#options.rotation === 'on_use') this.#wrong.push(`${guid} was lost, in on_use mode`)
        if (answersLost < 1) this.#wrong.push(`${guid} was lost, and no answer to it was`)
      } else if (grant.status !== 'active') {
        this.#wrong.push(`${guid} is ${grant.status} at the end`)
      }
      const refusedForMs = this.#refusedForMs.get(guid) ?? 0
      longestRefusedMs = Math.max(longestRefusedMs, refusedForMs)
      if (refusedForMs > REFUSED_AT_MOST_MS && answersLost < 1)
        this.#wrong.push(`${guid}: for ${refusedForMs} ms tokens that the provider refused, and no answer was lost`)
    }
    if (isQuiet && (unaccounted !== 0 || spentTwice !== 0 || Object.keys(this.#errors).length > 0)) {
      this.#wrong.push(`${unaccounted} refreshes without a rotation, errors ${JSON.stringify(this.#errors)}`)
    }
    const figures = {
      grants: this.#people.length,
      reads: this.#reads,
      'reads asked again because a renewal came between': this.#askedAgain,
      'reads without a token, by why': this.#errors,
      'faults injected': this.#strikes,
      'requests hit at the provider': counts.faults,
      rotations,
      'renewals told by the gateways': renewed,
      'refreshes at the provider': ok,
      'double rotations, each by a lost answer': unaccounted,
      'refresh tokens spent twice, and refused': spentTwice,
      'invalid_grant at refreshes': invalid_grant,
      'grants lost, by the fault before': lost,
      'expired tokens served': this.#expiredServed,
      'longest time in which the provider refused what was answered, in ms': longestRefusedMs,
      'longest time without a token, outages included, in ms': this.#longestLapseMs,
      events: this.#events,
    }
    return { figures, wrong: [...new Set(this.#wrong)].slice(0, 30) }
  }

  async stop(): Promise<void> {
    this.#isReading = false
    for (const { child } of this.gateways) await end(child, 'SIGTERM')
    if (this.#redis !== null) await end(this.#redis, 'SIGTERM')
    await this.#deployment?.stop()
    await this.#closeSandbox()
  }
}
