/** What the fuzz does next: a request to a route by its schema, bytes, or something that happens at the provider. */
import fc, { type Arbitrary } from 'fast-check'
import type { Fault } from '../../sandbox/control/faults.ts'
import { anything, fitting, oddText, spoiled } from './arbitraries.ts'
import { type Shown, shown } from './callers.ts'
import { type OddBytes, oddBytes } from './odd-bytes.ts'
import type { Operation } from './operations.ts'
import type { Brought } from './pools.ts'

export type Door = 'main' | 'public' | 'metrics'

export interface Planned {
  readonly kind: 'request'
  readonly operation: string
  /** Absent: the operation's own. */
  readonly method?: string
  readonly params: Readonly<Record<string, unknown>>
  readonly query: Readonly<Record<string, unknown>>
  /** Keys that are given twice. */
  readonly twice: boolean
  /** undefined: none; a string in `text`: sent as it is. */
  readonly body?: unknown
  readonly text?: string
  readonly brought: Brought | null
  readonly shown: Shown
  readonly headers: Readonly<Record<string, string>>
  readonly door: Door
}

export type Step =
  | Planned
  | OddBytes
  | { readonly kind: 'fault'; readonly fault: Fault; readonly pick: number }
  /** The person takes their permission back, at HealthTap. */
  | { readonly kind: 'end'; readonly pick: number }

const JSON_TYPES = ['application/json', 'application/json; charset=utf-8'] as const
const OTHER_TYPES = [
  'text/plain',
  'application/x-www-form-urlencoded',
  'multipart/form-data; boundary=x',
  'application/problem+json',
  'application/jsonx',
  'application/json;',
  'APPLICATION/JSON',
  'json',
  '/',
  '\u00ff',
]

export function isJsonType(type: string | undefined): boolean {
  return type !== undefined && (JSON_TYPES as readonly string[]).includes(type)
}

/** `isFaulty`: the provider fails now and then. */
export function step(operations: readonly Operation[], isFaulty: boolean): Arbitrary<Step> {
  const faults = fc.record({ kind: fc.constant('fault' as const), fault: fault(), pick: fc.nat(30) })
  return fc.oneof(
    { weight: 40, arbitrary: fc.oneof(...operations.map(operation => planned(operation))) },
    { weight: 4, arbitrary: oddBytes(operations) },
    ...(isFaulty ? [{ weight: 5, arbitrary: faults }] : []),
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('end' as const), pick: fc.nat(30) }) },
  )
}

function planned(operation: Operation): Arbitrary<Planned> {
  const { name, params, query, body } = operation
  const pathPart = Object.fromEntries(
    Object.entries(params).map(([key, schema]) => [
      key,
      fc.oneof(
        { weight: 12, arbitrary: fitting(schema, key) },
        { weight: 1, arbitrary: fc.oneof(oddText(), fc.string()) },
      ),
    ]),
  )
  const base = {
    kind: fc.constant('request' as const),
    operation: fc.constant(name),
    params: fc.record(pathPart),
    twice: rarely(fc.constant(true), false, 20),
    brought: brought(operation),
    shown: shown(),
    headers: headers(),
    door: fc.oneof(
      { weight: 18, arbitrary: fc.constant('main' as const) },
      { weight: 1, arbitrary: fc.constantFrom('public' as const, 'metrics' as const) },
    ),
  }
  const queries = fc.oneof(
    { weight: 6, arbitrary: fitting(query) },
    { weight: 1, arbitrary: spoiled(query) },
  ) as Arbitrary<object>
  const asked = fc.record({ ...base, query: queries.map(asFields) })
  return fc
    .tuple(asked, bodyPart(body), rarely(fc.constantFrom(...METHODS), undefined, 30))
    .map(([request, sent, method]) => ({ ...request, ...sent, ...(method === undefined ? {} : { method }) }))
}

const METHODS = ['HEAD', 'GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE', 'PROPFIND', 'PURGE', 'QUERY']

function asFields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}

function bodyPart(schema: Operation['body']): Arbitrary<{ body?: unknown; text?: string }> {
  const text = badText().map(junk => ({ text: junk }))
  if (schema === null)
    return rarely(
      fc.oneof(
        text,
        anything().map(body => ({ body })),
      ),
      {},
      30,
    )
  return fc.oneof(
    { weight: 12, arbitrary: fitting(schema).map(body => ({ body })) },
    { weight: 6, arbitrary: spoiled(schema).map(body => ({ body })) },
    { weight: 1, arbitrary: text },
    { weight: 1, arbitrary: fc.constant({}) },
  )
}

/** What is no JSON, or only nearly. */
function badText(): Arbitrary<string> {
  return fc.oneof(
    fc.constantFrom(
      '',
      ' ',
      '{',
      '{"guid":',
      '{"a":1,"a":2}',
      '{"a":1}{',
      '[NaN]',
      "{'a':1}",
      '\ufeff{}',
      '{"a":1e999}',
    ),
    fc.constantFrom(
      '{"__proto__":{"a":1}}',
      '{"constructor":{"prototype":{}}}',
      'null',
      '"',
      '\u0000',
      '{"a":"\\ud800"}',
    ),
    fc.constantFrom('['.repeat(30_000), ' '.repeat(70_000), `{"a":"${'a'.repeat(65_536)}"}`, 'state=a&code=b'),
    fc.string(),
    fc.json(),
  )
}

