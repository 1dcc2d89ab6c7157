/** Three gateways, their Redis and the sandbox, each gateway behind wires of its own. */
import { type SandboxDriver, startDriven } from '../../sandbox/driver.ts'
import { newCaller, newEncryptionKey } from '../../src/cli/keys.ts'
import { type GatewayProcess, type Shared, startAgain, startGateway } from '../gateway-process.ts'
import { LoneRedis } from '../lone-redis.ts'
import { end, ready } from '../processes.ts'
import type { Event, Fault, FaultKind, Pair, ProviderRequest } from './history.ts'
import { now, type Recorder } from './recorder.ts'
import { Wire } from './wire.ts'

const GATEWAYS = 3
const LIFETIME_SECONDS = 10
/** What a log line of an event says besides its name. */
const DETAILS = ['version', 'because', 'confirmed', 'afterDoubt', 'late', 'origin', 'code', 'journaled']

export interface FleetOptions {
  readonly rotation: 'instant' | 'on_use'
  readonly passwordGrant: boolean
  /** The built program of the gateways. */
  readonly program: string
}

export interface Member {
  readonly gateway: GatewayProcess
  readonly redisWire: Wire
  readonly providerWire: Wire
  /** Whether it takes requests, as far as a load balancer could know. */
  isUp: boolean
}

export class Fleet {
  readonly members: Member[] = []
  readonly sandbox: SandboxDriver
  readonly redis: LoneRedis
  readonly apiKey: string
  readonly #recorder: Recorder
  readonly #shared: Shared
  readonly #closeSandbox: () => Promise<void>

  private constructor(
    recorder: Recorder,
    redis: LoneRedis,
    sandbox: SandboxDriver,
    closeSandbox: () => Promise<void>,
    options: FleetOptions,
  ) {
    this.#recorder = recorder
    this.redis = redis
    this.sandbox = sandbox
    this.#closeSandbox = closeSandbox
    const { apiKey, entry } = newCaller('history', ['*'])
    this.apiKey = apiKey
    this.#shared = {
      sandbox: sandbox.options,
      keys: newEncryptionKey(),
      callers: JSON.stringify([entry]),
      program: options.program,
      environment: options.passwordGrant ? { HEALTHTAP_PASSWORD_GRANT: 'true' } : {},
    }
  }

  static async start(recorder: Recorder, options: FleetOptions): Promise<Fleet> {
    const { rotation, passwordGrant } = options
    const { driver, close } = await startDriven({
      rotation,
      tokenLifetimeSeconds: LIFETIME_SECONDS,
      keepsPairBook: true,
      ...(passwordGrant ? { passwordGrant: true } : {}),
    } as Parameters<typeof startDriven>[0])
    const fleet = new Fleet(recorder, await LoneRedis.start(), driver, close, options)
    for (let index = 0; index < GATEWAYS; index += 1) await fleet.#addMember(index)
    return fleet
  }

  async #addMember(index: number): Promise<void> {
    const redisWire = await Wire.to(this.redis.port)
    const providerWire = await Wire.to(Number(new URL(this.sandbox.options.url).port))
    const urls = { redis: `redis://127.0.0.1:${redisWire.port}`, api: `http://127.0.0.1:${providerWire.port}` }
    const gateway = await startGateway(this.#shared, urls, line => this.#told(index, line))
    this.members.push({ gateway, redisWire, providerWire, isUp: true })
    await ready(gateway.url)
  }

  #told(gateway: number, line: string): void {
    const { msg, guid = null, ...rest } = JSON.parse(line) as Record<string, unknown> & { msg: string; guid?: string }
    if (!/^[a-z]+\.[a-z_]+$/.test(msg)) return
    const details = Object.fromEntries(Object.entries(rest).filter(([name]) => DETAILS.includes(name)))
    this.#recorder.record<Event>({ kind: 'event', gateway, atMs: now(), type: msg, guid, details })
  }

  async kill(index: number): Promise<void> {
    const member = this.member(index)
    await end(member.gateway.child, 'SIGKILL')
    member.isUp = false
  }

  async terminate(index: number): Promise<void> {
    const member = this.member(index)
    member.isUp = false
    await end(member.gateway.child, 'SIGTERM')
  }

  /** Resolves when it is ready. */
  async startAgain(index: number): Promise<void> {
    const member = this.member(index)
    const { gateway } = member
    gateway.child = startAgain(this.#shared.program, gateway.environment, line => this.#told(index, line))
    await ready(gateway.url)
    member.isUp = true
  }

  async ready(): Promise<void> {
    await Promise.all(this.members.map(({ gateway }) => ready(gateway.url)))
  }

  member(index: number): Member {
    const member = this.members[index]
    if (member === undefined) throw new Error(`there is no gateway ${index}`)
    return member
  }

  /** `beganMs`: when the fault began; it is over now. */
  recordFault(fault: FaultKind, name: string, gateway: number | null, beganMs: number): void {
    this.#recorder.record<Fault>({ kind: 'fault', fault, name, gateway, beganMs, endedMs: now() })
  }

  /** Writes down what the provider has seen. */
  async recordProvider(): Promise<void> {
    const { text } = await this.sandbox.send('/sandbox/pairs')
    const book = JSON.parse(text) as { requests: ProviderRequest[]; pairs: Pair[] }
    for (const request of book.requests) {
      const gateway = this.members.findIndex(({ providerWire }) => providerWire.ports.has(request.port))
      this.#recorder.record<ProviderRequest>({ ...request, kind: 'request', gateway: gateway === -1 ? null : gateway })
    }
    for (const pair of book.pairs) this.#recorder.record<Pair>({ ...pair, kind: 'pair' })
  }

  async stop(): Promise<void> {
    await Promise.all(this.members.map(({ gateway }) => end(gateway.child, 'SIGKILL')))
    for (const { redisWire, providerWire } of this.members) {
      redisWire.close()
      providerWire.close()
    }
    await this.redis.end('SIGTERM')
    await this.#closeSandbox()
  }
}
