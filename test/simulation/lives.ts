/**
 * The lives of all grants, from the store's own history: a life begins with the first write under a guid, and ends when the
 * record is removed. Checks at each write that a version names one pair, and that a deleted grant stays deleted.
 */
import type { Row } from './provider-model.ts'

export interface Moment {
  readonly step: number
  readonly atMs: number
}

interface Life {
  readonly guid: string
  /** Pairs that stood in it, each once. */
  readonly rows: Set<Row>
  readonly rowOf: Map<number, Row>
  readonly versionOf: Map<Row, number>
  /** null: it goes on. */
  removedAt: Moment | null
}

export class Lives {
  readonly #lives = new Map<string, Life[]>()
  /** The life in which an authorization first stood, by the pair that it brought. */
  readonly #lifeOf = new Map<Row, Life>()

  /** Returns what is wrong with this write; null: nothing. `row`: the pair that stands after it; null: the record is removed. */
  written(guid: string, { row, version, wasRevoking, isRevoking }: Write, isNew: boolean, now: Moment): string | null {
    const lives = this.#lives.get(guid) ?? []
    this.#lives.set(guid, lives)
    if (row === null) {
      const last = lives.at(-1)
      if (last !== undefined) last.removedAt = now
      return null
    }
    if (isNew) lives.push({ guid, rows: new Set(), rowOf: new Map(), versionOf: new Map(), removedAt: null })
    const life = lives.at(-1)
    if (life === undefined) return `${guid} was written before it was made`
    const lifeOf = this.#lifeOf.get(row.root)
    if (lifeOf === undefined) this.#lifeOf.set(row.root, life)
    else if (lifeOf !== life) return `${guid} was deleted, and stands again with pair ${row.id} of that life`
    const isUndone = wasRevoking && !isRevoking && lifeOf === life
    if (isUndone) return `the deletion of ${guid} was called off by pair ${row.id}, which was being deleted`
    return this.#names(life, row, version)
  }

  /** A fail-over has lost this version: it may name another pair now. */
  forgotten(guid: string, version: number): void {
    const life = this.#lives.get(guid)?.at(-1)
    const row = life?.rowOf.get(version)
    if (life === undefined || row === undefined) return
    life.rowOf.delete(version)
    life.versionOf.delete(row)
    life.rows.delete(row)
    // Its authorization may come again, as by an import.
    if (![...life.rows].some(({ root }) => root === row.root)) this.#lifeOf.delete(row.root)
  }

  /** The pair that a version names in the life that goes on; undefined: none. */
  rowOf(guid: string, version: number): Row | undefined {
    const life = this.#lives.get(guid)?.at(-1)
    return life?.removedAt === null ? life.rowOf.get(version) : undefined
  }

  /** When the life ended in which this pair, or one of its chain, stood; null: it goes on, or there was none. */
  removedAt(row: Row): Moment | null {
    const life = this.#lives.get(row.guid)?.find(({ rows }) => [...rows].some(({ root }) => root === row.root))
    return life?.removedAt ?? null
  }

  /** Whether a life of this guid was ended by a deletion. */
  hasBeenDeleted(guid: string): boolean {
    return this.#lives.get(guid)?.some(({ removedAt }) => removedAt !== null) ?? false
  }

  /** Pairs of the last authorization of the life that ended last, with their predecessors; empty: none has ended. */
  deletedChain(guid: string): readonly Row[] {
    const life = this.#lives.get(guid)?.findLast(({ removedAt }) => removedAt !== null)
    const last = [...(life?.rows ?? [])].at(-1)
    if (life === undefined || last === undefined) return []
    return [...life.rows].filter(({ root }) => root === last.root)
  }

  endOfLastLife(guid: string): Moment | null {
    return this.#lives.get(guid)?.findLast(({ removedAt }) => removedAt !== null)?.removedAt ?? null
  }

  #names(life: Life, row: Row, version: number): string | null {
    const { guid, rowOf, rows, versionOf } = life
    const other = rowOf.get(version)
    if (other !== undefined && other !== row)
      return `version ${version} of ${guid} names pair ${other.id}, and then pair ${row.id}`
    const before = versionOf.get(row)
    if (before !== undefined && before !== version)
      return `pair ${row.id} of ${guid} is version ${before}, and then version ${version}`
    rows.add(row)
    rowOf.set(version, row)
    versionOf.set(row, version)
    return null
  }
}

interface Write {
  readonly row: Row | null
  readonly version: number
  readonly wasRevoking: boolean
  readonly isRevoking: boolean
}
