/** CALLERS, JWT_ISSUERS and TLS: what is taken, and what is said of what is not. */
import t from 'tap'
import { hashApiKey } from '../../src/callers/api-keys.ts'
import { readConfig } from '../../src/config.ts'
import { selfSigned, signedBy } from '../support/certificates.ts'
import { CALLER, HASH, LEAST, problemsOf, wrong } from '../support/settings.ts'

t.test('callers', async t => {
  const bad: [unknown, RegExp][] = [
    ['nonsense', /is not valid JSON/],
    [[], /at least one caller/],
    [{}, /at least one caller/],
    [[7], /\[0\] has to be an object/],
    [[CALLER, { ...CALLER, name: 'a b' }], /\[1\]\.name has to be/],
    [[{ ...CALLER, key_sha256: 'short' }], /\[0\]\.key_sha256 has to be 64 hex digits/],
    [[{ ...CALLER, permissions: ['token:write'] }], /\[0\]\.permissions\[0\] has to be one of/],
    [[{ ...CALLER, permissions: '*' }], /\[0\]\.permissions has to be a list of/],
    [[{ ...CALLER, permission: [] }], /\[0\]\.permission is not known/],
    [[{ name: '', key_sha256: 1 }], /\[0\]\.permissions.*\[0\]\.name.*\[0\]\.key_sha256/],
    [[{ name: 'a', permissions: ['*'] }], /\[0\] has to say how it is known/],
    [[{ ...CALLER, keys: [{ sha256: HASH, not_after: 'tomorrow' }] }], /\[0\]\.keys\[0\]\.not_after has to be a time/],
    [[{ ...CALLER, keys: [] }], /\[0\]\.keys has to be a list/],
    [[{ ...CALLER, certificate: {} }], /\[0\]\.certificate has to be/],
    [[{ ...CALLER, certificate: { san: 'scheduler' } }], /\[0\]\.certificate\.san has to be a name such as/],
    [[{ ...CALLER, jwt: { subject: 'a' } }], /\[0\]\.jwt\.issuer has to be/],
    [[{ ...CALLER, scopes: 'pay' }], /\[0\]\.scopes has to be a list of scopes/],
    [[{ ...CALLER, guids: [7] }], /\[0\]\.guids\[0\] has to be a guid/],
    [[{ ...CALLER, jwt: { issuer: 'https://nobody' } }], /the issuer of appointments is not in JWT_ISSUERS/],
    [[{ ...CALLER, certificate: { san: 'DNS:a' } }], /^TLS_CLIENT_CA is missing/],
    [
      [CALLER, { ...CALLER, name: 'ops', key_sha256: HASH.toUpperCase() }],
      / \[1\] has an API key that appointments has/,
    ],
    [[CALLER, { name: 'a', permissions: [], keys: [{ sha256: HASH }] }], / \[1\] has an API key that appointments has/],
    [[{ ...CALLER, rate_limit: 1.5 }], /\[0\]\.rate_limit has to be a whole number/],
    [[{ ...CALLER, rate_limit: '5' }], /\[0\]\.rate_limit has to be a whole number/],
    [[{ ...CALLER, rate_limit: -1 }], /\[0\]\.rate_limit has to be a whole number/],
  ]
  for (const [callers, message] of bad) {
    const value = typeof callers === 'string' ? callers : JSON.stringify(callers)
    t.match(problemsOf({ ...LEAST, CALLERS: value }), [message], value.slice(0, 60))
  }
  const other = hashApiKey('another').toUpperCase()
  const all = [CALLER, { ...CALLER, name: 'ops', permissions: ['*'], key_sha256: other, keys: [{ sha256: other }] }]
  t.strictSame(readConfig({ ...LEAST, CALLERS: JSON.stringify(all) }).callers, all)
  const limited = JSON.stringify([{ ...CALLER, rate_limit: 50 }])
  t.strictSame(readConfig({ ...LEAST, CALLERS: limited }).callers, [{ ...CALLER, rate_limit: 50 }])
})

const ISSUER = { issuer: 'https://issuer.example', audience: 'gateway', jwks_url: 'https://issuer.example/jwks' }

