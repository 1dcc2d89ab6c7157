import { askedToWaitSeconds } from '../ports/provider.ts'
import type { Grant } from '../ports/records.ts'
import { type BrokerContext, change, existing, keep, problemOf, within } from './context.ts'
import { REVOCABLE_LIFE_MS } from './discards.ts'
import { failed, revoking } from './grant.ts'
import type { Grants } from './grants.ts'
import { retryAtMs } from './policy.ts'
import type { Renewals } from './renewal.ts'

export interface Revocations {
  /** From the moment this has written, the grant is served to nobody. null: the provider has confirmed, it is gone. */
  revoke(guid: string): Promise<Grant | null>
  /** Goes on with a revocation that was begun. null: done. */
  pursue(guid: string): Promise<Grant | null>
}

/** Where tokens live for no longer than a request takes, more renewals would not help. */
const MOST_RENEWALS = 2

export function createRevocations(context: BrokerContext, renewals: Renewals, grants: Grants): Revocations {
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
      if (stored === null || stored.record.status !== 'revoking') return null
      const grant = stored.record

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
      if (outcome.kind !== 'ok') {
        const nowMs = clock.now()
        const attempts = (grant.lastError?.attempts ?? 0) + 1
        const retryAfterMs = (askedToWaitSeconds(outcome) ?? 0) * 1000
        const fraction = context.random.fraction()
        const { accessTokenExpiresAtMs } = grant
        const retryMs = retryAtMs({ nowMs, attempts, retryAfterMs, accessTokenExpiresAtMs, fraction })
        const { code } = problemOf(outcome, 'a revocation')
        return await putOff(grant, code, retryMs)
      }
      // The request may have waited, or this process slept: then the provider has ignored it.
      if (grant.accessTokenExpiresAtMs <= clock.now() && renewed < MOST_RENEWALS) continue
      const removed = await store.write(guid, stored.revision, null)
      if (!removed.ok) continue
      events.emit({ type: 'grant.revoked', guid, version: grant.version })
      return await gone(grant)
    }
  }

  async function putOff(grant: Grant, code: Parameters<typeof failed>[1]['code'], retryMs: number) {
    const stored = await change(store, grant.guid, current => {
      if (current === null || current.status !== 'revoking' || current.version !== grant.version) return keep
      return failed(current, { code, retryAtMs: retryMs, perhapsSpent: false }, clock.now())
    })
    return stored?.record ?? null
  }

  async function gone(grant: Grant): Promise<null> {
    await grants.forgetUsername(grant)
    return null
  }

  return { revoke, pursue }
}
