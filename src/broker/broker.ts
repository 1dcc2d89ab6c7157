/** The domain as the routes see it: one object, one method for each thing a caller can ask for. */
import { setMaxListeners } from 'node:events'
import type { Rotation } from '../ports/journal.ts'
import { type Authorizations, createAuthorizations } from './authorizations.ts'
import { createBreaker, type Trouble } from './breaker.ts'
import { type Callbacks, createCallbacks } from './callback.ts'
import { type BrokerContext, type BrokerPorts, type ClientSettings, persist } from './context.ts'
import { createDiscards } from './discards.ts'
import { createExchanges, type Exchanges } from './exchange.ts'
import { createGrants, type Grants } from './grants.ts'
import { createLeftovers } from './leftovers.ts'
import { createLookup, type Lookup } from './lookup.ts'
import { createPairEnding } from './pair-ending.ts'
import type { RefreshPolicy } from './policy.ts'
import { createProvisionings, type Provisionings } from './provisioning.ts'
import { createRecent } from './recent.ts'
import { createRefresher } from './refresher.ts'
import { createRenewals } from './renewal.ts'
import { createRevocations, type Revocations } from './revocation.ts'
import { createTokens, type Tokens } from './tokens.ts'

export interface BrokerSettings {
  readonly policy: RefreshPolicy
  readonly client: ClientSettings
  /** How many grants the background loop works on at once. */
  readonly backgroundConcurrency: number
}

export interface Broker {
  readonly authorizations: Pick<Authorizations, 'begin' | 'read'>
  readonly callbacks: Callbacks
  readonly exchanges: Exchanges
  readonly provisionings: Provisionings
  readonly tokens: Tokens
  readonly grants: Pick<Grants, 'find' | 'read' | 'list' | 'import'>
  readonly lookup: Pick<Lookup, 'current' | 'storedOrLast'>
  readonly revocations: Pick<Revocations, 'revoke'>
  readonly policy: RefreshPolicy
  /** What keeps us from asking the provider; null: nothing. */
  trouble(): Trouble | null
  /** Stores what the journal holds from an earlier process, then begins to renew ahead of time. */
  start(): Promise<void>
  /** Renews nothing ahead of time any more; whoever asks is still served. */
  retire(): void
  /** Stops altogether, and waits for what is under way; what cannot be stored goes to the journal. */
  stop(): Promise<void>
}

export function createBroker(settings: BrokerSettings, ports: BrokerPorts): Broker {
  const closing = new AbortController()
  const retiring = new AbortController()
  // Each wait that ends with the process listens to it, and there may be as many as there are grants to store.
  setMaxListeners(0, closing.signal, retiring.signal)
  const breaker = createBreaker(ports, settings.backgroundConcurrency)
  const context: BrokerContext = {
    ...ports,
    provider: breaker.provider,
    policy: settings.policy,
    client: settings.client,
    owner: ports.random.token(12),
    closing: closing.signal,
  }
  const ending = createPairEnding(context)
  const discards = createDiscards(context, ending)
  const leftovers = createLeftovers(context, retiring.signal, ending, discards)
  const recent = createRecent(context)
  const grants = createGrants(context, discards, leftovers, recent)
  const renewals = createRenewals(context, breaker, discards, leftovers, recent)
  const authorizations = createAuthorizations(context)
  const revocations = createRevocations(context, renewals, grants, discards, leftovers, recent)
  const refresher = createRefresher(context, retiring.signal, breaker, recent, renewals, revocations)

  const lookup = createLookup(context, recent)
  const tokens = createTokens(context, renewals, lookup, leftovers)
  const exchanges = createExchanges(context, authorizations, grants, tokens, discards)
  const provisionings = createProvisionings(context, grants, tokens, discards)

  let replaying: Promise<void> = Promise.resolve()

  /** With the store away at the start: nothing is renewed ahead of time before what is known already has been stored. */
  async function replayLater(rotations: readonly Rotation[]): Promise<void> {
    for (const rotation of rotations) {
      try {
        await persist(context, () => renewals.replay(rotation))
      } catch (error) {
        // The entry stays in the journal, for the next start.
        ports.events.emit({ type: 'refresher.failed', reason: error instanceof Error ? error.name : 'unknown' })
      }
    }
    refresher.start()
  }

  return {
    authorizations,
    callbacks: createCallbacks(authorizations, exchanges, context.client.returnToOrigins),
    exchanges,
    provisionings,
    tokens,
    grants,
    lookup,
    revocations,
    policy: settings.policy,
    trouble: breaker.trouble,
    async start() {
      await ports.journal.prepare()
      const postponed: Rotation[] = []
      for (const rotation of await ports.journal.entries()) {
        // One that the store does not take is enough: a start does not wait for a store that is away.
        if (postponed.length > 0) postponed.push(rotation)
        else await renewals.replay(rotation).catch(() => postponed.push(rotation))
      }
      if (postponed.length === 0) refresher.start()
      else replaying = replayLater(postponed)
    },
    retire: () => retiring.abort(),
    async stop() {
      retiring.abort()
      closing.abort()
      await replaying
      await refresher.stopped()
      await Promise.all([exchanges.idle(), provisionings.idle(), renewals.idle()])
      await recent.verify()
      await leftovers.idle()
      await discards.idle()
    },
  }
}
