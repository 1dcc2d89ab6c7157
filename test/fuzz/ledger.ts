/**
 * The grants that have to be served, by what was answered: made of tokens that the provider has given out, not deleted,
 * and not ended over there. What may be either way is left out.
 */
import type { SandboxDriver } from '../../sandbox/driver.ts'
import { demand } from './violation.ts'
import type { Answer } from './wire.ts'

export class Ledger {
  readonly #kept = new Set<string>()
  /** Since `mark` was called. */
  #fresh = new Set<string>()

  get size(): number {
    return this.#kept.size
  }

  keep(guid: string): void {
    this.#kept.add(guid)
    this.#fresh.add(guid)
  }

  forget(guid: string): void {
    this.#kept.delete(guid)
    this.#fresh.delete(guid)
  }

  has(guid: string): boolean {
    return this.#kept.has(guid)
  }

  mark(): void {
    this.#fresh = new Set()
  }

  all(): string[] {
    return [...this.#kept]
  }

  fresh(): string[] {
    return [...this.#fresh]
  }
}

/** A token that has to be renewed waits for a provider that has failed a moment ago to be trusted again. */
const PATIENCE_MS = 25_000
const AGAIN_AFTER_MS = 200

/** Throws `Violation` where one of them is not served with a token that the provider takes. */
export async function checkServed(
  guids: readonly string[],
  read: (guid: string) => Promise<Answer>,
  sandbox: SandboxDriver,
): Promise<void> {
  for (const guid of guids) {
    const untilMs = Date.now() + PATIENCE_MS
    let answer = await read(guid)
    while ([502, 503].includes(answer.status) && Date.now() < untilMs) {
      await new Promise(resolve => setTimeout(resolve, AGAIN_AFTER_MS))
      answer = await read(guid)
    }
    demand(answer.status === 200, () => `the grant ${guid} is lost: ${answer.status} ${answer.body}`)
    const { status } = await sandbox.me(JSON.parse(answer.body).access_token)
    demand(status === 200, () => `the grant ${guid} is served with a token that the provider refuses: ${status}`)
  }
}
