import type { Settings } from '../settings.ts'
import { demand, demandParameter } from './oauth-error.ts'
import { parseScope } from './provider.ts'

/** An authorization request that was found good. @see RFC 6749, section 4.1.1; RFC 7636, section 4.3 */
export interface AuthorizationRequest {
  readonly clientId: string
  readonly redirectUri: string
  readonly scopes: readonly string[]
  readonly state: string | undefined
  readonly codeChallenge: string | undefined
}

/**
 * Throws the error that the person gets to see. None of them is redirected, not even those that RFC 6749, section
 * 4.1.2.1, would send back to the client: that is Doorkeeper's default.
 */
export function approveAuthorization(
  parameter: (name: string) => string | undefined,
  settings: Settings,
): AuthorizationRequest {
  const clientId = parameter('client_id')
  const redirectUri = parameter('redirect_uri')
  const responseType = parameter('response_type')
  const scope = parameter('scope')
  const codeChallenge = parameter('code_challenge')

  demandParameter(clientId, 'client_id')
  demand(clientId === settings.appId, 'invalid_client')
  demand(redirectUri !== undefined && settings.redirectUris.includes(redirectUri), 'invalid_redirect_uri')
  demandParameter(responseType, 'response_type')
  demandParameter(scope, 'scope')
  demand(responseType === 'code', 'unsupported_response_type')
  const scopes = parseScope(scope)
  demand(scopes.length > 0 && scopes.every(wanted => settings.scopes.includes(wanted)), 'invalid_scope')
  if (settings.pkce && codeChallenge !== undefined) {
    demand(parameter('code_challenge_method') === 'S256', 'invalid_code_challenge_method')
  }
  return { clientId, redirectUri, scopes, state: parameter('state'), codeChallenge }
}
