/**
 * Every problem the gateway can answer (RFC 9457), in one table. Routes document themselves from it, the broker
 * throws from it, and a test holds it against the contract. `ProblemCode` is what a client may switch on.
 */
export const PROBLEMS = {
  validation_failed: { status: 400, title: 'The request does not fit the schema' },
  redirect_uri_not_allowed: { status: 400, title: 'This redirect_uri is not configured' },
  scope_not_allowed: { status: 400, title: 'This scope is not configured' },
  return_to_not_allowed: { status: 400, title: 'This return_to is not configured' },
  state_invalid: { status: 400, title: 'The state is unknown, used or expired' },
  authorization_code_rejected: { status: 400, title: 'HealthTap refused the authorization code' },
  unauthorized: { status: 401, title: 'No valid API key' },
  forbidden: { status: 403, title: 'The caller lacks a permission' },
  access_denied: { status: 403, title: 'The person chose Deny' },
  grant_not_found: { status: 404, title: 'No such grant' },
  authorization_not_found: { status: 404, title: 'No such authorization' },
  not_found: { status: 404, title: 'No such route' },
  reauthorization_required: { status: 409, title: 'The person has to authorize again' },
  username_taken: { status: 409, title: 'This username is taken' },
  provisioning_in_doubt: { status: 409, title: 'It is not known whether this user was made' },
  guid_mismatch: { status: 409, title: 'Somebody else came back' },
  pair_superseded: { status: 409, title: 'These tokens were replaced or revoked' },
  payload_too_large: { status: 413, title: 'The body is too large' },
  unsupported_media_type: { status: 415, title: 'The body is not application/json' },
  rate_limited: { status: 429, title: 'Too many requests' },
  internal_error: { status: 500, title: 'Internal error' },
  client_misconfigured: { status: 502, title: "HealthTap refuses the gateway's credentials" },
  provider_response_invalid: { status: 502, title: 'HealthTap gave an answer that cannot be used' },
  guid_unresolved: { status: 502, title: 'HealthTap did not say whose grant this is' },
  provider_unavailable: { status: 503, title: 'HealthTap cannot be reached' },
  store_unavailable: { status: 503, title: 'The store cannot be reached' },
  outcome_unknown: { status: 504, title: 'HealthTap was asked, and its answer was lost' },
} as const satisfies Record<string, { status: number; title: string }>

export type ProblemCode = keyof typeof PROBLEMS

/** What the provider said, as far as it may be repeated: its status and its OAuth error (RFC 6749, section 5.2). */
export interface Upstream {
  readonly status?: number
  readonly error?: string
  readonly error_description?: string
}

export interface ProblemDetails {
  /** Whole seconds until asking again makes sense; absent where waiting does not help. */
  readonly retryAfterSeconds?: number
  /** Offending fields: JSON pointer into `body`, `query` or `path`, and what is wrong there. */
  readonly errors?: readonly { path: string; message: string }[]
  readonly upstream?: Upstream
}

/** An expected failure, told to the caller as it stands: nothing secret may be put into `detail`. */
export class Problem extends Error {
  override readonly name = 'Problem'
  readonly code: ProblemCode
  readonly status: number
  readonly retryAfterSeconds: number | undefined
  readonly errors: ProblemDetails['errors']
  readonly upstream: Upstream | undefined

  constructor(code: ProblemCode, detail: string, details: ProblemDetails = {}) {
    super(detail)
    this.code = code
    this.status = PROBLEMS[code].status
    this.retryAfterSeconds = details.retryAfterSeconds
    this.errors = details.errors
    this.upstream = details.upstream
  }
}
