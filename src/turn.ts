/** What comes in one turn of the event loop, for `work` to be done on together. */
export interface Turn<T> {
  put(one: T): void
  /** What came so far does not wait for the turn's end. */
  end(): void
}

/**
 * At the turn's end `work` gets what came in it, in order; as soon as there are `most`, those at once. The same code run on many
 * things in a row costs a fraction of what it costs in between other code. `work` must not throw.
 */
export function createTurn<T>(most: number, work: (all: readonly T[]) => void): Turn<T> {
  let gathered: T[] = []
  function end(): void {
    const all = gathered
    gathered = []
    if (all.length > 0) work(all)
  }
  return {
    put(one) {
      if (gathered.length === 0) setImmediate(end)
      gathered.push(one)
      if (gathered.length === most) end()
    },
    end,
  }
}
