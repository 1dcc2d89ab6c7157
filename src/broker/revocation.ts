import { askedToWaitSeconds, type Failure } from '../ports/provider.ts'
import type { Grant } from '../ports/records.ts'
import { type BrokerContext, change, existing, keep, problemOf, watch, within } from './context.ts'
import type { Discards } from './discards.ts'
import { failed, importableFingerprints, isHeld, revoking } from './grant.ts'
import type { Grants } from './grants.ts'
import type { Leftovers } from './leftovers.ts'
import { REVOCABLE_LIFE_MS } from './pair-ending.ts'
import { retryAtMs } from './policy.ts'
import type { Recent } from './recent.ts'
import type { Renewals } from './renewal.ts'

export interface Revocations {
  /** From the moment this has written, the grant is served to nobody. null: the provider has confirmed, it is gone. */
  revoke(guid: string): Promise<Grant | null>
  /** Goes on with a revocation that was begun. null: done. */
  pursue(guid: string): Promise<Grant | null>
}

/** Where tokens live for no longer than a request takes, more renewals would not help. */
const MOST_RENEWALS = 2

export function createRevocations(
  context: BrokerContext,
  renewals: Renewals,
  grants: Grants,
  discards: Discards,
  leftovers: Leftovers,
  recent: Recent,
): Revocations {
  const { clock, events, policy, provider, slots } = context
  const store = context.stores.grants
  const underWay = new Map<string, Promise<Grant | null>>()

  async function revoke(guid: string): Promise<Grant | null> {
    const stored = await change(store, guid, grant => {
      if (grant === null || grant.status === 'revoking') return keep
      return revoking(grant, clock.now())
    })
    if (stored === null) return existing(null, guid)
    events.emit({ type: 'grant.revoking', guid, version: stored.record.version })
    // It goes on when nobody waits for it any more, and the schedule has it too.
    const end = await within(context, clock.now() + policy.leaseMs, async () => ({ left: await pursue(guid) }))
    return end === null ? stored.record : end.left
  }

  function pursue(guid: string): Promise<Grant | null> {
    const running = underWay.get(guid)
    if (running !== undefined) return running
    const work = once(guid).finally(() => underWay.delete(guid))
    underWay.set(guid, work)
    return work
  }

  async function once(guid: string): Promise<Grant | null> {
    const before = (await store.read(guid))?.record ?? null
    await renewals
      .underWay(guid)?.()
      .catch(() => {})
    let renewed = 0
    for (;;) {
      const stored = await store.read(guid)
      // Somebody else has brought it to its end, maybe by an `invalid_grant`: its name is free all the same.
      if (stored === null && before?.status === 'revoking') return await gone(before)
      if (stored === null) return null
      const grant = stored.record
      if (grant.status !== 'revoking') return await replaced(grant)

      // Another replica is refreshing it: what that brings has to be revoked as well.
      if (isHeld(grant, clock.now())) {
        await watch(context, store, guid, grant.attempt?.leaseUntilMs ?? 0, now => now?.attempt == null)
        continue
      }
      // This process may be ending what it has left behind.
      await leftovers.doneWith(guid)
      // Every pair of the grant has to be dead before it is gone, those that it has left behind first.
      if (grant.leftovers !== undefined) {
        if (await leftovers.endAll(grant)) continue
        const left = await putOff(grant, 'provider_unavailable', nextTry(grant, null))
        if (left?.status === 'revoking') return left
        continue
      }

      // The provider ignores the revocation of a refresh token whose access token has expired: renew first.
      const isTooOld = grant.accessTokenExpiresAtMs - clock.now() < REVOCABLE_LIFE_MS
      if (isTooOld && renewed < MOST_RENEWALS) {
        renewed += 1
        const result = await renewals.renew(grant, 'background', stored)
        if (result.kind === 'current') continue
        if (result.kind === 'gone') return await gone(grant)
        return (await store.read(guid))?.record ?? (await gone(grant))
      }

      const outcome = await slots.run('background', () => provider.revoke(grant.pair.refreshToken))
      // The provider does not know the pair as ours: a refresh tells whether it is alive, and an `invalid_grant` ends the grant.
      if (outcome.kind === 'refused' && renewed < MOST_RENEWALS) {
        renewed += 1
        const result = await renewals.renew(grant, 'background', stored)
        if (result.kind === 'current') continue
        if (result.kind === 'gone') return await gone(grant)
      }
      if (outcome.kind !== 'ok') {
        const left = await putOff(grant, problemOf(outcome, 'a revocation').code, nextTry(grant, outcome))
        if (left?.status === 'revoking') return left
        continue
      }
      // The request may have waited, or this process slept: then the provider has ignored it.
      if (grant.accessTokenExpiresAtMs <= clock.now() && renewed < MOST_RENEWALS) continue
      // Pairs that no grant has, such as that of a race's loser, are being revoked: they belong to this person too.
      await discards.doneWith(guid)
      const removed = await store.write(guid, stored.revision, null, { retires: importableFingerprints(grant) })
      if (!removed.ok) continue
      events.emit({ type: 'grant.revoked', guid, version: grant.version })
      return await gone(grant)
    }
  }

  /** The person has authorized again meanwhile. What was to be revoked is a leftover of the new grant, which stays. */
  async function replaced(standing: Grant): Promise<Grant | null> {
    await leftovers.doneWith(standing.guid)
    return (await leftovers.endReplaced(standing)) ? null : standing
  }

  /** `failure` null: the provider did not end what the grant has left behind. */
  function nextTry({ accessTokenExpiresAtMs, lastError }: Grant, failure: Failure | null): number {
    const retryAfterMs = (failure === null ? 0 : (askedToWaitSeconds(failure) ?? 0)) * 1000
    const attempts = (lastError?.attempts ?? 0) + 1
    const fraction = context.random.fraction()
    return retryAtMs({ nowMs: clock.now(), attempts, retryAfterMs, accessTokenExpiresAtMs, fraction })
  }

  async function putOff(grant: Grant, code: Parameters<typeof failed>[1]['code'], retryMs: number) {
    const stored = await change(store, grant.guid, current => {
      if (current === null || current.status !== 'revoking' || current.version !== grant.version) return keep
      return failed(current, { code, retryAtMs: retryMs, perhapsSpent: false }, clock.now())
    })
    return stored?.record ?? null
  }

  async function gone(grant: Grant): Promise<null> {
    recent.forget(grant)
    await grants.forgetUsername(grant)
    return null
  }

  return { revoke, pursue }
}
