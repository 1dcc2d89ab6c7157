import { randomBytes } from 'node:crypto'
import { format, inspect } from 'node:util'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { ConfigError, type Environment, readConfig } from '../../src/config.ts'
import { told } from '../contract/records.ts'
import { APP_SECRET, CALLER, KEY, LEAST, problemsOf, wrong } from '../support/settings.ts'

/** The bytes of a key as they might be printed. */
const KEY_FORMS = [
  KEY.toString('base64').slice(0, 40),
  KEY.toString('base64url').slice(0, 40),
  KEY.toString('hex'),
  KEY.join(','),
]

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
    publicPort: null,
    metricsPort: null,
    maxConnections: 10_000,
    maxConcurrentPerCaller: 1_000,
    rateLimitPerCaller: 0,
    rateLimitPerGuid: 0,
    appId: 'app-1',
    appSecretNext: null,
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
    passwordGrant: false,
    logLevel: 'info',
    traces: null,
    redis: { kind: 'single', url: { secret: 'redis://127.0.0.1:6379' } },
    redisPrefix: 'htgw',
    tokenCacheSize: 50_000,
    journalDir: './journal',
    shutdownDelaySeconds: 1,
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
  PUBLIC_PORT: { good: ['0', '8443'], bad: ['65536', 'none'] },
  METRICS_PORT: { good: ['0', '9464'], bad: ['65536', 'none'] },
  MAX_CONNECTIONS: { good: ['1', '1000000'], bad: ['0', '1000001', 'many'] },
  MAX_CONCURRENT_PER_CALLER: { good: ['1', '1000000'], bad: ['0', '-1'] },
  RATE_LIMIT_PER_CALLER: { good: ['0', '1000000'], bad: ['0.5', '10/s', '1000001'] },
  RATE_LIMIT_PER_GUID: { good: ['0', '5'], bad: ['none', '-5'] },
  HEALTHTAP_TIMEOUT_MS: { good: ['100', '120000'], bad: ['99', '120001', '10s'] },
  PROVIDER_MAX_CONCURRENCY: { good: ['1', '1000'], bad: ['0', '1001'] },
  REFRESH_MARGIN_SECONDS: { good: ['0', '86400'], bad: ['86401', '-1', '1.5'] },
  TOKEN_MIN_TTL_SECONDS: { good: ['0', '86400'], bad: ['86401', 'none'] },
  DEFAULT_LIFETIME_SECONDS: { good: ['1', '31536000'], bad: ['0', '31536001'] },
  REFRESH_MARGIN_RATIO: { good: ['0.2', '0.9', '0.001'], bad: ['0', '0.91', '1', '-0.2', '.5', '20%', 'NaN'] },
  HEALTHTAP_PKCE: { good: ['true', 'false'], bad: ['1', 'TRUE', 'yes'] },
  HEALTHTAP_PASSWORD_GRANT: { good: ['true', 'false'], bad: ['1', 'TRUE', 'yes'] },
  REQUIRE_STATE: { good: ['true', 'false'], bad: ['0', 'False', 'no'] },
  LOG_LEVEL: { good: ['fatal', 'trace', 'silent'], bad: ['INFO', 'verbose'] },
  HEALTHTAP_IDENTITY_POINTER: { good: ['/guid', '/user/id', '/a~1b/~0'], bad: ['guid', '/a~2', '$.guid'] },
  HEALTHTAP_SCOPES: { good: ['profile_read', ' pay  profile_write '], bad: [' ', 'a"b', 'a\\b', 'ü'] },
  REDIS_PREFIX: { good: ['htgw', 'a.b:c-d_1', 'x'.repeat(64)], bad: ['x'.repeat(65), '{tag}', 'a b', 'ü'] },
  RETURN_TO_ORIGINS: {
    good: ['https://app.example.com', 'https://a.example, http://localhost:3000'],
    bad: [
      'https://app.example.com/',
      'https://app.example.com/path',
      'app.example.com',
      '*',
      'null',
      'ftp://a.example',
      'wss://a.example',
    ],
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
        good: [
          'https://api.example.com/v1',
          'http://127.0.0.1:4000',
          'http://localhost:4000',
          'http://LOCALHOST',
          'http://[::1]:4000',
          'http://127.0.0.1/@evil.example',
          // Other spellings of 127.0.0.1, which is where they lead.
          'http://2130706433',
          'http://0x7f.1',
        ],
        bad: [
          'http://api.example.com',
          'https://user:pass@api.example.com',
          'ftp://a',
          'api.example.com',
          '/v1',
          '//127.0.0.1',
          'https://',
          'http://127.0.0.1.evil.example',
          'http://127.0.0.1:80@evil.example',
          'http://localhost@evil.example',
          'http://localhost.evil.example',
          'http://localhost.',
          'http://evil.example/127.0.0.1',
          'http://evil.example#127.0.0.1',
          'http://evil.example\\@127.0.0.1',
          'http://0.0.0.0',
          'http://[::]',
          'http://[::ffff:8.8.8.8]',
          'http://10.0.0.1',
          'http://169.254.169.254',
          'http://134744072',
          'http://1270.0.0.1',
          'file:///etc/passwd',
          'javascript:alert(1)',
        ],
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

t.test('paths are added to the API address', async t => {
  for (const url of ['https://api.example.com?', 'https://api.example.com/#', 'https://api.example.com/?x=/v1']) {
    t.strictSame(wrong({ HEALTHTAP_API_URL: url }), ['HEALTHTAP_API_URL'], url)
    t.strictSame(wrong({ HEALTHTAP_IDENTITY_URL: url }), [])
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
