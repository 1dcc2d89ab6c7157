/** Twelve clients, each of which does one thing after the other, by chance that a seed decides. */
import { setTimeout as sleep } from 'node:timers/promises'
import { nameOf } from '../../sandbox/control/pair-book.ts'
import { type Tokens, tokensOf } from '../../sandbox/driver.ts'
import { SeededRandom } from '../../test/simulation/random.ts'
import { type Answer, Door } from './door.ts'
import type { Fleet } from './fleet.ts'
import type { Recorder } from './recorder.ts'

const CLIENTS = 12
const PROVISIONED = 16
const SIGNED_IN = 16
const MOST_PEOPLE = 48
const THINKS_AT_MOST_MS = 120
const MOST_IN_A_BATCH = 12

/** A pair that a client made at the provider itself, and imports. */
interface OwnPair {
  readonly guid: string
  readonly body: { readonly access_token: string; readonly refresh_token: string; readonly expires_in: number }
  readonly madeMs: number
}

interface Person {
  readonly username: string
  /** Whether users are made for this name; else the person signs in. */
  readonly isProvisioned: boolean
  /** Whether its tokens are ever used: in `on_use` mode a first use ends the pair before. */
  readonly isUsed: boolean
  guid: string | null
  readonly imported: OwnPair[]
  /** Codes that were exchanged before. */
  readonly codes: string[]
}

const WEIGHTS = {
  read: 40,
  batch: 8,
  report: 8,
  provision: 8,
  exchange: 6,
  signInWithState: 3,
  import: 6,
  delete: 2,
  lookUp: 6,
} as const

type Deed = keyof typeof WEIGHTS

export class Clients {
  readonly #fleet: Fleet
  readonly #recorder: Recorder
  readonly #seed: number
  readonly #people: Person[] = []
  #isOver = false
  #work: Promise<unknown> = Promise.resolve()

  constructor(fleet: Fleet, recorder: Recorder, seed: number) {
    this.#fleet = fleet
    this.#recorder = recorder
    this.#seed = seed
    for (let index = 0; index < PROVISIONED; index += 1) this.#addPerson(true)
    for (let index = 0; index < SIGNED_IN; index += 1) this.#addPerson(false)
  }

