import { randomBytes } from 'node:crypto'
import { format, inspect } from 'node:util'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { hashApiKey } from '../../src/callers/api-keys.ts'
import { ConfigError, type Environment, readConfig, settingsWithoutEffect } from '../../src/config.ts'
import { told } from '../contract/records.ts'
import { selfSigned } from '../support/certificates.ts'

const APP_SECRET = randomBytes(32).toString('hex')
const KEY = randomBytes(32)
/** The bytes of a key as they might be printed. */
const KEY_FORMS = [
  KEY.toString('base64').slice(0, 40),
  KEY.toString('base64url').slice(0, 40),
  KEY.toString('hex'),
  KEY.join(','),
]
const HASH = hashApiKey('an API key')
const CALLER = { name: 'appointments', key_sha256: HASH, permissions: ['token:read'] }

/** The least that `serve` needs. */
const LEAST: Environment = {
  HEALTHTAP_APP_ID: 'app-1',
  HEALTHTAP_APP_SECRET: APP_SECRET,
  HEALTHTAP_REDIRECT_URIS: 'https://app.example.com/callback',
  CALLERS: JSON.stringify([CALLER]),
  REDIS_URL: 'redis://127.0.0.1:6379',
  ENCRYPTION_KEYS: `k1:${KEY.toString('base64')}`,
}

