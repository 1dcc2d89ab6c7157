/** A grant as it stands, for whoever is going to answer of it; and as it was seen last, while the store is away. */
import type { Grant } from '../ports/records.ts'
import { type Stored, StoreUnavailable } from '../ports/store.ts'
import { type BrokerContext, within } from './context.ts'
import type { Recent } from './recent.ts'

export interface Lookup {
  /** From memory, if that is known to be how it stands; undefined: ask. */
  current(guid: string): Grant | undefined
  /** As the store has it; null: nothing stands there. Throws `StoreUnavailable`. */
  stored(guid: string): Promise<Grant | null>
  /** The same; while the store is away as it was seen last, since whoever would change it needs the store as well. */
  storedOrLast(guid: string): Promise<Grant | null>
  /** The same of many, asked for together: a promise for each, in the same order, all of which are to be waited for. */
  manyOrLast(guids: readonly string[]): readonly Promise<Grant | null>[]
}

/** How long a store that was found away is waited for, where the grant is in memory … */
const PATIENCE_MS = 100
/** … and for how long it counts as away then, if nobody finds otherwise. */
const AWAY_FOR_MS = 10_000

export function createLookup(context: BrokerContext, recent: Recent): Lookup {
  const { clock } = context
  const { grants, sightings } = context.stores
  let awayUntilMs = 0

  async function mended(guid: string, read: Promise<Stored<Grant> | null>): Promise<Grant | null> {
    return await recent.mended(guid, (await read)?.record ?? null)
  }

  /** A store that hangs lets each call wait for seconds: those that come next do not wait as long. */
  function noteIfAway(error: unknown): never {
    awayUntilMs = error instanceof StoreUnavailable ? clock.now() + AWAY_FOR_MS : 0
    throw error
  }

  function noteThatItAnswers(grant: Grant | null): Grant | null {
    awayUntilMs = 0
    return grant
  }

  async function orLast(guid: string, read: Promise<Stored<Grant> | null>): Promise<Grant | null> {
    const found = mended(guid, read).then(noteThatItAnswers, noteIfAway)
    if (sightings.last(guid) === undefined) return await found
    const isAway = clock.now() < awayUntilMs
    const answer = found.then(only)
    const inTime = isAway ? within(context, clock.now() + PATIENCE_MS, () => answer) : answer
    const heard = await inTime.catch(unlessAway)
    if (heard !== null) return heard.grant
    // A word may have come meanwhile that it is not so any more.
    return sightings.last(guid) ?? (await found)
  }

  return {
    current: sightings.current,
    stored: guid => mended(guid, grants.read(guid)),
    storedOrLast: guid => orLast(guid, grants.read(guid)),
    manyOrLast: guids => grants.readMany(guids).map((read, index) => orLast(guids[index] ?? '', read)),
  }
}

/** So that no grant can be told from no answer. */
function only(grant: Grant | null): { readonly grant: Grant | null } {
  return { grant }
}

function unlessAway(error: unknown): null {
  if (error instanceof StoreUnavailable) return null
  throw error
}
