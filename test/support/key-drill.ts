/** The four steps of docs/key-rotation.md, with readers and refreshes throughout, whatever the gateways are run as. */
import { createHash } from 'node:crypto'
import type { Grant } from '../../src/ports/records.ts'
import { Secret } from '../../src/ports/secret.ts'
import { ABSENT, type Stores } from '../../src/ports/store.ts'

export interface Fleet {
  readonly gateways: number
  /** Whether a gateway that is given other keys serves throughout; else nobody asks it meanwhile. */
  readonly staysUp: boolean
  /** Gives one gateway other ENCRYPTION_KEYS; resolves when it has them, and serves. */
  useKeys(gateway: number, encryptionKeys: string): Promise<void>
  ask(gateway: number, method: string, path: string, body?: unknown): Promise<{ status: number; body: Answered }>
  /** `rotate-keys`, with these ENCRYPTION_KEYS. */
  rotateKeys(encryptionKeys: string): Promise<{ exitCode: number; lines: readonly string[] }>
}

interface Answered {
  readonly access_token?: string
  readonly version?: number
}

export interface DrillOptions {
  /** Entries of ENCRYPTION_KEYS: everything is sealed with the first, and shall be with the second. */
  readonly keys: readonly [string, string]
  /** Whose tokens are known (`knownGrant`), and never renewed. */
  readonly known: readonly string[]
  /** Whom the provider knows: they are refreshed all the time. */
  readonly refreshed: readonly string[]
  readonly readers: number
  readonly onStep: (step: string) => void
}

export interface DrillFigures {
  reads: number
  refreshes: number
  /** What was answered to reads and refreshes that should not have been. */
  readonly failed: string[]
  rotateSeconds: number
  rotated: { readonly exitCode: number; readonly lines: readonly string[] }
}

function knownAccessToken(guid: string): string {
  return createHash('sha256').update(`access ${guid}`).digest('hex')
}

/** A grant that is due long after any drill is over. */
export function knownGrant(guid: string, nowMs: number): Grant {
  const hours = 3_600_000
  return {
    guid,
    username: null,
    password: null,
    origin: 'import',
    scope: 'profile_read',
    status: 'active',
    version: 1,
    pair: {
      accessToken: new Secret(knownAccessToken(guid)),
      refreshToken: new Secret(createHash('sha256').update(`refresh ${guid}`).digest('hex')),
    },
    issuedAtMs: nowMs,
    accessTokenExpiresAtMs: nowMs + 20 * hours,
    refreshTokenExpiresAtMs: null,
    refreshDueAtMs: nowMs + 18 * hours,
    dueAtMs: nowMs + 18 * hours,
    attempt: null,
    doubtUntilMs: null,
    lastRefreshedAtMs: null,
    lastError: null,
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
  }
}

/** Puts known grants into a store, some at a time: a busy machine would not get thousands done before their deadline. */
export async function putKnown(
  { grants }: Pick<Stores, 'grants'>,
  guids: readonly string[],
  nowMs = Date.now(),
): Promise<void> {
  for (let start = 0; start < guids.length; start += AT_ONCE) {
    const some = guids.slice(start, start + AT_ONCE)
    await Promise.all(some.map(guid => grants.write(guid, ABSENT, knownGrant(guid, nowMs))))
  }
}

const AT_ONCE = 100

export async function drillKeys(fleet: Fleet, options: DrillOptions): Promise<DrillFigures> {
  const [oldKey, newKey] = options.keys
  const { onStep } = options
  const load = new Load(fleet, options)
  const { figures } = load
  load.begin()
  onStep('1. the new key at the end, everywhere')
  await load.everywhere(`${oldKey},${newKey}`)
  onStep('2. the new key first, everywhere')
  await load.everywhere(`${newKey},${oldKey}`)
  onStep('3. rotate-keys')
  const beganAt = performance.now()
  figures.rotated = await fleet.rotateKeys(`${newKey},${oldKey}`)
  figures.rotateSeconds = (performance.now() - beganAt) / 1000
  onStep('4. without the old key, everywhere')
  await load.everywhere(newKey)
  await load.end()
  onStep('each grant is read once more')
  await load.readAll()
  return figures
}

