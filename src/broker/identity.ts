import type { Upstream } from '../errors.ts'
import type { TokenAnswer } from '../ports/provider.ts'
import type { BrokerContext } from './context.ts'

export interface Resolved {
  /** null: nobody says. */
  readonly guid: string | null
  /** Why the identity URL did not help; null: it was not needed, or simply did not say. */
  readonly upstream: Upstream | null
}

const TRIES = 3
const RETRY_MS = 250

/** Whose tokens these are: as the answer says, else as the identity URL says, else as the caller says. */
export async function resolveGuid(
  context: BrokerContext,
  answer: TokenAnswer,
  callersGuid: string | null,
): Promise<Resolved> {
  if (answer.guid !== null) return { guid: answer.guid, upstream: null }
  for (let tries = 1; ; tries += 1) {
    const identity = await context.slots.run('reader', () => context.provider.identify(answer.pair.accessToken))
    if (identity.kind === 'ok') return { guid: identity.value ?? callersGuid, upstream: null }
    const isPassing = identity.kind === 'unavailable' || identity.kind === 'unknown'
    if (!isPassing || tries === TRIES) return { guid: callersGuid, upstream: identity.upstream }
    await context.clock.sleep(RETRY_MS, context.closing)
  }
}