function problemsOf(environment: Environment): readonly string[] {
  try {
    readConfig(environment)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

/** The names that are complained about, with what `more` sets or (undefined) leaves out. */
function wrong(more: Environment): string[] {
  return problemsOf({ ...LEAST, ...more }).map(problem => problem.split(' ')[0] ?? '')
}

t.test('the least that is needed, and what goes without saying', async t => {
  const { appSecret, encryptionKeys, ...config } = readConfig(LEAST)
  t.equal(appSecret.reveal(), APP_SECRET)
  t.strictSame(
    encryptionKeys.map(({ id, key }) => [id, key.export()]),
    [['k1', KEY]],
  )
  t.strictSame(told(config), {
    host: '127.0.0.1',
    port: 3000,
    appId: 'app-1',
    authorizeUrl: 'https://developers.healthtap.com/oauth/authorize',
    apiUrl: 'https://api.healthtap.com',
    identityUrl: null,
    identityPointer: '/guid',
    redirectUris: ['https://app.example.com/callback'],
    scopes: ['profile_read', 'profile_write'],
    pkce: true,
    providerTimeoutMs: 10_000,
    providerMaxConcurrency: 32,
    callers: [CALLER],
    jwtIssuers: [],
    tls: null,
    refreshMarginSeconds: 600,
    refreshMarginRatio: 0.2,
    refreshIdleAfterSeconds: 0,
    tokenMinTtlSeconds: 30,
    defaultLifetimeSeconds: 3600,
    returnToOrigins: [],
    requireState: false,
    logLevel: 'info',
    redis: { kind: 'single', url: { secret: 'redis://127.0.0.1:6379' } },
    redisPrefix: 'htgw',
    journalDir: './journal',
    auditLog: '-',
    auditKey: null,
  })
  t.ok(Object.isFrozen(readConfig(LEAST)))
})

t.test('everything that is missing is named at once', async t => {
  const missing = Object.keys(LEAST).map(name => `${name} is missing`)
  t.strictSame([...problemsOf({})].sort(), missing.sort())
  t.strictSame(
    [...problemsOf(Object.fromEntries(Object.keys(LEAST).map(name => [name, ''])))].sort(),
    missing.sort(),
    'an empty value counts as absent',
  )
  for (const name of Object.keys(LEAST)) t.strictSame(wrong({ [name]: undefined }), [name])
  t.equal(readConfig({ ...LEAST, PORT: '', LOG_LEVEL: '' }).port, 3000)
})

t.test('everything that is wrong is named at once, beside what is missing', async t => {
  const names = wrong({ PORT: 'x', HEALTHTAP_PKCE: 'yes', REDIS_URL: 'http://redis', HEALTHTAP_APP_ID: undefined })
  t.strictSame(names.sort(), ['HEALTHTAP_APP_ID', 'HEALTHTAP_PKCE', 'PORT', 'REDIS_URL'])
  const error = new ConfigError(['PORT is missing', 'HOST is missing'])
  t.match(error.message, /PORT is missing\n.*HOST is missing/)
  t.equal(error.name, 'ConfigError')
})

const IDENTITY = ['HEALTHTAP_AUTHORIZE_URL', 'HEALTHTAP_API_URL', 'HEALTHTAP_IDENTITY_URL']
const FORMS: Readonly<Record<string, { good: readonly string[]; bad: readonly string[] }>> = {
  PORT: { good: ['0', '65535', '8080'], bad: ['65536', '-1', '80.5', '1e3', ' 80', 'http'] },
  HEALTHTAP_TIMEOUT_MS: { good: ['100', '120000'], bad: ['99', '120001', '10s'] },
  PROVIDER_MAX_CONCURRENCY: { good: ['1', '1000'], bad: ['0', '1001'] },
  REFRESH_MARGIN_SECONDS: { good: ['0', '86400'], bad: ['86401', '-1', '1.5'] },
  TOKEN_MIN_TTL_SECONDS: { good: ['0', '86400'], bad: ['86401', 'none'] },
  DEFAULT_LIFETIME_SECONDS: { good: ['1', '31536000'], bad: ['0', '31536001'] },
  REFRESH_MARGIN_RATIO: { good: ['0.2', '0.9', '0.001'], bad: ['0', '0.91', '1', '-0.2', '.5', '20%', 'NaN'] },
  HEALTHTAP_PKCE: { good: ['true', 'false'], bad: ['1', 'TRUE', 'yes'] },
  REQUIRE_STATE: { good: ['true', 'false'], bad: ['0', 'False', 'no'] },
  LOG_LEVEL: { good: ['fatal', 'trace', 'silent'], bad: ['INFO', 'verbose'] },
  HEALTHTAP_IDENTITY_POINTER: { good: ['/guid', '/user/id', '/a~1b/~0'], bad: ['guid', '/a~2', '$.guid'] },
  HEALTHTAP_SCOPES: { good: ['profile_read', ' pay  profile_write '], bad: [' ', 'a"b', 'a\\b', 'ü'] },
  REDIS_PREFIX: { good: ['htgw', 'a.b:c-d_1', 'x'.repeat(64)], bad: ['x'.repeat(65), '{tag}', 'a b', 'ü'] },
  RETURN_TO_ORIGINS: {
    good: ['https://app.example.com', 'https://a.example, http://localhost:3000'],
    bad: ['https://app.example.com/', 'https://app.example.com/path', 'app.example.com', '*', 'null'],
  },
  HEALTHTAP_REDIRECT_URIS: {
    good: ['myapp://oauth/healthtap', 'https://a.example/x?y=1, myapp://oauth/healthtap,'],
    bad: [
      '/callback',
      'https://a.example/#x',
      'javascript:alert(1)',
      'data:text/html,x',
      'file:///x',
      ',',
      'https://a,b',
    ],
  },
  ...Object.fromEntries(
    IDENTITY.map(name => [
      name,
      {
        good: ['https://api.example.com/v1', 'http://127.0.0.1:4000', 'http://localhost:4000', 'http://[::1]:4000'],
        bad: ['http://api.example.com', 'https://user:pass@api.example.com', 'ftp://a', 'api.example.com', '/v1'],
      },
    ]),
  ),
  AUDIT_KEY: {
    good: [KEY.toString('base64'), KEY.toString('base64url')],
    bad: [KEY.toString('hex'), 'c2hvcnQ=', `a:${KEY.toString('base64')}`],
  },
  ENCRYPTION_KEYS: {
    good: [`a:${KEY.toString('base64')}`, `a:${KEY.toString('base64url')}, b:${randomBytes(32).toString('base64')}`],
    bad: ['a', KEY.toString('base64'), `a:${KEY.toString('hex')}`, 'a:c2hvcnQ=', `a b:${KEY.toString('base64')}`, ','],
  },
}

t.test('each setting takes its own form, and no other', async t => {
  for (const [name, { good, bad }] of Object.entries(FORMS)) {
    for (const value of good) t.strictSame(problemsOf({ ...LEAST, [name]: value }), [], `${name}=${value}`)
    for (const value of bad) t.strictSame(wrong({ [name]: value }), [name], `${name}=${value} is refused`)
  }
})

t.test('lists are lists', async t => {
  const config = readConfig({
    ...LEAST,
    HEALTHTAP_REDIRECT_URIS: ' https://a.example/x , myapp://oauth/healthtap,',
    HEALTHTAP_SCOPES: ' pay   create_content ',
    RETURN_TO_ORIGINS: 'https://a.example,https://b.example:8443',
    ENCRYPTION_KEYS: `new:${Buffer.alloc(32, 1).toString('base64')},old:${KEY.toString('base64url')}`,
  })
  t.strictSame(config.redirectUris, ['https://a.example/x', 'myapp://oauth/healthtap'])
  t.strictSame(config.scopes, ['pay', 'create_content'])
  t.strictSame(config.returnToOrigins, ['https://a.example', 'https://b.example:8443'])
  t.strictSame(
    config.encryptionKeys.map(key => key.id),
    ['new', 'old'],
  )
  t.strictSame(config.encryptionKeys[1]?.key.export(), KEY)
  const twice = `k:${KEY.toString('base64')},k:${randomBytes(32).toString('base64')}`
  t.match(problemsOf({ ...LEAST, ENCRYPTION_KEYS: twice }), [/^ENCRYPTION_KEYS has to name each key once/])
})

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
  ]
  for (const [callers, message] of bad) {
    const value = typeof callers === 'string' ? callers : JSON.stringify(callers)
    t.match(problemsOf({ ...LEAST, CALLERS: value }), [message], value.slice(0, 60))
  }
  const all = [CALLER, { ...CALLER, name: 'ops', permissions: ['*'], key_sha256: HASH.toUpperCase() }]
  t.strictSame(readConfig({ ...LEAST, CALLERS: JSON.stringify(all) }).callers, all)
})

