/** Error codes with the sentences that Doorkeeper 5.5 sends for them (its `config/locales/en.yml`). */
const DESCRIPTIONS = {
  invalid_request:
    'The request is missing a required parameter, includes an unsupported parameter value, or is otherwise malformed.',
  invalid_client:
    'Client authentication failed due to unknown client, no client authentication included, ' +
    'or unsupported authentication method.',
  invalid_grant:
    'The provided authorization grant is invalid, expired, revoked, does not match the redirection URI ' +
    'used in the authorization request, or was issued to another client.',
  invalid_scope: 'The requested scope is invalid, unknown, or malformed.',
  unsupported_grant_type: 'The authorization grant type is not supported by the authorization server.',
  unsupported_response_type: 'The authorization server does not support this response type.',
  invalid_redirect_uri: "The requested redirect uri is malformed or doesn't match client redirect URI.",
  invalid_code_challenge_method: 'The code challenge method must be S256.',
  access_denied: 'The resource owner or authorization server denied the request.',
  unauthorized_client: 'You are not authorized to revoke this token',
} as const

export type OAuthErrorCode = keyof typeof DESCRIPTIONS

/** A refusal in OAuth's words. How it travels (status, page or JSON) is the HTTP side's business. */
export class OAuthError extends Error {
  override readonly name = 'OAuthError'
  readonly code: OAuthErrorCode

  constructor(code: OAuthErrorCode, description: string = DESCRIPTIONS[code]) {
    super(description)
    this.code = code
  }
}

/** Lets a request's validation read as what it is: a list of conditions, in order, each with the error it leads to. */
export function demand(holds: unknown, code: OAuthErrorCode): asserts holds {
  if (!holds) throw new OAuthError(code)
}

export function demandParameter(value: string | undefined, name: string): asserts value is string {
  if (value === undefined) throw new OAuthError('invalid_request', `Missing required parameter: ${name}.`)
}
