/** What is known of the provider's pairs, codes and users, in either mode, and nothing of networks. */
import type { Outcome, TokenAnswer } from '../../src/ports/provider.ts'
import { Secret } from '../../src/ports/secret.ts'

export type Rotation = 'instant' | 'on_use'

/** What brought the first pair of a chain. */
export type Source = 'code' | 'user' | 'password' | 'outside'

export interface Row {
  readonly id: number
  readonly guid: string
  readonly issuedAtMs: number
  readonly expiresAtMs: number
  /** The pair that this one was refreshed from; null: an authorization brought it. */
  readonly from: Row | null
  /** The pair that the authorization brought. */
  readonly root: Row
  readonly source: Source
  isAlive: boolean
  /** How often its refresh token was taken. */
  refreshes: number
  /** A revocation came when the access token had expired, so the provider answered `ok` and did nothing. */
  isRevokedTooLate: boolean
}

export interface Code {
  readonly text: string
  readonly guid: string
  readonly issuedAtMs: number
  /** How often the provider has worked on it. */
  asks: number
  isSpent: boolean
}

export interface User {
  readonly username: string
  readonly guid: string
  password: string
  readonly by: 'gateway' | 'outside'
  /** What the answer to its making brought; null: made outside. */
  readonly row: Row | null
}

export interface ProviderOptions {
  readonly rotation: Rotation
  readonly lifetimeMs: number
  /** Whether it offers the password grant. */
  readonly passwordGrant: boolean
  /** Whether there is a resource to present an access token to. */
  readonly hasResource: boolean
  /** Whether the gateway answers this pair to callers. */
  readonly isInUse: (row: Row) => boolean
  /** Told what happens to pairs. */
  readonly note: (line: string) => void
}

const rejected = { kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } } as const
const conflict = { kind: 'conflict', upstream: { status: 422 } } as const
const notOffered = { kind: 'refused', upstream: { status: 400, error: 'unsupported_grant_type' } } as const
const noResource = { kind: 'refused', upstream: { status: 404 } } as const

export class ProviderModel {
  readonly rows: Row[] = []
  readonly codes = new Map<string, Code>()
  /** Users by the name that they have now. */
  readonly users = new Map<string, User>()
  readonly everMade: User[] = []
  /** Usernames whose password was refused. */
  readonly refusedPasswords = new Set<string>()
  readonly counts = { refreshes: 0, rejected: 0, revoked: 0, restored: 0 }
  /** Refresh tokens of pairs in use that were asked with after they had been taken before. */
  spentTwice = 0
  readonly #options: ProviderOptions

  constructor(options: ProviderOptions) {
    this.#options = options
  }

  /** A person chooses Allow, and their browser carries the code. */
  issueCode(guid: string, issuedAtMs: number): Code {
    const code = { text: `code-${this.codes.size}`, guid, issuedAtMs, asks: 0, isSpent: false }
    this.codes.set(code.text, code)
    return code
  }

  exchange(text: string, nowMs: number): Outcome<TokenAnswer> {
    const code = this.codes.get(text)
    if (code === undefined) return rejected
    code.asks += 1
    if (code.isSpent) return rejected
    code.isSpent = true
    return this.#answer(this.#add(code.guid, null, 'code', nowMs), nowMs)
  }

  /** A pair that another program has; a client may import it later. */
  authorizeOutside(guid: string, nowMs: number): Row {
    return this.#add(guid, null, 'outside', nowMs)
  }

  createUser(username: string, password: Secret, nowMs: number): Outcome<TokenAnswer> {
    if (this.users.has(username)) return conflict
    const row = this.#add(this.#newGuid(username), null, 'user', nowMs)
    this.#register({ username, guid: row.guid, password: password.reveal(), by: 'gateway', row })
    return this.#answer(row, nowMs)
  }

  makeUserOutside(username: string): void {
    if (this.users.has(username)) return
    this.#register({ username, guid: this.#newGuid(username), password: 'outside', by: 'outside', row: null })
  }

