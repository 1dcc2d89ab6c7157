import { newToken } from './secrets.ts'

export interface AuthorizationCode {
  readonly code: string
  readonly guid: string
  readonly redirectUri: string
  readonly scopes: readonly string[]
  /** null: none was sent, or this provider ignores PKCE. */
  readonly codeChallenge: string | null
  readonly expiresAtMs: number
  spent: boolean
}

/** RFC 6749, section 4.1.2, recommends ten minutes at most, and Doorkeeper defaults to it. */
const LIFETIME_MS = 10 * 60 * 1000

/** Codes on their way from the authorize page to the token endpoint. */
export class AuthorizationCodes {
  readonly #byCode = new Map<string, AuthorizationCode>()

  issue(code: Omit<AuthorizationCode, 'code' | 'expiresAtMs' | 'spent'>, nowMs: number): string {
    this.#sweep(nowMs)
    const issued = { ...code, code: newToken(), expiresAtMs: nowMs + LIFETIME_MS, spent: false }
    this.#byCode.set(issued.code, issued)
    return issued.code
  }

  find(code: string, nowMs: number): AuthorizationCode | undefined {
    const found = this.#byCode.get(code)
    return found && found.expiresAtMs > nowMs ? found : undefined
  }

  /** False where another request was faster. */
  spend(code: AuthorizationCode): boolean {
    if (code.spent) return false
    code.spent = true
    // Forgetting is enough: a used code and an unknown one get the same answer.
    this.#byCode.delete(code.code)
    return true
  }

  spendAllOf(guid: string): void {
    for (const code of this.#byCode.values()) if (code.guid === guid) this.spend(code)
  }

  /** All codes live equally long, so insertion order is the order of expiry. */
  #sweep(nowMs: number): void {
    for (const { code, expiresAtMs } of this.#byCode.values()) {
      if (expiresAtMs > nowMs) return
      this.#byCode.delete(code)
    }
  }
}