/** Fields that are to be good together are brought by the provider; else they are made up. */
function brought({ body, query, method }: Operation): Arbitrary<Brought | null> {
  const names = Object.keys((body ?? query).properties ?? {})
  if (names.includes('code')) {
    const visit = fc.record({
      bring: fc.constant('visit' as const),
      pick: fc.nat(30),
      begun: fc.oneof({ weight: 3, arbitrary: fc.constant(true) }, fc.constant(false)),
      decision: rarely(fc.constant('deny' as const), 'allow' as const, 6),
      isPlain: fc.oneof({ weight: 3, arbitrary: fc.constant(true) }, fc.constant(false)),
    })
    return fc.oneof({ weight: 3, arbitrary: visit }, fc.constant(null))
  }
  if (method !== 'GET' && names.includes('refresh_token')) {
    return fc.oneof({ weight: 3, arbitrary: fc.constant({ bring: 'pair' as const }) }, fc.constant(null))
  }
  return fc.constant(null)
}

function headers(): Arbitrary<Record<string, string>> {
  const odd = fc.record(
    {
      'x-request-id': fc.oneof(
        fc.constantFrom('abc-1', 'a'.repeat(128), 'a'.repeat(129), ' ', 'a b', '"', '\u00ff'),
        visible(),
      ),
      accept: fc.constantFrom('*/*', 'text/html', 'application/xml;q=0.9', '', 'a'.repeat(2_000), '\u00ff'),
      'accept-encoding': fc.constantFrom('gzip', 'br;q=1', 'identity;q=0', '*'),
      expect: fc.constantFrom('100-continue', 'the unexpected', ''),
      'x-forwarded-for': visible(),
      'x-http-method-override': fc.constantFrom('DELETE', 'x'),
      'if-none-match': fc.constantFrom('*', '"a"'),
      range: fc.constantFrom('bytes=0-0', 'bytes=9999999-', 'x'),
      origin: fc.constantFrom('https://elsewhere.example', 'null'),
      cookie: visible(),
      te: fc.constantFrom('trailers', 'x'),
      'content-encoding': fc.constantFrom('gzip', 'x'),
    },
    { requiredKeys: [] },
  )
  const type = fc.oneof(
    { weight: 20, arbitrary: fc.constantFrom(...JSON_TYPES) },
    { weight: 1, arbitrary: fc.constantFrom(...OTHER_TYPES) },
  )
  return fc.tuple(rarely(odd, {}, 4), type).map(([some, contentType]) => ({ ...some, 'content-type': contentType }))
}

function visible(): Arbitrary<string> {
  return fc.stringMatching(/^[\x21-\x7e]{1,60}$/)
}

function fault(): Arbitrary<Fault> {
  const operation = fc.constantFrom('exchange' as const, 'refresh' as const, 'users' as const, 'revoke' as const)
  const times = fc.integer({ min: 1, max: 2 })
  return fc.oneof(
    fc.record({
      operation,
      times,
      kind: fc.constantFrom('status_before' as const, 'status_after' as const),
      status: fc.constantFrom(200, 301, 400, 401, 403, 404, 418, 422, 429, 500, 502, 503, 504),
      body: fc.oneof(
        fc.constantFrom('', '{}', 'null', '[]', '<html>', '{"error":"invalid_grant"}', '{"error":"server_error"}'),
        fc.constantFrom('{"error":"temporarily_unavailable"}', '{"error":{"a":1}}', '{"error":"invalid_request"}'),
        oddText().map(error_description => JSON.stringify({ error: 'invalid_scope', error_description })),
      ),
    }),
    fc.record({ operation, times, kind: fc.constantFrom('drop_before' as const, 'drop_after' as const) }),
    fc.record({ operation, times, kind: fc.constant('wrong_credentials' as const) }),
    fc.record({ operation, times, kind: fc.constant('rate_limited' as const), retry_after: fc.constantFrom(0, 1) }),
    fc.record({ operation, times, kind: fc.constant('latency' as const), latency_ms: fc.integer({ min: 0, max: 30 }) }),
    fc.record({
      operation,
      times,
      kind: fc.constant('malformed' as const),
      body: fc.oneof(fc.constantFrom('', '{', '{}', '[]', 'null', '{"access_token":1}', '\u0000'), fc.json()),
    }),
  )
}

function rarely<T, U>(arbitrary: Arbitrary<T>, usually: U, oneIn: number): Arbitrary<T | U> {
  return fc.oneof({ weight: oneIn - 1, arbitrary: fc.constant(usually) as Arbitrary<T | U> }, { weight: 1, arbitrary })
}
