import { appendFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type Entry, type History, historyOf } from './history.ts'

type Unnumbered<E> = E extends Entry ? Omit<E, 'line'> : never

/** Writes a history, one JSON line for each entry, in the order in which the entries became known. */
export class Recorder {
  readonly file = join(mkdtempSync(join(tmpdir(), 'htgw-history-')), 'history.jsonl')
  readonly #entries: Entry[] = []

  /** Returns the entry with the number of its line. */
  record<E extends Entry>(entry: Unnumbered<E>): E {
    const numbered = { ...entry, line: this.#entries.length + 1 } as unknown as E
    appendFileSync(this.file, `${JSON.stringify(numbered)}\n`)
    this.#entries.push(numbered)
    return numbered
  }

  get history(): History {
    return historyOf(this.#entries)
  }

  /** Removes the file: nothing in it is of interest. */
  discard(): void {
    rmSync(dirname(this.file), { recursive: true, force: true })
  }
}

/** Milliseconds since the epoch, with fractions, by a clock that never goes back. */
export const now = (): number => performance.timeOrigin + performance.now()
