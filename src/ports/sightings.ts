import type { Grant } from './records.ts'

/** What this process has seen of grants and keeps in memory, so that reading a token need not ask the store each time. */
export interface Sightings {
  /**
   * The grant as it stands, as far as can be known without asking: seen a moment ago, with nobody at work on it, and not
   * changed since by anybody whose word has come. undefined: ask the store.
   */
  current(guid: string): Grant | undefined
  /** As it stood when it was seen last, as long as its access token lives: for when the store is away. undefined: not seen. */
  last(guid: string): Grant | undefined
  /** How many could be answered by `last`. */
  count(): number
}

/** Where the store is as near as memory. */
export const noSightings: Sightings = {
  current: () => undefined,
  last: () => undefined,
  count: () => 0,
}
