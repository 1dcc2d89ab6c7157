import type { RecordUnreadable, UnreadableReason } from '../ports/store.ts'

/** Records that do not open for the same reason. */
export interface Unreadables {
  readonly reason: UnreadableReason
  /** The key that they say they are sealed with; null: they do not say. */
  readonly keyId: string | null
  readonly count: number
  /** What some of them are called, at most `MOST_NAMES`. */
  readonly names: readonly string[]
}

/** Enough to go and look, and no more than fits on a screen. */
const MOST_NAMES = 5

/** What one walk over all sealed texts has found and done. */
export class Tally {
  resealed = 0
  /** They were sealed with the key that seals now. */
  already = 0
  /** They changed between being read and being written: what stands there now was not looked at. */
  overtaken = 0
  readonly #needed = new Map<string, number>()
  readonly #unreadable = new Map<string, { first: RecordUnreadable; count: number; names: string[] }>()

  get looked(): number {
    return this.resealed + this.already + this.overtaken + this.unreadableCount
  }

  get unreadableCount(): number {
    return [...this.#unreadable.values()].reduce((sum, { count }) => sum + count, 0)
  }

  /** Nothing was to be done: all texts are sealed with the key that seals now, but those that do not open. */
  get isSettled(): boolean {
    return this.resealed === 0 && this.overtaken === 0
  }

  /** A text says that it is sealed with these keys. */
  needs(keyIds: Iterable<string>): void {
    for (const id of keyIds) this.#needed.set(id, this.neededBy(id) + 1)
  }

  /** How many texts say that they are sealed with this key, as the walk found them. */
  neededBy(keyId: string): number {
    return this.#needed.get(keyId) ?? 0
  }

  doesNotOpen(error: RecordUnreadable, name: string): void {
    const kind = `${error.reason} ${error.keyId}`
    const same = this.#unreadable.get(kind) ?? { first: error, count: 0, names: [] }
    same.count += 1
    if (same.names.length < MOST_NAMES && !same.names.includes(name)) same.names.push(name)
    this.#unreadable.set(kind, same)
  }

  get unreadable(): readonly Unreadables[] {
    return [...this.#unreadable.values()].map(({ first: { reason, keyId }, count, names }) => {
      return { reason, keyId, count, names }
    })
  }
}