  /** Everybody a client has ever learnt of. */
  get guids(): string[] {
    return [...new Set(this.#people.map(({ guid }) => guid).filter(guid => guid !== null))]
  }

  get usernames(): string[] {
    return this.#people.filter(({ isProvisioned }) => isProvisioned).map(({ username }) => username)
  }

  begin(): void {
    const clients = Array.from({ length: CLIENTS }, (_, index) => new Client(this.#fleet, this.#recorder, this, index))
    this.#work = Promise.all(clients.map(client => client.run(() => this.#isOver)))
  }

  /** Resolves when the last answer is here. */
  async stop(): Promise<void> {
    this.#isOver = true
    await this.#work
  }

  random(client: number): SeededRandom {
    return new SeededRandom(this.#seed * 1_000 + client)
  }

  person(random: SeededRandom, fits: (person: Person) => boolean = () => true): Person | null {
    const candidates = this.#people.filter(fits)
    return candidates.length === 0 ? null : random.pick(candidates)
  }

  newPerson(isProvisioned: boolean): Person | null {
    return this.#people.length < MOST_PEOPLE ? this.#addPerson(isProvisioned) : null
  }

  #addPerson(isProvisioned: boolean): Person {
    const number = this.#people.length
    const person: Person = {
      username: `${isProvisioned ? 'user' : 'visitor'} ${number}`,
      isProvisioned,
      isUsed: number % 3 !== 0,
      guid: null,
      imported: [],
      codes: [],
    }
    this.#people.push(person)
    return person
  }
}

class Client {
  readonly #fleet: Fleet
  readonly #clients: Clients
  readonly #random: SeededRandom
  readonly #door: Door

  constructor(fleet: Fleet, recorder: Recorder, clients: Clients, index: number) {
    this.#fleet = fleet
    this.#clients = clients
    this.#random = clients.random(index)
    this.#door = new Door(fleet, recorder, `client ${index}`)
  }

  async run(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await this.#do(this.#chooseDeed())
      await sleep(this.#random.between(5, THINKS_AT_MOST_MS))
    }
  }

  #chooseDeed(): Deed {
    const deeds = Object.entries(WEIGHTS) as [Deed, number][]
    let point = this.#random.next() * deeds.reduce((sum, [, weight]) => sum + weight, 0)
    for (const [deed, weight] of deeds) {
      point -= weight
      if (point < 0) return deed
    }
    return 'read'
  }

  async #do(deed: Deed): Promise<void> {
    switch (deed) {
      case 'read':
        return await this.#read()
      case 'batch':
        return await this.#batch()
      case 'report':
        return await this.#report()
      case 'provision':
        return await this.#provision()
      case 'exchange':
        return await this.#exchange()
      case 'signInWithState':
        return await this.#signInWithState()
      case 'import':
        return await this.#import()
      case 'delete':
        return await this.#delete()
      case 'lookUp':
        return await this.#lookUp()
    }
  }

  /** One of those that are up; any, where none is. */
  #gateway(): number {
    const all = [...this.#fleet.members.keys()]
    const up = all.filter(index => this.#fleet.member(index).isUp)
    return this.#random.pick(up.length === 0 ? all : up)
  }

  #gateways(count: number): number[] {
    return Array.from({ length: count }, () => this.#gateway())
  }

  #known(): Person | null {
    return this.#clients.person(this.#random, ({ guid }) => guid !== null)
  }

  async #presentPerhaps(person: Person, answer: Answer): Promise<void> {
    if (person.isUsed && this.#random.chance(0.5)) await this.#door.present(answer)
  }

  async #readOnce(person: Person, minTtlSeconds?: number): Promise<Answer> {
    const guid = person.guid ?? ''
    const query = minTtlSeconds === undefined ? '' : `?min_ttl=${minTtlSeconds}`
    return await this.#door.ask(this.#gateway(), {
      operation: 'read',
      path: `/v1/grants/${guid}/token${query}`,
      guid,
      asked: minTtlSeconds === undefined ? {} : { minTtlSeconds },
    })
  }

  async #read(): Promise<void> {
    const person = this.#known()
    if (person === null) return
    const minTtlSeconds = this.#random.chance(0.3) ? this.#random.pick([2, 5, 8, 30]) : undefined
    await this.#presentPerhaps(person, await this.#readOnce(person, minTtlSeconds))
  }

  async #batch(): Promise<void> {
    const wanted = Array.from({ length: this.#random.between(1, MOST_IN_A_BATCH) }, () => this.#known()?.guid ?? null)
    const guids = [...new Set(wanted)].filter(guid => guid !== null)
    if (guids.length === 0) return
    await this.#door.ask(this.#gateway(), { operation: 'batch', method: 'POST', path: '/v1/tokens', body: { guids } })
  }

  /** Reports the version that was just read, at one gateway or at two of them at once. */
  async #report(): Promise<void> {
    const person = this.#known()
    if (person === null) return
    const [token] = (await this.#readOnce(person)).call.tokens
    if (token === undefined) return
    const { guid, pair, version } = token
    const reports = this.#gateways(this.#random.pick([1, 1, 2])).map(gateway =>
      this.#door.ask(gateway, {
        operation: 'report',
        method: 'POST',
        path: `/v1/grants/${guid}/refresh`,
        body: { version },
        guid,
        asked: { version, pair },
      }),
    )
    const [answer] = await Promise.all(reports)
    if (answer !== undefined) await this.#presentPerhaps(person, answer)
  }

  async #provision(): Promise<void> {
    const isNew = this.#random.chance(0.3)
    const person =
      (isNew ? this.#clients.newPerson(true) : null) ??
      this.#clients.person(this.#random, ({ isProvisioned }) => isProvisioned)
    if (person === null) return
    const count = person.guid === null ? this.#random.pick([1, 2, 3, 4]) : this.#random.pick([1, 1, 2])
    const { username } = person
    const calls = this.#gateways(count).map(gateway =>
      this.#door.ask(gateway, {
        operation: 'provision',
        method: 'POST',
        path: '/v1/users',
        body: { username },
        asked: { username },
      }),
    )
    for (const answer of await Promise.all(calls)) await this.#learn(person, answer)
  }

  async #learn(person: Person, answer: Answer): Promise<void> {
    person.guid = answer.call.tokens[0]?.guid ?? person.guid
    await this.#presentPerhaps(person, answer)
  }

  async #exchange(): Promise<void> {
    const isNew = this.#random.chance(0.2)
    const person =
      (isNew ? this.#clients.newPerson(false) : null) ??
      this.#clients.person(this.#random, ({ guid, isProvisioned }) => !isProvisioned || guid !== null)
    if (person === null) return
    const [earlier] = person.codes
    if (earlier !== undefined && this.#random.chance(0.2)) return await this.#exchangeCodes(person, [earlier])
    const codes = [await this.#code(person)]
    if (this.#random.chance(0.3)) codes.push(await this.#code(person))
    person.codes.splice(0, person.codes.length, ...codes)
    await this.#exchangeCodes(person, codes)
    if (this.#random.chance(0.3)) await this.#exchangeCodes(person, codes)
  }

  /** The provider makes a person of this name at the first sight of it, as does a user that was made for the name. */
  async #code({ username }: Person, fields: Record<string, string> = {}): Promise<string> {
    return await this.#fleet.sandbox.code({ username, ...fields })
  }

  /** Each code is sent to one, two or three gateways at once, and all codes are sent at once. */
  async #exchangeCodes(person: Person, codes: readonly string[], state?: string): Promise<void> {
    const calls = codes.flatMap(code =>
      this.#gateways(this.#random.pick([1, 1, 2, 3])).map(gateway =>
        this.#door.ask(gateway, {
          operation: 'exchange',
          method: 'POST',
          path: '/v1/grants',
          body: {
            code,
            redirect_uri: this.#fleet.sandbox.options.redirectUri,
            ...(state === undefined ? {} : { state }),
          },
          guid: person.guid,
          asked: { code: nameOf(code) },
        }),
      ),
    )
    for (const answer of await Promise.all(calls)) await this.#learn(person, answer)
  }

  async #signInWithState(): Promise<void> {
    const person = this.#clients.person(this.#random, ({ guid, isProvisioned }) => !isProvisioned || guid !== null)
    if (person === null) return
    const begun = await this.#door.ask(this.#gateway(), {
      operation: 'authorize',
      method: 'POST',
      path: '/v1/authorizations',
      body: { scope: 'profile_read' },
    })
    const { state, authorization_url: url } = begun.body as { state?: string; authorization_url?: string }
    if (state === undefined || url === undefined) return
    const code = await this.#code(person, Object.fromEntries(new URL(url).searchParams))
    await this.#exchangeCodes(person, [code], state)
    await this.#door.ask(this.#gateway(), { operation: 'authorization', path: `/v1/authorizations/${state}` })
  }

  async #import(): Promise<void> {
    const person = this.#clients.person(this.#random, ({ guid, isProvisioned }) => !isProvisioned || guid !== null)
    if (person === null) return
    const way = this.#random.pick(['newer', 'newer', 'equal', 'older', 'late', 'late'] as const)
    if (way === 'late') {
      const [earliest] = person.imported
      const isLeft = this.#random.chance(0.5)
      if (earliest !== undefined) await this.#put(isLeft ? earliest : withLifeLeft(earliest), 1)
      return
    }
    const first = await this.#ownPair(person)
    if (first === null) return
    const second = way === 'older' ? await this.#ownPair(person) : null
    if (second !== null) await this.#put(second, 1)
    await this.#put(first, way === 'equal' ? 2 : 1)
    if (way === 'equal') await this.#put(first, 1)
  }

  /** A pair that no gateway knows, as another system would have it; null: a fault kept the provider from answering. */
  async #ownPair(person: Person): Promise<OwnPair | null> {
    const madeMs = Date.now()
    const answer = await this.#fleet.sandbox.exchange(await this.#code(person)).catch(() => null)
    if (answer?.status !== 200) return null
    const { guid, access_token, refresh_token, expires_in } = tokensOf(answer) as Tokens & { expires_in: number }
    const pair = { guid, madeMs, body: { access_token, refresh_token, expires_in: Math.max(0, expires_in - 1) } }
    person.guid ??= guid
    person.imported.push(pair)
    return pair
  }

  async #put({ guid, body }: OwnPair, times: number): Promise<void> {
    const calls = this.#gateways(times).map(gateway =>
      this.#door.ask(gateway, {
        operation: 'import',
        method: 'PUT',
        path: `/v1/grants/${guid}`,
        body,
        guid,
        asked: { pair: nameOf(body.access_token), expiresInSeconds: body.expires_in },
      }),
    )
    await Promise.all(calls)
  }

  async #delete(): Promise<void> {
    const guid = this.#known()?.guid
    if (guid === undefined || guid === null) return
    const calls = this.#gateways(this.#random.pick([1, 1, 1, 2])).map(gateway =>
      this.#door.ask(gateway, { operation: 'delete', method: 'DELETE', path: `/v1/grants/${guid}`, guid }),
    )
    await Promise.all(calls)
  }

  async #lookUp(): Promise<void> {
    const guid = this.#known()?.guid ?? ''
    const way = this.#random.pick(['grant', 'grant', 'username', 'all'] as const)
    if (way === 'grant') {
      await this.#door.ask(this.#gateway(), { operation: 'grant', path: `/v1/grants/${guid}`, guid })
      return
    }
    const username = this.#random.pick(this.#clients.usernames)
    const query = way === 'all' ? 'limit=500' : `username=${encodeURIComponent(username)}`
    const asked = way === 'all' ? {} : { username }
    await this.#door.ask(this.#gateway(), { operation: 'list', path: `/v1/grants?${query}`, asked })
  }
}

/** The same pair, with the lifetime that it has left by now. */
function withLifeLeft(pair: OwnPair): OwnPair {
  const elapsedSeconds = Math.ceil((Date.now() - pair.madeMs) / 1000)
  return { ...pair, body: { ...pair.body, expires_in: Math.max(0, pair.body.expires_in - elapsedSeconds) } }
}
