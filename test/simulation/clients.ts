/** What clients ask the gateway for, and what they find in its answers. */
import type { Grant } from '../../src/ports/records.ts'
import { Secret } from '../../src/ports/secret.ts'
import { checkAnswer, type Since } from './invariants.ts'
import {
  checkDeleted,
  checkExchanged,
  checkExchangeRefused,
  checkImportRefused,
  checkProvisioned,
  checkProvisionRefused,
  checkReported,
} from './outcomes.ts'
import { isQuiet } from './plan.ts'
import type { Code, Row } from './provider-model.ts'
import type { Replica } from './replica.ts'
import { Violation, type World } from './world.ts'

/** The provider's slowest answer, a few looks into the store, and the word that it is done. */
const LONGEST_READ_MS = 1_000
const WAKING_MS = 10
/** How long a caller takes to send a request with the token that it was answered, at most. */
const MOST_USED_AFTER_MS = 150
/** Pairs from outside that are imported again, at most, by guid. */
const MOST_OUTSIDE = 5
/** Problems that a new person, or a new attempt, may meet where people are deleted meanwhile. */
const GONE = ['grant_not_found', 'reauthorization_required']

/** The replicas that take requests, and where failures of what no client waits for go. */
export interface Gateway {
  running(): Replica[]
  guard(work: Promise<unknown>): void
}

export class Clients {
  readonly #world: World
  readonly #gateway: Gateway
  readonly #outside = new Map<string, Row[]>()
  /** Usernames that a client has ever asked for. */
  readonly usernames = new Set<string>()

  constructor(world: World, gateway: Gateway) {
    this.#world = world
    this.#gateway = gateway
  }

  /** Everyone comes for the first time. */
  begin(): void {
    const { plan, random } = this.#world
    for (let index = 0; index < plan.grants; index += 1) {
      const guid = `person${index}`
      this.#world.person(guid)
      if (plan.imports && random.chance(0.3)) this.import(guid)
      else this.signIn(guid)
    }
    for (let index = 0; index < plan.usernames; index += 1) {
      if (plan.meddling && random.chance(0.2)) this.#world.model.makeUserOutside(nameOf(index))
      this.provision(nameOf(index))
    }
    this.#act()
  }

  #act(): void {
    const { plan, random, schedule } = this.#world
    const act = () => {
      schedule.after(random.between(50, 400), act)
      const running = this.#gateway.running()
      if (running.length === 0) return
      const replica = random.pick(running)
      const guid = random.pick(this.#world.people)
      const dice = random.next()
      if (dice < 0.1) this.#readMany(replica)
      else if (dice < 0.84 || this.#world.isHealed) this.read(replica, guid, false)
      else if (dice < 0.9 || !plan.comesAndGoes) this.#report(replica, guid)
      else if (dice < 1 - plan.deletions) this.#come(guid)
      else this.#delete(replica, guid)
    }
    act()
  }

  /** A person comes again, in one of the ways that there are. */
  #come(guid: string): void {
    const { plan, random } = this.#world
    const dice = random.next()
    if (plan.imports && dice < 0.35) this.import(guid)
    else if (plan.usernames === 0 || dice < 0.65) this.signIn(guid)
    else this.#provisionAny()
  }