const ISSUER = { issuer: 'https://issuer.example', audience: 'gateway', jwks_url: 'https://issuer.example/jwks' }

t.test('issuers of tokens', async t => {
  const dir = t.testdir({ good: '{"keys":[{"kty":"OKP"}]}', bad: '{"keys":7}', ugly: 'hush' })
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

t.test('where Redis is', async t => {
  const node = (host: string, port: number) => ({ host, port })
  const good: [string, unknown][] = [
    ['redis://cache:6380/2', { kind: 'single', url: { secret: 'redis://cache:6380/2' } }],
    ['rediss://u:p@cache', { kind: 'single', url: { secret: 'rediss://u:p@cache' } }],
    ['redis+cluster://a', { kind: 'cluster', nodes: [node('a', 6379)], auth: {} }],
    ['redis+cluster://a:1,b,c:3', { kind: 'cluster', nodes: [node('a', 1), node('b', 6379), node('c', 3)], auth: {} }],
    [
      'redis+sentinel://a,b:7/main',
      { kind: 'sentinel', nodes: [node('a', 26379), node('b', 7)], name: 'main', auth: {} },
    ],
    [
      'redis+sentinel://me:p%40ss@a/main',
      {
        kind: 'sentinel',
        nodes: [node('a', 26379)],
        name: 'main',
        auth: { username: 'me', password: { secret: 'p@ss' } },
      },
    ],
    ['redis+cluster://:pw@a', { kind: 'cluster', nodes: [node('a', 6379)], auth: { password: { secret: 'pw' } } }],
  ]
  for (const [url, address] of good) t.strictSame(told(readConfig({ ...LEAST, REDIS_URL: url }).redis), address, url)
  const bad = ['cache:6379', 'http://cache', 'redis+sentinel://a,b', 'redis+cluster://', 'redis+cluster://a,,b']
  for (const url of [
    ...bad,
    'redis+cluster://a:99999',
    'redis+cluster://a:1:2',
    'redis+cluster://a/name',
    'redis+sentinel://u@a/b',
  ]) {
    t.strictSame(wrong({ REDIS_URL: url }), ['REDIS_URL'], url)
  }
})

function filesOf(t: Test, environment: Environment): Environment {
  const dir = t.testdir(Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, `${value}\n`])))
  return Object.fromEntries(Object.keys(environment).map(name => [`${name}_FILE`, `${dir}/${name}`]))
}

t.test('every setting can be read from a file', async t => {
  t.strictSame(inspect(readConfig(filesOf(t, LEAST)), { depth: 9 }), inspect(readConfig(LEAST), { depth: 9 }))
  const config = readConfig(filesOf(t, { ...LEAST, PORT: '8080', HEALTHTAP_PKCE: 'false' }))
  t.equal(config.appSecret.reveal(), APP_SECRET, 'without the line break at its end')
  t.strictSame([config.port, config.pkce], [8080, false])
})

