/** Requests that no proper client sends. */
import fc, { type Arbitrary } from 'fast-check'
import type { Operation } from './operations.ts'

export interface OddBytes {
  readonly kind: 'bytes'
  readonly method: string
  readonly target: string
  readonly version: string
  readonly headers: readonly string[]
  readonly body: string
  /** Whether a good API key is shown. */
  readonly isKnown: boolean
}

const METHODS = [
  'GET',
  'POST',
  'PUT',
  'DELETE',
  'HEAD',
  'OPTIONS',
  'PATCH',
  'TRACE',
  'CONNECT',
  'get',
  'FOO',
  'PRI',
  '',
]

const TARGETS = [
  '*',
  '/',
  '//',
  '///v1/grants',
  'http://gateway/v1/grants',
  'http://elsewhere.example/health/live',
  '/%',
  '/%zz',
  '/%00',
  '/v1/grants/%ff',
  '/v1/grants/%ed%a0%80',
  '/v1/grants/%00/token',
  '/v1/grants/..%2f..%2fmetrics',
  '/v1/grants/%2e%2e/token',
  '/v1/grants/a%252fb',
  '/v1/grants/',
  '/v1/grants//token',
  '/V1/GRANTS',
  '/v1;a=b/grants',
  '/v1/grants?limit=1&limit=2',
  '/v1/grants?limit[]=1',
  '/v1/grants?__proto__=1&constructor=2',
  '/v1/grants?username=%ff',
  '/v1/grants?username=%ed%a0%80',
  '/v1/grants?%=%&&&=&',
  '/v1/grants?limit=1#fragment',
  '/v1/grants?cursor=AAAA',
  '/v1/grants?cursor=_-_-_-',
  '?',
  '/health/live',
  '/health/ready?x=%',
  '/health',
  '/metrics',
  '/metrics/',
  '/openapi.json',
  '/docs',
  '/docs/',
  '/docs/static/index.html',
  '/docs/static/swagger-initializer.js',
  '/docs/static/%2e%2e%2f%2e%2e%2fpackage.json',
  '/docs/static/../../package.json',
  '/docs/static/%00',
  '/docs/static/%',
  '/docs/static/.env',
  '/docs/json',
  '/console',
  '/console/',
  '/console/main.js',
  '/console/..%2f..%2fpackage.json',
  '/console/../package.json',
  '/docs/yaml',
  '/tap-in/callback',
  '/tap-in/callback?state=a&state=b',
  '/tap-in/callback?state=%00&code=%00',
  '/tap-in/callback?error=%3Cscript%3E&state=x',
  '/tap-in/',
  '/favicon.ico',
  '/.env',
]

const HEADERS = [
  'host: a',
  'Host: b',
  'host:',
  'content-length: 0',
  'content-length: 2',
  'content-length: 5',
  'content-length: -1',
  'content-length: 1e3',
  'content-length: 99999999999999999999',
  'content-length: +2',
  'content-type: application/json',
  'content-type: application/json\tx',
  'content-type:',
  'transfer-encoding: chunked',
  'transfer-encoding: gzip, chunked',
  'transfer-encoding: chunked, identity',
  'Transfer-Encoding : chunked',
  'connection: keep-alive',
  'connection: upgrade',
  'connection: \u00ff',
  'upgrade: h2c',
  'upgrade: websocket',
  'http2-settings: AAMAAABkAAQCAAAAAAIAAAAA',
  'expect: 100-continue',
  'expect: nothing',
  'x-request-id: a\tb',
  'x-request-id: \u00ff',
  'x-request-id: one',
  'x-request-id: two',
  'authorization: Bearer',
  'authorization: Bearer a',
  'accept: \u0001',
  'no colon',
  ': no name',
  'sp ace: x',
  ' folded',
  'x: a\nb: c',
  'x: a\rb',
  `x: ${'a'.repeat(17_000)}`,
  'cookie: a=\u0000',
  'trailer: x',
  '\u0000: x',
]

export function oddBytes(operations: readonly Operation[]): Arbitrary<OddBytes> {
  const known = fc
    .tuple(fc.constantFrom(...operations), part())
    .map(([{ path }, odd]) => path.replaceAll(/\{\w+\}/g, odd))
  return fc.record({
    kind: fc.constant('bytes' as const),
    method: fc.oneof({ weight: 5, arbitrary: fc.constantFrom('GET', 'POST', 'PUT') }, fc.constantFrom(...METHODS)),
    target: fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom(...TARGETS) },
      { weight: 4, arbitrary: known },
      { weight: 2, arbitrary: fc.tuple(known, part()).map(([path, odd]) => `${path}${odd}`) },
      { weight: 2, arbitrary: part().map(odd => `/${odd}`) },
      { weight: 1, arbitrary: fc.constantFrom(9_000, 20_000).map(length => `/${'a'.repeat(length)}`) },
    ),
    version: fc.oneof(
      { weight: 12, arbitrary: fc.constant(' HTTP/1.1') },
      fc.constantFrom(' HTTP/1.0', ' HTTP/2.0', ' HTTP/9.9', ' http/1.1', '', ' HTTP/1.1 x'),
    ),
    headers: fc.oneof(
      { weight: 12, arbitrary: fc.array(fc.constantFrom(...HEADERS), { maxLength: 4 }) },
      fc.constantFrom(100, 1_500).map(times => Array.from({ length: times }, (_, index) => `x${index}: y`)),
    ),
    body: fc.oneof(
      fc.constantFrom(
        '',
        '{}',
        '{"a',
        '0\r\n\r\n',
        '2\r\n{}\r\n0\r\n\r\n',
        '2;x=y\r\n{}\r\n0\r\nx: y\r\n\r\n',
        'zz\r\n',
      ),
      fc.constantFrom('GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n', 'GARBAGE\r\n\r\n'),
      fc.string(),
    ),
    isKnown: fc.boolean(),
  })
}

/** A part of an address, in bytes that may be none of an address. */
function part(): Arbitrary<string> {
  return fc.oneof(
    fc.string({ maxLength: 20, unit: fc.integer({ min: 0, max: 255 }).map(code => String.fromCharCode(code)) }),
    fc.constantFrom('%', '%0', '%c3%28', '%e2%82', '%F0%9F%98%80', '%2F', '%25', '+', ';', '?a=1&a=2', '#', '\\', '..'),
    fc.constantFrom('a'.repeat(129), 'a'.repeat(257), 'a'.repeat(1_001), '%41'.repeat(200)),
  )
}

/** As they are sent; a connection is not kept for longer than these. */
export function bytesOf({ method, target, version, headers, body, isKnown }: OddBytes, apiKey: string): Buffer {
  const lines = [`${method} ${target}${version}`, 'host: gateway', 'connection: close']
  if (isKnown) lines.push(`authorization: Bearer ${apiKey}`)
  return Buffer.from(`${[...lines, ...headers].join('\r\n')}\r\n\r\n${body}`, 'latin1')
}
