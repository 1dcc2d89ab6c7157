import type { Upstream } from '../errors.ts'
import type { TokenAnswer } from '../ports/provider.ts'
import type { BrokerContext } from './context.ts'

export interface Resolved {
  /** null: nobody says. */
  readonly guid: string | null
  /** Why the identity URL did not help; null: it was not needed, or simply did not say. */
  readonly upstream: Upstream | null
}

const RETRY_FIRST_MS = 250
/** Where the caller says whose tokens these are, little is won by waiting. */
const TRIES_WITH_GUID_MS = 750

/**
 * Whose tokens these are: as the answer says, else as the identity URL says, else as the caller says. A pair without a
 * guid is lost to its person, so an identity URL that fails is asked again for half a lease, more and more seldom.
 */
export async function resolveGuid(
  context: BrokerContext,
  answer: TokenAnswer,
  callersGuid: string | null,
): Promise<Resolved> {
  if (answer.guid !== null) return { guid: answer.guid, upstream: null }
  const { clock, policy } = context
  const untilMs = clock.now() + (callersGuid === null ? policy.leaseMs / 2 : TRIES_WITH_GUID_MS)
  for (let waitMs = RETRY_FIRST_MS; ; waitMs *= 2) {
    const identity = await context.slots.run('reader', () => context.provider.identify(answer.pair.accessToken))
    if (identity.kind === 'ok') return { guid: identity.value ?? callersGuid, upstream: null }
    const isPassing = identity.kind === 'unavailable' || identity.kind === 'unknown'
    const isLast = context.closing.aborted || clock.now() + waitMs > untilMs
    if (!isPassing || isLast) return { guid: callersGuid, upstream: identity.upstream }
    await clock.sleep(waitMs, context.closing)
  }
}