  #provisionAny(): void {
    const { model, plan, random } = this.#world
    const username = nameOf(random.between(0, plan.usernames - 1))
    if (plan.meddling && random.chance(0.1)) model.makeUserOutside(username)
    const user = model.users.get(username)
    if (plan.meddling && user !== undefined && random.chance(0.1)) user.password = 'changed outside'
    this.provision(username)
  }

  read(replica: Replica, guid: string, isLast: boolean): void {
    const { random } = this.#world
    const wishedMs = isLast || random.chance(0.7) ? null : random.between(0, 30_000)
    if (wishedMs !== null) this.#world.wants(guid, wishedMs)
    this.#ask(replica, guid, () => replica.broker.tokens.read(guid, wishedMs), isLast)
  }

  /** Some people at once: what is true of a single read is true of each. */
  #readMany(replica: Replica): void {
    const { people, random } = this.#world
    const guids = people.filter(() => random.chance(0.5))
    const wishedTtlMs = random.chance(0.7) ? null : random.between(0, 30_000)
    if (wishedTtlMs !== null) for (const guid of guids) this.#world.wants(guid, wishedTtlMs)
    const answers = replica.broker.tokens.readMany({ guids, wishedTtlMs, admit() {}, check() {} })
    guids.forEach((guid, index) => {
      const own = async () => {
        const answer = (await answers)[index]
        if (answer?.status !== 'fulfilled') throw answer?.reason
        return answer.value
      }
      this.#ask(replica, guid, own, false)
    })
  }

  #report(replica: Replica, guid: string): void {
    const { random } = this.#world
    const ask = async () => {
      const version = (await this.#world.raw.grants.read(guid))?.record.version ?? 1
      const reported = random.chance(0.3) ? Math.max(1, version - 1) : version
      const refused = this.#world.lives.rowOf(guid, reported)
      this.#world.reports(guid, reported)
      this.#world.note(`${replica.name} is told that version ${reported} of ${guid} was refused`)
      const since = this.#world.schedule.steps
      const grant = await replica.broker.tokens.report(guid, reported)
      checkReported(this.#world, guid, { refused, grant, since })
      return grant
    }
    this.#ask(replica, guid, ask, false)
  }

  #ask(replica: Replica, guid: string, ask: () => Promise<Grant>, isLast: boolean): void {
    const { model, random, schedule } = this.#world
    const since = schedule.steps
    const sinceMs = schedule.nowMs
    const answered = ask().then(
      async grant => {
        this.#world.counts.reads += 1
        const tookMs = schedule.nowMs - sinceMs
        if (isQuiet(this.#world.plan) && tookMs > LONGEST_READ_MS) {
          throw new Violation(`a read of ${guid} took ${tookMs} ms, although nothing is wrong`)
        }
        await this.#check(replica, guid, grant, { step: since, atMs: sinceMs })
        const use = () => model.use(grant.pair.accessToken, schedule.nowMs)
        if (isLast && !use()) throw new Violation(`the last read of ${guid} brought a token that the provider refuses`)
        if (!isLast && random.chance(0.7)) schedule.after(random.between(5, MOST_USED_AFTER_MS), use)
      },
      error => {
        this.#world.counts.refusedReads += 1
        this.#world.note(`${replica.name} refuses ${guid}: ${error.code ?? error.name}`)
        if (error.code === 'reauthorization_required' && (this.#world.endedUntil.get(guid) ?? -1) < since)
          throw new Violation(`whoever asked for ${guid} was told to authorize again, and the grant had not ended`)
        const isExpected = error.code === 'grant_not_found' || error.code === 'reauthorization_required'
        if (!isExpected && (isLast || isQuiet(this.#world.plan))) {
          throw new Violation(`a read of ${guid} ended with ${error.code ?? error.stack}, although nothing is wrong`)
        }
        throw error
      },
    )
    this.#gateway.guard(answered)
  }

  #check(replica: Replica, guid: string, grant: Grant, since: Since): Promise<void> {
    return checkAnswer(this.#world, replica, guid, grant, { ...since, atMs: this.#lastAwakeMs(replica, since.atMs) })
  }

  /** One that has slept until this moment may not have come to read yet what was told to it meanwhile. */
  #lastAwakeMs(replica: Replica, sinceMs: number): number {
    const hasJustWoken = this.#world.schedule.nowMs - replica.stalledUntilMs <= WAKING_MS
    return hasJustWoken ? Math.min(sinceMs, replica.stalledSinceMs) : sinceMs
  }

  /** One code or two, each sent to one replica or to several. */
  signIn(guid: string): void {
    const { model, plan, random, schedule } = this.#world
    const code = model.issueCode(guid, schedule.nowMs)
    this.#several(0.3, () => this.send(code, 1, false))
    if (plan.comesAndGoes && random.chance(0.15)) schedule.after(random.between(0, 200), () => this.signIn(guid))
  }

  /** `isLast`: nothing has gone wrong for long, so it has to succeed. */
  send(code: Code, triesLeft: number, isLast: boolean): void {
    const world = this.#world
    const replica = this.#anyone()
    if (replica === undefined) return
    const { nowMs, steps } = world.schedule
    const redirectUri = 'https://a'
    world.note(`${replica.name} is sent ${code.text} of ${code.guid}`)
    const ask = () => replica.broker.exchanges.exchange({ code: new Secret(code.text), redirectUri })
    const answered = replica.during(code.text, ask).then(
      async exchanged => {
        world.note(`${replica.name} has exchanged ${code.text}`)
        checkExchanged(world, code, exchanged)
        await this.#check(replica, code.guid, exchanged.grant, { step: steps, atMs: nowMs, isNew: true })
      },
      error => {
        world.note(`${replica.name} does not exchange ${code.text}: ${error.code ?? error.name}`)
        if (isQuiet(world.plan) && !(world.plan.comesAndGoes && GONE.includes(error.code)))
          throw new Violation(`${code.guid} cannot sign in: ${error.code ?? error.stack}, although nothing is wrong`)
        checkExchangeRefused(world, code, error, isLast)
        if (triesLeft > 0) this.#again(() => this.send(code, triesLeft - 1, isLast))
        throw error
      },
    )
    this.#gateway.guard(answered)
  }

  /** A pair that another program has got at the provider: a new one, or one that may have been imported before. */
  import(guid: string): void {
    const { model, random, schedule } = this.#world
    const known = this.#outside.get(guid) ?? []
    this.#outside.set(guid, known)
    const isNew = known.length === 0 || (known.length < MOST_OUTSIDE && random.chance(0.4))
    const row = isNew ? model.authorizeOutside(guid, schedule.nowMs) : random.pick(known)
    if (isNew) known.push(row)
    this.#several(0.3, () => this.#sendPair(row, 1))
  }

  #sendPair(row: Row, triesLeft: number): void {
    const world = this.#world
    const { guid } = row
    const { nowMs, steps } = world.schedule
    const replica = this.#anyone()
    if (replica === undefined) return
    world.note(`${replica.name} is to import pair ${row.id} of ${guid}`)
    const isFirst = !world.imported.has(row)
    world.imported.add(row)
    const answer = world.model.answerFor(row, nowMs)
    const answered = replica.broker.grants.import({ guid, answer, username: null }).then(
      ({ grant }) => {
        world.note(`${replica.name} has imported pair ${row.id}: ${grant.status} version ${grant.version}`)
      },
      error => {
        world.note(`${replica.name} does not import pair ${row.id} of ${guid}: ${error.code ?? error.name}`)
        checkImportRefused(world, row, error, { isFirst, since: steps })
        if (triesLeft > 0) this.#again(() => this.#sendPair(row, triesLeft - 1))
        throw error
      },
    )
    this.#gateway.guard(answered)
  }

  provision(username: string): void {
    this.usernames.add(username)
    this.#several(0.5, () => this.sendName(this.#anyone(), username, 2, false))
  }

  /** `isLast`: nothing has gone wrong for long, so it has to be told how things are. */
  sendName(replica: Replica | undefined, username: string, triesLeft: number, isLast: boolean): void {
    const world = this.#world
    const { random, schedule } = world
    if (replica === undefined) return
    const since = { step: schedule.steps, atMs: schedule.nowMs }
    world.note(`${replica.name} is to provision ${username}`)
    const ask = () => replica.broker.provisionings.provision({ username, attributes: {} })
    const answered = replica.during(username, ask).then(
      async provisioned => {
        const { grant, created } = provisioned
        world.note(`${replica.name} has provisioned ${username}: ${grant.guid} version ${grant.version}, ${created}`)
        checkProvisioned(world, username, provisioned)
        await this.#check(replica, grant.guid, grant, { ...since, isNew: true })
        const isUnwanted = world.plan.comesAndGoes && !world.isHealed && random.chance(0.1)
        if (isUnwanted) schedule.after(random.between(0, 300), () => this.#delete(this.#anyone(), grant.guid))
      },
      error => {
        world.note(`${replica.name} does not provision ${username}: ${error.code ?? error.name}`)
        checkProvisionRefused(world, username, error, isLast)
        if (triesLeft > 0) this.#again(() => this.sendName(this.#anyone(), username, triesLeft - 1, isLast))
        throw error
      },
    )
    this.#gateway.guard(answered)
  }

  /** The store knows a new user, and their grant may not be stored yet: they are deleted, and come again. */
  deleteHalfMade(username: string, guid: string): void {
    const { plan, random, schedule } = this.#world
    if (!plan.comesAndGoes || this.#world.isHealed || !random.chance(0.15)) return
    schedule.after(random.between(5, 600), () => {
      const replica = this.#anyone()
      if (replica === undefined || this.#world.isHealed) return
      this.#revoke(replica, guid)
      schedule.after(random.between(50, 2_500), () => {
        this.#freeNameOf(guid)
        if (!this.#world.isHealed) this.provision(username)
      })
    })
  }

  /** A person is deleted while a renewal is under way, and comes again at once. */
  interrupt(guid: string): void {
    const { plan, random, schedule } = this.#world
    // Above all by the first renewal: what comes of it, and who signs in anew, are of the same version.
    const isFirst = this.#world.stays.get(guid)?.at(-1)?.grant.version === 1
    const chance = isFirst ? 5 * plan.deletions : plan.deletions
    if (!plan.comesAndGoes || this.#world.isHealed || !random.chance(chance)) return
    if (!isQuiet(plan) && random.chance(0.5)) this.#world.dawdles.add(guid)
    schedule.after(random.between(0, 20), () => {
      const replica = this.#anyone()
      if (replica !== undefined) this.#revoke(replica, guid)
      schedule.after(random.between(50, 800), () => this.#come(guid))
    })
  }

  #delete(replica: Replica | undefined, guid: string): void {
    const { random, schedule } = this.#world
    if (replica === undefined) return
    this.#revoke(replica, guid)
    schedule.after(random.between(100, 15_000), () => {
      if (random.chance(0.5)) this.#freeNameOf(guid)
      this.#come(guid)
    })
  }

  #revoke(replica: Replica, guid: string): void {
    const world = this.#world
    const since = world.schedule.steps
    world.note(`${replica.name} is to delete ${guid}`)
    const answered = replica.broker.revocations.revoke(guid).then(left => {
      world.note(`${replica.name} has deleted ${guid}: ${left?.status ?? 'gone'}`)
      if (left === null) checkDeleted(world, guid, since)
    })
    this.#gateway.guard(answered)
  }

  /** The name of a user who was deleted is given up at the provider as well, so that it can be had again. */
  #freeNameOf(guid: string): void {
    const { lives, model } = this.#world
    const user = model.everMade.find(candidate => candidate.guid === guid)
    if (user === undefined || model.users.get(user.username) !== user || !lives.hasBeenDeleted(guid)) return
    this.#world.note(`the provider gives the name ${user.username} up`)
    model.freeName(user.username)
  }

  /** Once; or by chance several times, at any replicas, close to each other. */
  #several(chance: number, ask: () => void): void {
    const { random, schedule } = this.#world
    const times = random.chance(chance) ? random.between(2, 4) : 1
    for (let sent = 0; sent < times; sent += 1) schedule.after(random.between(0, sent * 60), ask)
  }

  #again(ask: () => void): void {
    const { isHealed, random, schedule } = this.#world
    if (!isHealed) schedule.after(random.between(300, 4_000), ask)
  }

  #anyone(): Replica | undefined {
    const running = this.#gateway.running()
    return running.length === 0 ? undefined : this.#world.random.pick(running)
  }
}

/** Names differ from those of people, so that guids do too. */
function nameOf(index: number): string {
  return ['alice', 'bella', 'carol', 'diana'][index] ?? `user${index}`
}
