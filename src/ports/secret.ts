import { inspect } from 'node:util'

/**
 * A string that must not be shown: logs, errors, JSON and templates get `[redacted]`. `reveal()` is the one way to the
 * value, so every place that lets a secret out can be found by that word.
 */
export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
  }

  reveal(): string {
    return this.#value
  }

  equals(other: Secret): boolean {
    return this.#value === other.#value
  }

  toString(): string {
    return '[redacted]'
  }

  toJSON(): string {
    return '[redacted]'
  }

  [inspect.custom](): string {
    return '[redacted]'
  }
}
