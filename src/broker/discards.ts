import type { TokenPair } from '../ports/records.ts'
import type { BrokerContext } from './context.ts'
import type { EndablePair, PairEnding } from './pair-ending.ts'

/** Revokes pairs that no grant has: brought by the loser of a race, or by an authorization that could not be stored. */
export interface Discards {
  /** Begins, and returns at once: nothing that the gateway serves depends on it. */
  discard(guid: string, pair: TokenPair, accessTokenExpiresAtMs: number): void
  /** The same for a pair that another replica may refresh: its refresh token is not spent for it. */
  discardUnspent(guid: string, pair: TokenPair, accessTokenExpiresAtMs: number): void
  /** Resolves when no pair of this guid is being revoked. */
  doneWith(guid: string): Promise<void>
  idle(): Promise<void>
}

const TRIES = 5
const RETRY_FIRST_MS = 1_000

export function createDiscards(context: BrokerContext, ending: PairEnding): Discards {
  const { clock, events } = context
  const underWay = new Map<Promise<void>, string>()

  async function pursue(
    guid: string,
    pair: TokenPair,
    accessTokenExpiresAtMs: number,
    maySpend: boolean,
  ): Promise<void> {
    let left: readonly EndablePair[] = [{ pair, accessTokenExpiresAtMs }]
    let isConfirmed = true
    for (let tries = 0; tries < TRIES && left.length > 0 && !context.closing.aborted; tries += 1) {
      if (tries > 0) await clock.sleep(RETRY_FIRST_MS * 2 ** (tries - 1), context.closing)
      const ends = await Promise.all(left.map(each => ending.end(each, maySpend)))
      if (ends.some(end => end.kind === 'expired' || (end.kind === 'ended' && !end.isCertain))) isConfirmed = false
      left = ends.flatMap(end => (end.kind === 'failed' ? end.left : []))
    }
    confirm(guid, isConfirmed && left.length === 0)
  }

  function confirm(guid: string, confirmed: boolean): void {
    events.emit({ type: 'pair.revoked', guid, confirmed })
  }

  function begin(guid: string, pair: TokenPair, accessTokenExpiresAtMs: number, maySpend: boolean): void {
    const work = pursue(guid, pair, accessTokenExpiresAtMs, maySpend).finally(() => underWay.delete(work))
    underWay.set(work, guid)
  }

  return {
    discard: (guid, pair, accessTokenExpiresAtMs) => begin(guid, pair, accessTokenExpiresAtMs, true),
    discardUnspent: (guid, pair, accessTokenExpiresAtMs) => begin(guid, pair, accessTokenExpiresAtMs, false),
    async doneWith(guid) {
      await Promise.allSettled([...underWay].flatMap(([work, of]) => (of === guid ? [work] : [])))
    },
    async idle() {
      while (underWay.size > 0) await Promise.allSettled(underWay.keys())
    },
  }
}