  /** The user is renamed at the provider: the name is free there, and their pairs stay as they are. */
  freeName(username: string): void {
    this.users.delete(username)
  }

  authenticate(username: string, password: Secret, nowMs: number): Outcome<TokenAnswer> {
    if (!this.#options.passwordGrant) return notOffered
    const user = this.users.get(username)
    if (user === undefined || user.password !== password.reveal()) {
      this.refusedPasswords.add(username)
      return rejected
    }
    this.counts.restored += 1
    return this.#answer(this.#add(user.guid, null, 'password', nowMs), nowMs)
  }

  refresh(refreshToken: Secret, nowMs: number): Outcome<TokenAnswer> {
    const row = this.rowOf(refreshToken)
    if (row === undefined) return rejected
    if (row.refreshes > 0 && this.#options.isInUse(row)) this.spentTwice += 1
    if (!row.isAlive) {
      this.counts.rejected += 1
      return rejected
    }
    this.counts.refreshes += 1
    row.refreshes += 1
    if (this.#options.rotation === 'instant') this.#end(row, 'was refreshed')
    return this.#answer(this.#add(row.guid, row, row.source, nowMs), nowMs)
  }

  /** RFC 7009, with the flaw of a real server: nothing happens once the access token has expired. */
  revoke(token: Secret, nowMs: number): Outcome<null> {
    const row = this.rowOf(token)
    if (row?.isAlive) {
      if (row.expiresAtMs > nowMs) {
        this.#end(row, 'was revoked')
        this.counts.revoked += 1
      } else {
        this.#options.note(`pair ${row.id} of ${row.guid} has expired, and is not revoked`)
        row.isRevokedTooLate = true
      }
    }
    return { kind: 'ok', value: null }
  }

  /** A caller uses an access token. In `on_use` mode that ends its direct predecessor, and only that one. */
  use(accessToken: Secret, nowMs: number): boolean {
    const row = this.rowOf(accessToken)
    if (row === undefined || !row.isAlive || row.expiresAtMs <= nowMs) return false
    if (row.from?.isAlive) this.#end(row.from, `ended with the use of pair ${row.id}`)
    return true
  }

  present(accessToken: Secret, nowMs: number): Outcome<boolean> {
    if (!this.#options.hasResource) return noResource
    return { kind: 'ok', value: this.use(accessToken, nowMs) }
  }

  rowOf(token: Secret): Row | undefined {
    return this.rows[Number(token.reveal().split('-')[1])]
  }

  /** The answer that has brought this pair, with what is left of its life. */
  answerFor(row: Row, nowMs: number): TokenAnswer {
    return {
      pair: { accessToken: new Secret(`access-${row.id}`), refreshToken: new Secret(`refresh-${row.id}`) },
      expiresInSeconds: Math.max(0, row.expiresAtMs - nowMs) / 1000,
      refreshTokenExpiresInSeconds: null,
      scope: 'profile_read',
      guid: row.guid,
    }
  }

  #end(row: Row, how: string): void {
    row.isAlive = false
    this.#options.note(`pair ${row.id} of ${row.guid} ${how}`)
  }

  #newGuid(username: string): string {
    return `${username}${this.everMade.length}`
  }

  #register(user: User): void {
    this.users.set(user.username, user)
    this.everMade.push(user)
  }

  #add(guid: string, from: Row | null, source: Source, nowMs: number): Row {
    const expiresAtMs = nowMs + this.#options.lifetimeMs
    const inherited = from?.root
    const row: Row = {
      id: this.rows.length,
      guid,
      from,
      get root() {
        return inherited ?? row
      },
      source,
      issuedAtMs: nowMs,
      expiresAtMs,
      isAlive: true,
      refreshes: 0,
      isRevokedTooLate: false,
    }
    this.rows.push(row)
    this.#options.note(`pair ${row.id} of ${guid} is new, from ${from === null ? source : `pair ${from.id}`}`)
    return row
  }

  #answer(row: Row, nowMs: number): Outcome<TokenAnswer> {
    return { kind: 'ok', value: this.answerFor(row, nowMs) }
  }
}
