/** Ends one pair at the provider, which ignores the revocation of a pair whose access token has expired (before Doorkeeper 5.8.1). */
import type { TokenPair } from '../ports/records.ts'
import { Secret } from '../ports/secret.ts'
import type { BrokerContext } from './context.ts'
import { lifetimeMs, mustWait } from './policy.ts'

/** A token that lives no longer than this may be dead by the time the provider looks at it. */
export const REVOCABLE_LIFE_MS = 2_000
const TOKEN_BYTES = 32

export interface EndablePair {
  readonly pair: TokenPair
  readonly accessTokenExpiresAtMs: number
}

/**
 * What a protected resource said to an access token. `accepted`: its predecessor is dead. `refused`: the token itself is. `missing`:
 * there is no such resource, or it accepts any token. `failed`: it may work later.
 */
export type Use = 'accepted' | 'refused' | 'missing' | 'failed'

/**
 * `ended`: the pair is dead. `isCertain` false: its refresh token was spent, and there was no way to use the pair that this brought, so a
 * provider that rotates on use may keep it. `expired`: only spending its refresh token could end it. `failed`: `left` may be alive, try
 * later. That is the pair itself, or the one that its refresh token was spent for, or both.
 */
export type PairEnd =
  | { readonly kind: 'ended'; readonly isCertain: boolean }
  | { readonly kind: 'expired' }
  | { readonly kind: 'failed'; readonly left: readonly EndablePair[] }

export interface PairEnding {
  /**
   * Revokes the pair. `maySpend`: where the access token has expired, its refresh token may be spent to bring it to life first.
   * Never allowed for a predecessor of a pair in use: a provider that detects reuse would end the whole authorization.
   */
  end(pair: EndablePair, maySpend: boolean): Promise<PairEnd>
  /** Uses an access token once. */
  use(accessToken: Secret): Promise<Use>
}

/** How long a resource that is not there is not asked for again. */
const RESOURCE_MISSING_MS = 3_600_000
/** One that hangs must not take a provider slot each time. */
const RESOURCE_FAILS_MS = 1_000
/** How long a resource that has refused a made-up token is believed. */
const RESOURCE_PROVED_MS = 3_600_000

export function createPairEnding(context: BrokerContext): PairEnding {
  const { clock, policy, provider, slots } = context
  let resourceMissingUntilMs = 0
  let resourceFailsUntilMs = 0
  let resourceProvedUntilMs = 0

  async function use(accessToken: Secret): Promise<Use> {
    if (mustWait(resourceMissingUntilMs, RESOURCE_MISSING_MS, clock.now())) return 'missing'
    if (mustWait(resourceFailsUntilMs, RESOURCE_FAILS_MS, clock.now())) return 'failed'
    const use = await present(accessToken)
    if (use !== 'accepted' || mustWait(resourceProvedUntilMs, RESOURCE_PROVED_MS, clock.now())) return use
    // A page that anyone may read, or a proxy's, accepts whatever it is shown. Then nothing was used.
    const madeUp = await present(new Secret(context.random.token(TOKEN_BYTES)))
    if (madeUp === 'accepted') return isMissing()
    if (madeUp === 'refused') resourceProvedUntilMs = clock.now() + RESOURCE_PROVED_MS
    return madeUp === 'refused' ? use : madeUp
  }

  async function present(accessToken: Secret): Promise<Use> {
    const presented = await slots.run('background', () => provider.present(accessToken))
    if (presented.kind === 'ok') return presented.value ? 'accepted' : 'refused'
    if (presented.kind !== 'refused') {
      resourceFailsUntilMs = clock.now() + RESOURCE_FAILS_MS
      return 'failed'
    }
    return isMissing()
  }

  function isMissing(): Use {
    resourceMissingUntilMs = clock.now() + RESOURCE_MISSING_MS
    return 'missing'
  }

  async function end(from: EndablePair, maySpend: boolean): Promise<PairEnd> {
    const { pair, accessTokenExpiresAtMs } = from
    if (accessTokenExpiresAtMs - clock.now() >= REVOCABLE_LIFE_MS) {
      const revoked = await slots.run('background', () => provider.revoke(pair.refreshToken))
      // The request may have waited, or this process slept: then the provider has ignored it.
      if (revoked.kind === 'ok' && accessTokenExpiresAtMs > clock.now()) return { kind: 'ended', isCertain: true }
      // `refused`: the provider does not know the pair as ours. Only its refresh token can tell whether it is alive.
      if (revoked.kind !== 'ok' && revoked.kind !== 'refused') return { kind: 'failed', left: [from] }
    }
    return maySpend ? await spend(from) : { kind: 'expired' }
  }

  async function spend(from: EndablePair): Promise<PairEnd> {
    const sentAtMs = clock.now()
    const refreshed = await slots.run('background', () => provider.refresh(from.pair.refreshToken))
    if (refreshed.kind === 'rejected') return { kind: 'ended', isCertain: true }
    if (refreshed.kind !== 'ok') return { kind: 'failed', left: [from] }
    const { pair } = refreshed.value
    const brought = { pair, accessTokenExpiresAtMs: sentAtMs + lifetimeMs(policy, refreshed.value) }
    // A provider that rotates on use keeps the spent pair until its successor is used.
    const used = await use(pair.accessToken)
    const revoked = await slots.run('background', () => provider.revoke(pair.refreshToken))
    const left = [
      ...(used === 'failed' ? [from] : []),
      ...(revoked.kind === 'ok' && brought.accessTokenExpiresAtMs > clock.now() ? [] : [brought]),
    ]
    return left.length > 0 ? { kind: 'failed', left } : { kind: 'ended', isCertain: used === 'accepted' }
  }

  return { end, use }
}
