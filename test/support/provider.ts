import type { Outcome, Provider, TokenAnswer } from '../../src/ports/provider.ts'
import { Secret } from '../../src/ports/secret.ts'

const rejected = { kind: 'rejected', upstream: { status: 400, error: 'invalid_grant' } } as const

type Operation = 'exchange' | 'refresh' | 'authenticate' | 'createUser' | 'revoke' | 'identify' | 'present' | 'probe'

/** A provider whose answers are scripted: by default each refresh brings the next pair, as the real one does. */
export class ScriptedProvider implements Provider {
  /** What was asked, in order: the operation and, where there is one, the token. */
  readonly asked: { operation: Operation; token: string }[] = []
  /** As PROVIDER.md's mode of this name: a refresh token works once, and one that was revoked never again. */
  isInstant = false
  readonly #dead = new Set<string>()
  readonly #answers = new Map<Operation, (() => Promise<Outcome<never>> | Outcome<never>)[]>()
  #pairs = 0

  /** The next answer to `operation`; those not scripted are good ones. */
  next(operation: Operation, answer: () => unknown): void {
    const list = this.#answers.get(operation) ?? []
    this.#answers.set(operation, [...list, answer as () => Outcome<never>])
  }

  times(operation: Operation): number {
    return this.asked.filter(entry => entry.operation === operation).length
  }

  answer(more: Partial<TokenAnswer> = {}): Outcome<TokenAnswer> {
    this.#pairs += 1
    const pair = {
      accessToken: new Secret(`access-${this.#pairs}`),
      refreshToken: new Secret(`refresh-${this.#pairs}`),
    }
    const times = { expiresInSeconds: 7200, refreshTokenExpiresInSeconds: null }
    return { kind: 'ok', value: { pair, ...times, scope: 'profile_read', guid: null, ...more } }
  }

  /** Whether the pair with this refresh token can still be renewed. */
  isAlive(refreshToken: Secret): boolean {
    return !this.#dead.has(refreshToken.reveal())
  }

  authorizationUrl(): string {
    return 'https://provider.example/authorize'
  }

  exchange(request: { code: Secret }) {
    return this.#take('exchange', request.code.reveal(), () => this.answer({ guid: 'ada' }))
  }

  refresh(refreshToken: Secret) {
    const token = refreshToken.reveal()
    const isDead = this.isInstant && this.#dead.has(token)
    this.#dead.add(token)
    return this.#take('refresh', token, () => (isDead ? rejected : this.answer()))
  }

  createUser(user: { username: string }) {
    return this.#take('createUser', user.username, () => this.answer({ guid: `guid-${user.username}` }))
  }

  revoke(token: Secret) {
    this.#dead.add(token.reveal())
    return this.#take<null>('revoke', token.reveal(), () => ({ kind: 'ok', value: null }))
  }

  authenticate(user: { username: string }) {
    return this.#take('authenticate', user.username, () => this.answer())
  }

  /** The usual answer is that of a provider which has no such resource. */
  present(accessToken: Secret) {
    const refused = { kind: 'refused', upstream: { status: 404 } } as const
    return this.#take<boolean>('present', accessToken.reveal(), () => refused)
  }

  probe() {
    return this.#take<null>('probe', '', () => ({ kind: 'ok', value: null }))
  }

  identify(accessToken: Secret) {
    return this.#take<string | null>('identify', accessToken.reveal(), () => ({ kind: 'ok', value: null }))
  }

  async #take<T>(operation: Operation, token: string, usual: () => Outcome<T>): Promise<Outcome<T>> {
    this.asked.push({ operation, token })
    const scripted = this.#answers.get(operation)?.shift()
    return scripted === undefined ? usual() : await scripted()
  }
}
