/** What goes over the wire, once: routes refer to these by `$id`, and the OpenAPI document shows them under that name. */
import { type Static, type TSchema, Type } from 'typebox'
import { PROBLEMS, type ProblemCode } from '../errors.ts'

const exampleGuid = 'f01bdaf185154a4fa694f90a334104b8'
const exampleToken = '9c5b1f0c7d0e4c1f8b7a6d5e4f3a2b1c9c5b1f0c7d0e4c1f8b7a6d5e4f3a2b1c'

/** A response or a field that is one of the schemas below, by name. */
export function ref<T extends TSchema>(schema: T & { $id?: string }) {
  return Type.Unsafe<Static<T>>({ $ref: `${schema.$id}#` })
}

/** It is a part of addresses: what a client or a proxy takes for a step in the path is none. */
export const GUID_PATTERN = '^(?!\\.{1,2}$)[A-Za-z0-9._~-]{1,128}$'

export const Guid = Type.String({
  pattern: GUID_PATTERN,
  description: 'The HealthTap user, as HealthTap names them: the key of everything the gateway knows.',
  examples: [exampleGuid],
})

export const Time = Type.String({ format: 'date-time', examples: ['2026-11-23T17:20:00Z'] })
export const TimeOrNull = Type.Union([Time, Type.Null()])
export const Scope = Type.String({
  minLength: 1,
  maxLength: 1000,
  pattern: '^[\\x21\\x23-\\x5b\\x5d-\\x7e]+( [\\x21\\x23-\\x5b\\x5d-\\x7e]+)*$',
  description: 'Scopes, separated by single spaces (RFC 6749, section 3.3).',
  examples: ['profile_read profile_write'],
})
export const RedirectUri = Type.String({
  minLength: 1,
  maxLength: 2000,
  description: 'One of `HEALTHTAP_REDIRECT_URIS`, exactly as configured.',
  examples: ['https://www.mywebsite.com/login_with_healthtap'],
})
/**
 * A lone surrogate is no character: every one of them becomes the same U+FFFD on its way into the store, and so would be the
 * same person. A blank name is none to HealthTap.
 */
const NO_NAME = '\\u0000-\\u001f\\u007f\\ud800-\\udfff'
/** White space that is no control character. Told apart from what follows it, so that a pattern looks at each character once. */
const BLANK = '\\u0020\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff'
export const Username = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: `^[${BLANK}]*[^${NO_NAME}${BLANK}][^${NO_NAME}]*$`,
  description: "Your own name for this person: HealthTap's `username`. Not blank, no control characters.",
  examples: ['4711'],
})
export const State = Type.String({
  pattern: '^[A-Za-z0-9_-]{1,128}$',
  examples: ['Zq0bXl9Wc1y3p8Rr5tUuVvWwXxYyZz0123456789abc'],
})
/** RFC 6749, appendix A: visible characters. */
export const Token = Type.String({
  minLength: 1,
  maxLength: 8192,
  pattern: '^[\\x21-\\x7e]+$',
  examples: [exampleToken],
})
export const Seconds = Type.Integer({ minimum: 0, maximum: 315_360_000 })
export const MinTtl = {
  ...Seconds,
  description:
    'Least seconds it has to live; default: `TOKEN_MIN_TTL_SECONDS`. Granted up to nine tenths of what a new token lives; a wish beyond a whole lifetime cannot be met and counts as none.',
}
export const Version = Type.Integer({
  minimum: 1,
  maximum: Number.MAX_SAFE_INTEGER,
  description: 'Grows by one with each rotation.',
  examples: [7],
})

export const AccessToken = Type.Object(
  {
    guid: Guid,
    access_token: Type.String({ description: 'For `Authorization: Bearer …` at HealthTap.', examples: [exampleToken] }),
    token_type: Type.Literal('bearer'),
    scope: Type.String({ examples: ['profile_write'] }),
    expires_in: Type.Integer({ description: 'Seconds it still lives.', examples: [6840] }),
    expires_at: Time,
    rotates_at: Type.String({
      format: 'date-time',
      description: 'Keep the token no longer than this, then ask again: it is going to be replaced.',
      examples: ['2026-11-23T17:10:00Z'],
    }),
    version: Version,
  },
  { $id: 'AccessToken', description: 'An access token that HealthTap accepts (RFC 6749, section 5.1).' },
)

export const GrantStatus = Type.Union(
  [
    Type.Literal('active'),
    Type.Literal('in_doubt'),
    Type.Literal('reauthorization_required'),
    Type.Literal('revoking'),
  ],
  {
    description:
      '`active`: all is well. `in_doubt`: a renewal had no outcome, and is tried again. `reauthorization_required`: HealthTap ended it. `revoking`: deleted here, not yet confirmed by HealthTap.',
  },
)

