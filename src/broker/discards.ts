import type { TokenPair } from '../ports/records.ts'
import type { BrokerContext } from './context.ts'
import { lifetimeMs } from './policy.ts'

/** Revokes pairs that nobody needs any more: replaced by a new authorization, or brought by the loser of a race. */
export interface Discards {
  /** Begins, and returns at once: nothing that the gateway serves depends on it. */
  discard(guid: string, pair: TokenPair, accessTokenExpiresAtMs: number): void
  /** The same for a pair that somebody else may have refreshed, or be refreshing: its refresh token is not spent for it. */
  discardUnspent(guid: string, pair: TokenPair, accessTokenExpiresAtMs: number): void
  idle(): Promise<void>
}

/** A token that lives no longer than this may be dead by the time the provider looks at it. */
export const REVOCABLE_LIFE_MS = 2_000
const TRIES = 5
const RETRY_FIRST_MS = 1_000

export function createDiscards(context: BrokerContext): Discards {
  const { clock, events, policy, provider, slots } = context
  const underWay = new Set<Promise<void>>()

  async function pursue(
    guid: string,
    pair: TokenPair,
    accessTokenExpiresAtMs: number,
    maySpend: boolean,
  ): Promise<void> {
    let current = pair
    let expiresAtMs = accessTokenExpiresAtMs
    for (let tries = 0; tries < TRIES && !context.closing.aborted; tries += 1) {
      if (tries > 0) await clock.sleep(RETRY_FIRST_MS * 2 ** (tries - 1), context.closing)
      // The provider ignores the revocation of a refresh token whose access token has expired: bring it to life first.
      if (expiresAtMs - clock.now() < REVOCABLE_LIFE_MS) {
        if (!maySpend) break
        const sentAtMs = clock.now()
        const refreshed = await slots.run('background', () => provider.refresh(current.refreshToken))
        if (refreshed.kind === 'rejected') return confirm(guid, true)
        if (refreshed.kind !== 'ok') continue
        current = refreshed.value.pair
        expiresAtMs = sentAtMs + lifetimeMs(policy, refreshed.value)
      }
      const revoked = await slots.run('background', () => provider.revoke(current.refreshToken))
      // It may have waited, or this process slept: then the provider has ignored it.
      if (revoked.kind === 'ok' && expiresAtMs > clock.now()) return confirm(guid, true)
    }
    confirm(guid, false)
  }

  function confirm(guid: string, confirmed: boolean): void {
    events.emit({ type: 'pair.revoked', guid, confirmed })
  }

  function begin(guid: string, pair: TokenPair, accessTokenExpiresAtMs: number, maySpend: boolean): void {
    const work = pursue(guid, pair, accessTokenExpiresAtMs, maySpend).finally(() => underWay.delete(work))
    underWay.add(work)
  }

  return {
    discard: (guid, pair, accessTokenExpiresAtMs) => begin(guid, pair, accessTokenExpiresAtMs, true),
    discardUnspent: (guid, pair, accessTokenExpiresAtMs) => begin(guid, pair, accessTokenExpiresAtMs, false),
    async idle() {
      while (underWay.size > 0) await Promise.allSettled(underWay)
    },
  }
}