/** Readers, and one who refreshes; with what a load balancer does around a restart. */
class Load {
  readonly figures: DrillFigures = {
    reads: 0,
    refreshes: 0,
    failed: [],
    rotateSeconds: 0,
    rotated: { exitCode: -1, lines: [] },
  }
  readonly #fleet: Fleet
  readonly #options: DrillOptions
  readonly #underWay: Set<Promise<unknown>>[]
  readonly #versions = new Map<string, number>()
  #away = -1
  #turn = 0
  #isOver = false
  #work: Promise<unknown> = Promise.resolve()

  constructor(fleet: Fleet, options: DrillOptions) {
    this.#fleet = fleet
    this.#options = options
    this.#underWay = Array.from({ length: fleet.gateways }, () => new Set())
  }

  begin(): void {
    const { known, readers, refreshed } = this.#options
    const all = [...known, ...refreshed]
    const reading = Array.from({ length: readers }, async (_, reader) => {
      for (let turn = reader; !this.#isOver; turn += readers) await this.#read(all[turn % all.length] ?? '')
    })
    const refreshing = async () => {
      for (let turn = 0; !this.#isOver; turn += 1) await this.#refresh(refreshed[turn % refreshed.length] ?? '')
    }
    this.#work = Promise.all([...reading, refreshing()])
  }

  async end(): Promise<void> {
    this.#isOver = true
    await this.#work
  }

  async everywhere(encryptionKeys: string): Promise<void> {
    for (let gateway = 0; gateway < this.#fleet.gateways; gateway += 1) {
      if (!this.#fleet.staysUp) {
        this.#away = gateway
        await Promise.allSettled([...(this.#underWay[gateway] ?? [])])
      }
      await this.#fleet.useKeys(gateway, encryptionKeys)
      this.#away = -1
    }
  }

  async readAll(): Promise<void> {
    const { known, readers, refreshed } = this.#options
    const all = [...known, ...refreshed]
    const reading = Array.from({ length: readers }, async (_, reader) => {
      for (let turn = reader; turn < all.length; turn += readers) await this.#read(all[turn] ?? '')
    })
    await Promise.all(reading)
  }

  async #read(guid: string): Promise<void> {
    const { status, body } = await this.#ask('GET', `/v1/grants/${guid}/token`)
    this.figures.reads += 1
    if (status !== 200) return this.#fail(`read of ${guid}: ${status} ${JSON.stringify(body)}`)
    if (this.#options.refreshed.includes(guid)) this.#versions.set(guid, body.version ?? 0)
    else if (body.access_token !== knownAccessToken(guid)) this.#fail(`read of ${guid}: another token`)
  }

  async #refresh(guid: string): Promise<void> {
    const version = this.#versions.get(guid) ?? 1
    const { status, body } = await this.#ask('POST', `/v1/grants/${guid}/refresh`, { version })
    this.figures.refreshes += 1
    if (status !== 200) return this.#fail(`refresh of ${guid}: ${status} ${JSON.stringify(body)}`)
    if ((body.version ?? 0) <= version) this.#fail(`refresh of ${guid}: still version ${body.version}`)
    this.#versions.set(guid, body.version ?? 0)
  }

  #fail(text: string): void {
    this.figures.failed.push(text)
  }

  async #ask(method: string, path: string, body?: unknown) {
    this.#turn += 1
    const next = this.#turn % this.#fleet.gateways
    const gateway = next === this.#away ? (next + 1) % this.#fleet.gateways : next
    const asked = this.#fleet.ask(gateway, method, path, body).catch((error: Error) => {
      return {
        status: 0,
        body: { error: `${error.message} ${(error.cause as Error | undefined)?.message ?? ''}` } as Answered,
      }
    })
    this.#underWay[gateway]?.add(asked)
    const answer = await asked
    this.#underWay[gateway]?.delete(asked)
    return answer
  }
}