t.test('a file that is wrong', async t => {
  const { HEALTHTAP_APP_SECRET: _, ...others } = LEAST
  const dir = t.testdir({ empty: '\n' })
  const problems = (file: string) => problemsOf({ ...others, HEALTHTAP_APP_SECRET_FILE: file })
  t.strictSame(problems(`${dir}/none`), ['HEALTHTAP_APP_SECRET cannot be read from HEALTHTAP_APP_SECRET_FILE (ENOENT)'])
  t.strictSame(problems(dir), ['HEALTHTAP_APP_SECRET cannot be read from HEALTHTAP_APP_SECRET_FILE (EISDIR)'])
  t.strictSame(problems(`${dir}/empty`), ['HEALTHTAP_APP_SECRET is missing'])
  const both = problemsOf({ ...LEAST, HEALTHTAP_APP_SECRET_FILE: `${dir}/empty`, PORT: 'x' })
  t.equal(both.length, 2)
  t.match(both, [/^PORT/, /^HEALTHTAP_APP_SECRET and HEALTHTAP_APP_SECRET_FILE are both set/])
  t.strictSame(wrong({ PORT: '80', PORT_FILE: `${dir}/empty` }), ['PORT'], 'also where neither is needed')
  t.strictSame(wrong(filesOf(t, { LOG_LEVEL: 'loud' })), ['LOG_LEVEL'], 'what is in it is checked')
})

t.test('no message quotes a value', async t => {
  const value = `hush-${randomBytes(12).toString('hex')}`
  const callers = JSON.stringify([{ ...CALLER, key_sha256: value }])
  const names = [...Object.keys(FORMS), 'REDIS_URL', 'CALLERS']
  const all = Object.fromEntries(names.map(name => [name, name === 'CALLERS' ? callers : ` ${value} "`]))
  const error = (() => {
    try {
      return readConfig({ ...LEAST, ...all, HEALTHTAP_APP_SECRET_FILE: value })
    } catch (error) {
      return error
    }
  })()
  t.ok(error instanceof ConfigError)
  t.ok((error as ConfigError).problems.length >= names.length - 1)
  for (const secret of [value, APP_SECRET, KEY.toString('base64')]) {
    t.notOk(inspect(error, { depth: 9 }).includes(secret))
  }
})

t.test('settings that were read show no secret, however they are printed', async t => {
  const password = `redis-${randomBytes(12).toString('hex')}`
  const urls = ['redis://u:PW@cache', 'redis+sentinel://:PW@a,b/main', 'redis+cluster://u:PW@a']
  for (const url of urls.map(form => form.replace('PW', password))) {
    const config = readConfig({ ...LEAST, REDIS_URL: url })
    const logged: string[] = []
    const destination = { write: (line: string) => void logged.push(line) }
    pino({}, destination).info({ config, keys: config.encryptionKeys }, 'settings %o %j', config, config)
    const shown = {
      JSON: JSON.stringify(config),
      inspect: inspect(config, { depth: 9, showHidden: true, getters: true }),
      format: format('%o %O %j %s', config, config, config, config),
      pino: logged.join(),
    }
    for (const [name, text] of Object.entries(shown)) {
      t.match(text, 'app-1', `${name} shows the settings`)
      for (const secret of [password, APP_SECRET, ...KEY_FORMS]) t.notOk(text.includes(secret), `${name} of ${url}`)
    }
  }
})

t.test('the audit key shows itself to nobody', async t => {
  const config = readConfig({ ...LEAST, AUDIT_KEY: KEY.toString('base64'), AUDIT_LOG: '/var/log/audit.log' })
  t.equal(config.auditLog, '/var/log/audit.log')
  t.strictSame(config.auditKey?.export(), KEY)
  t.notOk(inspect(config.auditKey, { depth: 9, showHidden: true }).includes(KEY.toString('hex').slice(0, 4)))
})

t.test('settings that do nothing yet are told', async t => {
  t.strictSame(settingsWithoutEffect(LEAST), [])
  t.strictSame(settingsWithoutEffect({ ...LEAST, AUDIT_LOG: 'x', METRICS_PORT: '1', PUBLIC_PORT: '' }), [
    'METRICS_PORT',
  ])
})