t.test('issuers of tokens', async t => {
  const dir = t.testdir({ good: '{"keys":[{"kty":"OKP"}]}', bad: '{"keys":7}', odd: '{"keys":[[]]}', ugly: 'hush' })
  const { jwks_url: _, ...unsigned } = ISSUER
  const bad: [unknown, RegExp][] = [
    [[], /at least one issuer/],
    [[unsigned], /\[0\] has to have either jwks_url or jwks_file/],
    [[{ ...ISSUER, jwks_file: 'a' }], /\[0\] has to have either jwks_url or jwks_file/],
    [[{ ...ISSUER, jwks_url: 'http://issuer.example/jwks' }], /has to be an https:/],
    [[{ ...ISSUER, algorithms: ['none'] }], /\[0\]\.algorithms\[0\] has to be one of/],
    [[{ ...ISSUER, algorithms: ['HS256'] }], /\[0\]\.algorithms\[0\] has to be one of/],
    [[{ ...ISSUER, clock_leeway_seconds: 61 }], /\[0\]\.clock_leeway_seconds has to be a whole number from 0 to 60/],
    [[ISSUER, ISSUER], /\[1\]\.issuer is there twice/],
    [[{ ...unsigned, jwks_file: `${dir}/none` }], /cannot use the jwks_file of https:\/\/issuer\.example \(ENOENT\)/],
    [[{ ...unsigned, jwks_file: `${dir}/bad` }], /it is not a JSON Web Key Set/],
    [[{ ...unsigned, jwks_file: `${dir}/odd` }], /it is not a JSON Web Key Set/],
    [[{ ...unsigned, jwks_file: `${dir}/ugly` }], /it is not a JSON Web Key Set/],
  ]
  for (const [issuers, message] of bad) {
    const value = JSON.stringify(issuers)
    t.match(problemsOf({ ...LEAST, JWT_ISSUERS: value }), [message], value.slice(0, 90))
  }
  const file = JSON.stringify([{ ...unsigned, jwks_file: `${dir}/good` }])
  t.strictSame(readConfig({ ...LEAST, JWT_ISSUERS: file }).jwtIssuers, [
    { ...unsigned, jwks: { keys: [{ kty: 'OKP' }] } },
  ])
})

t.test('TLS is whole or not there', async t => {
  const [one, other] = [await selfSigned(t, 'one'), await selfSigned(t, 'other')]
  const both = { TLS_CERT: one.cert, TLS_KEY: one.key }
  t.match(readConfig({ ...LEAST, ...both }).tls, { cert: one.cert.trim(), clientCa: null })
  t.strictSame(wrong({ TLS_CERT: one.cert }), ['TLS_KEY'])
  t.strictSame(wrong({ TLS_KEY: one.key }), ['TLS_CERT'])
  t.strictSame(wrong({ TLS_CLIENT_CA: one.cert }), ['TLS_CERT'])
  t.strictSame(problemsOf({ ...LEAST, ...both, TLS_KEY: other.key }), [
    'TLS_KEY is not the key of the certificate in TLS_CERT',
  ])
  t.strictSame(wrong({ TLS_CERT: one.key, TLS_KEY: one.cert }).sort(), ['TLS_CERT', 'TLS_KEY'])
})

t.test('certificates are whole, each of them', async t => {
  const [one, other] = [await selfSigned(t, 'one'), await selfSigned(t, 'other')]
  const noted = `# ours\n${one.cert}\nsubject=/CN=other\n========\n${other.cert.replaceAll('\n', '\r\n')}# --- end`
  for (const chain of [one.cert + other.cert, noted]) {
    const { tls } = readConfig({ ...LEAST, TLS_CERT: chain, TLS_KEY: one.key, TLS_CLIENT_CA: chain })
    t.match(tls, { cert: chain.trim(), clientCa: chain.trim() })
  }
  const halves = [
    ...[1, 5, 20, 200, other.cert.length - 3].map(length => one.cert + other.cert.slice(0, length)),
    other.cert.slice(0, 200) + one.cert,
    one.cert + other.cert.slice(200),
    one.cert + other.key,
    one.cert.replace('BEGIN CERTIFICATE', 'BEGIN TRUSTED CERTIFICATE'),
    `${one.cert}-----BEGIN CERTIFICATE-----\naGFsZg==\n-----END CERTIFICATE-----\n`,
  ]
  for (const [index, half] of halves.entries()) {
    t.strictSame(wrong({ TLS_CERT: half, TLS_KEY: one.key }), ['TLS_CERT'], `certificate ${index}`)
    t.strictSame(wrong({ TLS_CERT: one.cert, TLS_KEY: one.key, TLS_CLIENT_CA: half }), ['TLS_CLIENT_CA'], `CA ${index}`)
  }
})

t.test('what OpenSSL would refuse at the first handshake is refused with the settings', async t => {
  const ca = await selfSigned(t, 'ca')
  const short = await selfSigned(t, 'short', { subject: '/CN=short', newKey: 'rsa:512' })
  const weak = await signedBy(t, ca, 'weak', { subject: '/CN=weak', digest: 'sha1' })
  const refused: [typeof ca, RegExp][] = [
    [short, /^TLS_CERT cannot be used: OpenSSL refuses it \(ERR_SSL_EE_KEY_TOO_SMALL\)$/],
    [
      { ...weak, cert: weak.cert + ca.cert },
      /^TLS_CERT cannot be used: OpenSSL refuses it \(ERR_SSL_CA_MD_TOO_WEAK\)$/,
    ],
  ]
  for (const [{ cert, key }, message] of refused) {
    const problems = problemsOf({ ...LEAST, TLS_CERT: cert, TLS_KEY: key, TLS_CLIENT_CA: ca.cert })
    t.match(problems, [message])
    t.equal(problems.length, 1)
  }
})
