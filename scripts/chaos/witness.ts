/** What the readers were answered, what the gateways told, and what that says about them in the end. */
import type { CountsReport } from '../../sandbox/control/counts.ts'
import { LOSSY, type Way } from './faults.ts'

interface Person {
  readonly guid: string
  version: number
  /** Since when nobody has been given a token; null: the last read brought one. */
  withoutSinceMs: number | null
  /** Since when the provider has refused what was answered; null: it took the last one. */
  refusedSinceMs: number | null
  longestRefusedMs: number
  /** How many pairs its password has brought. */
  restores: number
  /** By which fault it was lost, when it was ended last; null: soon after none that can lose an answer. */
  lostBy: Way | null
}

/**
 * In `instant` mode the old token is dead from the moment at which the provider has made the new one, and the gateway cannot
 * know that before it has the answer, nor tell the others before the store takes it: the longest pause of Redis, and a lease.
 */
const REFUSED_AT_MOST_MS = 12_000
/** Two leases of six seconds, and what outages in between add: so long after a loss the grant has ended. */
const LOSS_SHOWS_WITHIN_MS = 40_000

export class Witness {
  readonly #rotation: 'instant' | 'on_use'
  readonly #passwordGrant: boolean
  readonly #mayGoBack: boolean
  readonly #people = new Map<string, Person>()
  readonly #wrong = new Set<string>()
  readonly #errors: Record<string, number> = {}
  readonly #events: Record<string, number> = {}
  readonly #strikes: Record<string, number> = {}
  /** The last strike of each way, in the order in which they came. */
  readonly #struckAtMs = new Map<Way, number>()
  #reads = 0
  #askedAgain = 0
  #expiredServed = 0
  #longestLapseMs = 0

  /** `mayGoBack`: a fail-over may lose what was written last, until who wrote it finds out. */
  constructor(options: { rotation: 'instant' | 'on_use'; passwordGrant: boolean; mayGoBack: boolean }) {
    const { mayGoBack, passwordGrant, rotation } = options
    this.#rotation = rotation
    this.#passwordGrant = passwordGrant
    this.#mayGoBack = mayGoBack
  }

