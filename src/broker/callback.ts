/** The hosted callback: HealthTap sends the person's browser back to the gateway itself (RFC 6749, section 4.1.2). */
import { Problem, type ProblemCode } from '../errors.ts'
import type { Authorization, Grant } from '../ports/records.ts'
import type { Secret } from '../ports/secret.ts'
import { type Authorizations, isReturnAllowed } from './authorizations.ts'
import type { Exchanges } from './exchange.ts'

export interface CallbackRequest {
  readonly state: string
  /** Either a code or an error; where both come, the error counts. */
  readonly code: Secret | null
  readonly error: string | null
}

export interface CallbackResult {
  /** null: connected. */
  readonly problem: Problem | null
  /** Who is connected; null: nobody. */
  readonly grant: Grant | null
  /** Where the browser goes on to, with the `state` in it; null: nowhere, it is shown a page. */
  readonly returnTo: string | null
}

export interface Callbacks {
  /**
   * Throws `state_invalid`; and what is passing (`provider_unavailable`, `client_misconfigured`, `store_unavailable`),
   * where the very same request may succeed later.
   */
  complete(request: CallbackRequest): Promise<CallbackResult>
}

/** RFC 6749, section 4.1.2.1. Anything else is not repeated. */
const KNOWN_ERRORS = [
  'access_denied',
  'invalid_request',
  'invalid_scope',
  'server_error',
  'temporarily_unavailable',
  'unauthorized_client',
  'unsupported_response_type',
]
const PASSING: readonly ProblemCode[] = ['provider_unavailable', 'client_misconfigured', 'store_unavailable']

/** `returnToOrigins`: as they are configured now, which counts, and not what was allowed when the authorization was begun. */
export function createCallbacks(
  authorizations: Authorizations,
  exchanges: Exchanges,
  returnToOrigins: readonly string[],
): Callbacks {
  async function complete({ state, code, error }: CallbackRequest): Promise<CallbackResult> {
    if (error !== null) return await refused(state, KNOWN_ERRORS.includes(error) ? error : 'server_error')
    const waiting = await authorizations.waiting(state)
    if (code === null) throw new Problem('state_invalid', 'HealthTap sent neither a code nor an error along.')
    const returnTo = wayBack(waiting)
    try {
      const { grant } = await exchanges.exchange({ code, redirectUri: waiting.redirectUri, state })
      return { problem: null, grant, returnTo }
    } catch (failure) {
      const isDefinite =
        failure instanceof Problem && failure.code !== 'state_invalid' && !PASSING.includes(failure.code)
      if (!isDefinite) throw failure
      await authorizations.conclude(state, { error: failure.code })
      return { problem: failure, grant: null, returnTo }
    }
  }

  async function refused(state: string, error: string): Promise<CallbackResult> {
    const authorization = await authorizations.refuse(state, error)
    const problem =
      error === 'access_denied'
        ? new Problem('access_denied', 'The person chose Deny at HealthTap.')
        : new Problem('provider_response_invalid', 'HealthTap could not ask the person.', { upstream: { error } })
    return { problem, grant: null, returnTo: wayBack(authorization) }
  }

  function wayBack({ returnTo: kept, state }: Pick<Authorization, 'returnTo' | 'state'>): string | null {
    const returnTo = kept?.reveal() ?? null
    return returnTo !== null && isReturnAllowed(returnToOrigins, returnTo) ? withState(returnTo, state) : null
  }

  return { complete }
}

function withState(returnTo: string, state: string): string {
  const url = new URL(returnTo)
  url.searchParams.set('state', state)
  return url.href
}