export const Grant = Type.Object(
  {
    guid: Guid,
    username: Type.Union([Type.String(), Type.Null()], { description: 'null: this person signed in themselves.' }),
    origin: Type.Union([Type.Literal('authorization_code'), Type.Literal('provisioning'), Type.Literal('import')]),
    scope: Type.String(),
    status: GrantStatus,
    version: Version,
    access_token_expires_at: Time,
    refresh_token_expires_at: Type.Union([Time, Type.Null()], { description: 'null: HealthTap does not say.' }),
    refresh_due_at: Type.Union([Time, Type.Null()], {
      description: 'When it is renewed ahead of time, or tried again; null: not by itself.',
    }),
    last_refreshed_at: TimeOrNull,
    last_error: Type.Union([
      Type.Object({
        code: Type.String({ examples: ['provider_unavailable'] }),
        at: Time,
        attempts: Type.Integer({ description: 'Failures in a row.' }),
      }),
      Type.Null(),
    ]),
    created_at: Time,
    updated_at: Time,
  },
  { $id: 'Grant', description: "One person's authorization as the gateway keeps it. No secrets." },
)

export const GrantList = Type.Object(
  {
    items: Type.Array(ref(Grant)),
    next_cursor: Type.Union([Type.String(), Type.Null()], {
      description: 'For the next page; null: this was the last.',
    }),
  },
  { $id: 'GrantList' },
)

export const Authorization = Type.Object(
  {
    state: State,
    authorization_url: Type.String({
      description: 'Send the person there.',
      examples: [
        'https://developers.healthtap.com/oauth/authorize?client_id=…&response_type=code&redirect_uri=…&scope=profile_write&state=…',
      ],
    }),
    redirect_uri: RedirectUri,
    scope: Scope,
    expires_at: Time,
  },
  { $id: 'Authorization', description: 'A Tap-in that was begun.' },
)

export const AuthorizationOutcome = Type.Object(
  {
    state: State,
    status: Type.Union([
      Type.Literal('pending'),
      Type.Literal('connected'),
      Type.Literal('denied'),
      Type.Literal('failed'),
    ]),
    guid: Type.Optional(Guid),
    error: Type.Optional(
      Type.String({
        description: "Why it was `denied` or `failed`: HealthTap's OAuth error, a problem code of ours, or `expired`.",
        examples: ['access_denied'],
      }),
    ),
    expires_at: Time,
  },
  { $id: 'AuthorizationOutcome', description: 'How a Tap-in went.' },
)

const problemCodes = Object.keys(PROBLEMS) as ProblemCode[]

export const Problem = Type.Object(
  {
    type: Type.String({
      description: 'A name for the kind of problem.',
      examples: ['urn:healthtap-gateway:problem:grant_not_found'],
    }),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String({ description: 'What happened, and how to mend it.' }),
    code: Type.Unsafe<ProblemCode>({ type: 'string', enum: problemCodes, description: 'What a client may switch on.' }),
    request_id: Type.String({ description: 'The `x-request-id` of this request: it stands in the log too.' }),
    errors: Type.Optional(
      Type.Array(Type.Object({ path: Type.String(), message: Type.String() }), {
        description: 'Every offending field: a JSON pointer into the body (`/redirect_uri`), or `query/…`, `path/…`.',
      }),
    ),
    upstream: Type.Optional(
      Type.Object(
        {
          status: Type.Optional(Type.Integer()),
          error: Type.Optional(Type.String()),
          error_description: Type.Optional(Type.String()),
        },
        { description: 'What HealthTap answered.' },
      ),
    ),
    retry_after: Type.Optional(
      Type.Integer({
        description:
          'Seconds until asking again makes sense. In a list of results alone: else the header `Retry-After` says so.',
      }),
    ),
  },
  { $id: 'Problem', description: 'Problem details (RFC 9457).' },
)

const TokenResult = Type.Union(
  [
    Type.Object({ guid: Guid, token: ref(AccessToken) }, { additionalProperties: false }),
    Type.Object({ guid: Guid, problem: ref(Problem) }, { additionalProperties: false }),
  ],
  {
    $id: 'TokenResult',
    description: 'Either a `token`, or the `problem` that a request for it alone would be answered.',
  },
)

export const TokenBatch = Type.Object({ results: Type.Array(ref(TokenResult)) }, { $id: 'TokenBatch' })

const HealthStatus = Type.Union([Type.Literal('ok'), Type.Literal('degraded'), Type.Literal('unavailable')], {
  description:
    '`degraded`: live tokens are answered, and nothing is lost, but tokens cannot be renewed. `unavailable`: send requests elsewhere.',
})

export const HealthCheck = Type.Object({
  name: Type.String({ examples: ['store'] }),
  status: HealthStatus,
  detail: Type.Optional(Type.String()),
})

export const Health = Type.Object({ status: HealthStatus, checks: Type.Array(HealthCheck) }, { $id: 'Health' })

export const sharedSchemas = [
  AccessToken,
  Grant,
  GrantList,
  Authorization,
  AuthorizationOutcome,
  Problem,
  TokenResult,
  TokenBatch,
  Health,
]