  get guids(): readonly string[] {
    return [...this.#people.keys()]
  }

  knows(guid: string): void {
    const nothing = { withoutSinceMs: null, refusedSinceMs: null, longestRefusedMs: 0, restores: 0, lostBy: null }
    this.#people.set(guid, { guid, version: 1, ...nothing })
  }

  struck(way: Way): void {
    this.#struckAtMs.delete(way)
    this.#struckAtMs.set(way, Date.now())
    add(this.#strikes, way)
  }

  count(code: string): void {
    add(this.#errors, code)
  }

  times(event: string): number {
    return this.#events[event] ?? 0
  }

  isWrong(what: string): void {
    this.#wrong.add(what)
  }

  /** A gateway has told of an event. */
  heard(event: string, guid: string | undefined): void {
    add(this.#events, event)
    const person = this.#people.get(guid ?? '')
    if (event === 'grant.password_used' && person !== undefined) person.restores += 1
    if (event !== 'grant.ended' || person === undefined) return
    const since = Date.now() - LOSS_SHOWS_WITHIN_MS
    const lossy = [...this.#struckAtMs].filter(([way, atMs]) => LOSSY.has(way) && atMs >= since)
    person.lostBy = lossy.at(-1)?.[0] ?? null
  }

  /** Asks a gateway, and the provider with what it answers; once more where the provider refuses that. */
  async reads(
    guid: string,
    ask: () => Promise<Response>,
    attempt: (accessToken: string) => Promise<boolean>,
  ): Promise<void> {
    const person = this.#people.get(guid)
    if (person === undefined || (await this.#readOnce(person, ask, attempt))) return
    this.#askedAgain += 1
    await this.#readOnce(person, ask, attempt)
  }

  /** Whether the provider takes what is answered; a read that brings no token is counted, and is no lie. */
  async #readOnce(
    person: Person,
    ask: () => Promise<Response>,
    attempt: (accessToken: string) => Promise<boolean>,
  ): Promise<boolean> {
    this.#reads += 1
    try {
      const response = await ask()
      const token = (await response.json()) as Record<string, string> & { version: number }
      if (response.status !== 200) {
        this.count(token.code ?? String(response.status))
        if (response.status !== 409) person.withoutSinceMs ??= Date.now()
        return true
      }
      this.#given(person, token)
      const isTaken = await attempt(token.access_token ?? '')
      person.refusedSinceMs = isTaken ? null : (person.refusedSinceMs ?? Date.now())
      const refusedMs = person.refusedSinceMs === null ? 0 : Date.now() - person.refusedSinceMs
      person.longestRefusedMs = Math.max(person.longestRefusedMs, refusedMs)
      return isTaken
    } catch {
      // No gateway there, at this moment.
      this.count('no connection')
      return true
    }
  }

  #given(person: Person, token: Record<string, string> & { version: number }): void {
    // Told in whole seconds, which take up to one from its life.
    if (Date.parse(token.expires_at ?? '') + 1_000 < Date.now()) {
      this.#expiredServed += 1
      this.isWrong(`an expired token of ${person.guid} was served`)
    }
    if (token.version < person.version) {
      this.count('an older version was answered')
      if (!this.#mayGoBack) this.isWrong(`a replaced token of ${person.guid} was served`)
    }
    person.version = Math.max(person.version, token.version)
    if (person.withoutSinceMs === null) return
    this.#longestLapseMs = Math.max(this.#longestLapseMs, Date.now() - person.withoutSinceMs)
    person.withoutSinceMs = null
  }

  /** `isQuiet`: nothing went wrong, so nothing may be to be seen. */
  concludes(
    counts: CountsReport,
    grants: ReadonlyMap<string, { status: string; version: number }>,
    isQuiet: boolean,
  ): { figures: object; wrong: readonly string[] } {
    let [rotations, doubled, spentTwice, longestRefusedMs, restores] = [0, 0, 0, 0, 0]
    const lost: Record<string, number> = {}
    for (const person of this.#people.values()) {
      const { guid } = person
      const grant = grants.get(guid) ?? { status: 'gone', version: 0 }
      const refreshes = counts.grants[guid]?.refreshes ?? 0
      const answersLost = Math.max(0, refreshes + person.restores - (grant.version - 1))
      rotations += Math.min(refreshes, grant.version - 1)
      doubled += answersLost
      restores += person.restores
      spentTwice += counts.grants[guid]?.refreshes_refused ?? 0
      longestRefusedMs = Math.max(longestRefusedMs, person.longestRefusedMs)
      if (grant.status === 'reauthorization_required') {
        add(lost, person.lostBy ?? 'nothing')
        this.#judgeLoss(person, answersLost)
      } else if (grant.status !== 'active') {
        this.isWrong(`${guid} is ${grant.status} at the end`)
      }
      if (person.longestRefusedMs > REFUSED_AT_MOST_MS && answersLost < 1)
        this.isWrong(`${guid}: for ${person.longestRefusedMs} ms refused tokens, and no answer was lost`)
    }
    if (isQuiet && (doubled !== 0 || spentTwice !== 0 || Object.keys(this.#errors).length > 0)) {
      const errors = JSON.stringify(this.#errors)
      this.isWrong(`${doubled} refreshes without a rotation, ${spentTwice} tokens spent twice, errors ${errors}`)
    }
    const refreshes = counts.totals.refresh ?? {}
    const figures = {
      grants: this.#people.size,
      reads: this.#reads,
      'reads asked again because a renewal came between': this.#askedAgain,
      'reads without a token, by why': this.#errors,
      'faults injected': this.#strikes,
      'requests hit at the provider': counts.faults,
      rotations,
      'refreshes at the provider': refreshes.ok ?? 0,
      'double rotations, each by a lost answer': doubled,
      'refresh tokens spent twice, and refused': spentTwice,
      'invalid_grant at refreshes': refreshes.invalid_grant ?? 0,
      'pairs that a password has brought': restores,
      'grants lost, by the fault before': lost,
      'expired tokens served': this.#expiredServed,
      'longest time in which the provider refused what was answered, in ms': longestRefusedMs,
      'longest time without a token, outages included, in ms': this.#longestLapseMs,
      events: this.#events,
    }
    return { figures, wrong: [...this.#wrong].slice(0, 30) }
  }

  #judgeLoss({ guid, lostBy }: Person, answersLost: number): void {
    if (lostBy === null) this.isWrong(`${guid} was lost soon after no fault that can lose an answer`)
    if (this.#passwordGrant) this.isWrong(`${guid} was lost, with the password grant`)
    if (this.#rotation === 'on_use') this.isWrong(`${guid} was lost, in on_use mode`)
    if (answersLost < 1) this.isWrong(`${guid} was lost, and no answer to it was`)
  }
}

function add(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1
}
