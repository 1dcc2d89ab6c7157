import { type Ledger, noLedger } from './ledger.ts'
import { hashPassword, isPassword, newGuid, newToken } from './secrets.ts'

export interface Person {
  readonly guid: string
  readonly username: string
}

/** Browsers that stay signed in. More than a developer ever has, and a bound all the same. */
const MAX_SESSIONS = 1_000

/**
 * Everybody the sandbox knows, and who is signed in on which browser. A name is one person for as long as the sandbox
 * runs, or its ledger is kept, whether it came from the consent page or from `users.json`. People are kept forever. Only
 * those from `users.json` have a password, of which a salted hash is kept.
 */
export class People {
  readonly #byUsername = new Map<string, Person>()
  readonly #byGuid = new Map<string, Person>()
  readonly #sessions = new Map<string, Person>()
  readonly #passwordHashes = new Map<Person, string>()
  #note: Ledger['note'] = noLedger.note

  /** Knows what the ledger knows, and notes in it who comes from now on. */
  constructor({ entries, note }: Ledger) {
    for (const entry of entries) if ('person' in entry) this.#add(entry.person, entry.passwordHash)
    this.#note = note
  }

  /** The person of that name, made on first sight. */
  signIn(username: string): Person {
    return this.byUsername(username) ?? this.#add({ guid: newGuid(), username })
  }

  /** A new person, or null where the name is taken. */
  create(username: string, password: string): Person | null {
    return this.#byUsername.has(username) ? null : this.#add({ guid: newGuid(), username }, hashPassword(password))
  }

  /** undefined: no such person, another password, or a person without one. */
  byPassword(username: string, password: string): Person | undefined {
    const person = this.byUsername(username)
    const hash = person && this.#passwordHashes.get(person)
    return hash !== undefined && isPassword(password, hash) ? person : undefined
  }

  byUsername(username: string): Person | undefined {
    return this.#byUsername.get(username)
  }

  byGuid(guid: string): Person | undefined {
    return this.#byGuid.get(guid)
  }

  /** Returns the new session's id, for a cookie. */
  openSession(person: Person): string {
    const id = newToken()
    this.#sessions.set(id, person)
    const [oldest] = this.#sessions.keys()
    if (this.#sessions.size > MAX_SESSIONS && oldest !== undefined) this.#sessions.delete(oldest)
    return id
  }

  bySession(id: string): Person | undefined {
    return this.#sessions.get(id)
  }

  #add(person: Person, passwordHash?: string): Person {
    this.#note(passwordHash === undefined ? { person } : { person, passwordHash })
    if (passwordHash !== undefined) this.#passwordHashes.set(person, passwordHash)
    this.#byUsername.set(person.username, person)
    this.#byGuid.set(person.guid, person)
    return person
  }
}
