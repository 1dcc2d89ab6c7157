/** The settings of `serve`, from the environment: the one place that reads it. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { CallerEntry, Issuer, IssuerEntry, KeySet } from './callers/entries.ts'
import type { Secret } from './ports/secret.ts'
import * as settings from './settings.ts'
import type { RedisAddress } from './store/redis/connection.ts'
import type { EncryptionKey, EncryptionKeys } from './store/sealing.ts'
import { whatOpensslRefuses } from './tls.ts'

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

export interface Tls {
  /** PEM, as the private key is. */
  readonly cert: string
  readonly key: Secret
  /** Who signs the certificates of callers; null: they show none. */
  readonly clientCa: string | null
}

const SAMPLERS = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
] as const

/** Where traces go, and which. The settings are OpenTelemetry's own. */
export interface TracesConfig {
  /** Of a collector that speaks OTLP over HTTP; without a slash at its end. */
  readonly endpoint: string
  readonly protocol: 'http/protobuf' | 'http/json'
  readonly headers: Readonly<Record<string, Secret>>
  readonly serviceName: string
  /** More of what all spans have in common. */
  readonly resource: Readonly<Record<string, string>>
  readonly sampler: (typeof SAMPLERS)[number]
  /** How many traces are kept where the sampler goes by a share: from 0 to 1. */
  readonly share: number
}

/** What the gateway needs to know, whatever it stores its grants in. */
export interface Config {
  readonly host: string
  readonly port: number
  /** null: no listener of its own; 0: any free port. */
  readonly publicPort: number | null
  readonly metricsPort: number | null
  /** For each listener. */
  readonly maxConnections: number
  readonly maxConcurrentPerCaller: number
  /** Requests a second, averaged over ten; 0: no limit. */
  readonly rateLimitPerCaller: number
  readonly rateLimitPerGuid: number
  readonly appId: string
  readonly appSecret: Secret
  readonly appSecretNext: Secret | null
  readonly authorizeUrl: string
  readonly apiUrl: string
  readonly identityUrl: string | null
  readonly identityPointer: string
  readonly redirectUris: readonly string[]
  readonly scopes: readonly string[]
  readonly pkce: boolean
  readonly providerTimeoutMs: number
  readonly providerMaxConcurrency: number
  readonly callers: readonly CallerEntry[]
  readonly jwtIssuers: readonly Issuer[]
  /** null: plain HTTP. */
  readonly tls: Tls | null
  readonly refreshMarginSeconds: number
  readonly refreshMarginRatio: number
  /** 0: all grants are renewed ahead of time. */
  readonly refreshIdleAfterSeconds: number
  readonly tokenMinTtlSeconds: number
  readonly defaultLifetimeSeconds: number
  readonly returnToOrigins: readonly string[]
  readonly requireState: boolean
  readonly logLevel: (typeof LOG_LEVELS)[number]
  /** null: no traces. */
  readonly traces: TracesConfig | null
}

/** What it needs to know besides to keep them in Redis. */
export interface ServeConfig extends Config {
  readonly redis: RedisAddress
  readonly redisPrefix: string
  readonly encryptionKeys: EncryptionKeys
  readonly journalDir: string
  readonly shutdownDelaySeconds: number
  /** `-`: standard output; else a file. */
  readonly auditLog: string
  /** null: one is derived from the first of the encryption keys. */
  readonly auditKey: KeyObject | null
}

/** What `audit verify` needs to know. */
export interface AuditConfig {
  readonly auditLog: string
  readonly auditKey: KeyObject | null
  /** Empty: there are none. */
  readonly encryptionKeys: readonly EncryptionKey[]
  /** null: there is no store to compare with. */
  readonly redis: RedisAddress | null
  readonly redisPrefix: string
}

/** What `healthcheck` needs to know: where a gateway with these settings listens. */
export interface ListenConfig {
  readonly host: string
  readonly port: number
  /** null: no listener of its own. */
  readonly metricsPort: number | null
  /** Whether the main listener speaks TLS; the others never do. */
  readonly hasTls: boolean
}

/** How the commands that ask a gateway over HTTP reach it. */
export interface ApiConfig {
  /** Without a slash at its end. */
  readonly url: string
  readonly apiKey: Secret
}

/** Every setting that is missing or wrong, by name. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(`The settings are not complete:\n${problems.map(problem => `  - ${problem}`).join('\n')}`)
    this.problems = problems
  }
}

export type Environment = Readonly<Record<string, string | undefined>>

/** Reads settings one by one, and collects what is wrong with them. An empty value counts as absent. */
function reading(environment: Environment) {
  const problems: string[] = []

  function raw(name: string): string | undefined {
    const value = environment[name] || undefined
    const file = environment[`${name}_FILE`] || undefined
    if (file === undefined) return value
    if (value !== undefined) throw new settings.SettingError(`and ${name}_FILE are both set: leave one away`)
    try {
      return readFileSync(file, 'utf8').trim() || undefined
    } catch (error) {
      throw new settings.SettingError(`cannot be read from ${name}_FILE (${(error as NodeJS.ErrnoException).code})`)
    }
  }

  function read<T>(name: string, parse: settings.Parse<T>, fallback: T | undefined): T {
    try {
      const value = raw(name)
      if (value !== undefined) return parse(value)
      if (fallback !== undefined) return fallback
      throw new settings.SettingError('is missing')
    } catch (error) {
      if (!(error instanceof settings.SettingError)) throw error
      problems.push(`${name} ${error.message}`)
      // Never seen by anybody: the problems are thrown below.
      return fallback as T
    }
  }

  return { problems, read }
}

/** The settings that a secret stands in. */
const SECRETS = [
  'HEALTHTAP_APP_SECRET',
  'HEALTHTAP_APP_SECRET_NEXT',
  'REDIS_URL',
  'ENCRYPTION_KEYS',
  'AUDIT_KEY',
  'TLS_KEY',
  'OTEL_EXPORTER_OTLP_HEADERS',
] as const

/**
 * The environment, to read settings from now and later. From here on the process itself has no secrets in it: Node writes it
 * into every diagnostic report, and a process that is started inherits it. Where Node can leave all of it out of reports (22.13
 * and later), it does.
 */
export function takeEnvironment(): Environment {
  const environment = { ...process.env }
  for (const name of SECRETS) delete process.env[name]
  Object.assign(process.report, { excludeEnv: true })
  return environment
}

const required = undefined

/** Throws `ConfigError`, naming everything that is wrong at once. */
export function readConfig(environment: Environment = process.env): ServeConfig {
  const { problems, read } = reading(environment)
  const { config, misfits } = common({ problems, read })
  const served: ServeConfig = {
    ...config,
    redis: read('REDIS_URL', settings.redisUrl, required),
    redisPrefix: read('REDIS_PREFIX', settings.redisPrefix, 'htgw'),
    encryptionKeys: read('ENCRYPTION_KEYS', settings.encryptionKeys, required),
    shutdownDelaySeconds: read('SHUTDOWN_DELAY_SECONDS', settings.integer(0, 300), 1),
    journalDir: read('JOURNAL_DIR', settings.text, './journal'),
    auditLog: read('AUDIT_LOG', settings.text, '-'),
    auditKey: read<KeyObject | null>('AUDIT_KEY', settings.auditKey, null),
  }
  return checked(served, problems, misfits)
}

/** The settings of a gateway that keeps its grants in memory. As `readConfig`. */
export function readEmbeddedConfig(environment: Environment): Config {
  const { problems, read } = reading(environment)
  const { config, misfits } = common({ problems, read })
  return checked(config, problems, misfits)
}

/** `misfits`: what does not fit together in settings that are good each by itself. */
function checked<T extends Config>(config: T, problems: readonly string[], misfits: () => readonly string[]): T {
  const all = problems.length === 0 ? misfits() : problems
  if (all.length > 0) throw new ConfigError(all)
  return Object.freeze(config)
}

/** The settings that any gateway has. */
function common({ problems, read }: ReturnType<typeof reading>) {
  /** A file of keys is read with the settings: it changes with them. */
  function withKeys({ jwks_file: file, ...issuer }: IssuerEntry): Issuer {
    if (file === undefined) return issuer
    try {
      return { ...issuer, jwks: keySetFrom(readFileSync(file, 'utf8')) }
    } catch (error) {
      const why = (error as NodeJS.ErrnoException).code ?? 'it is not a JSON Web Key Set'
      problems.push(`JWT_ISSUERS cannot use the jwks_file of ${issuer.issuer} (${why})`)
      return issuer
    }
  }

  const tls = {
    cert: read<string | null>('TLS_CERT', settings.certificates, null),
    key: read<Secret | null>('TLS_KEY', settings.privateKey, null),
    clientCa: read<string | null>('TLS_CLIENT_CA', settings.certificates, null),
  }
  const config: Config = {
    ...listeners(read),
    publicPort: read<number | null>('PUBLIC_PORT', settings.integer(0, 65_535), null),
    maxConnections: read('MAX_CONNECTIONS', settings.integer(1, 1_000_000), 10_000),
    maxConcurrentPerCaller: read('MAX_CONCURRENT_PER_CALLER', settings.integer(1, 1_000_000), 1_000),
    rateLimitPerCaller: read('RATE_LIMIT_PER_CALLER', settings.integer(0, 1_000_000), 0),
    rateLimitPerGuid: read('RATE_LIMIT_PER_GUID', settings.integer(0, 1_000_000), 0),
    appId: read('HEALTHTAP_APP_ID', settings.text, required),
    appSecret: read('HEALTHTAP_APP_SECRET', settings.secret, required),
    appSecretNext: read<Secret | null>('HEALTHTAP_APP_SECRET_NEXT', settings.secret, null),
    authorizeUrl: read(
      'HEALTHTAP_AUTHORIZE_URL',
      settings.providerUrl,
      'https://developers.healthtap.com/oauth/authorize',
    ),
    apiUrl: read('HEALTHTAP_API_URL', settings.baseUrl, 'https://api.healthtap.com'),
    identityUrl: read<string | null>('HEALTHTAP_IDENTITY_URL', settings.providerUrl, null),
    identityPointer: read('HEALTHTAP_IDENTITY_POINTER', settings.jsonPointer, '/guid'),
    redirectUris: read('HEALTHTAP_REDIRECT_URIS', settings.redirectUris, required),
    scopes: read('HEALTHTAP_SCOPES', settings.scopes, ['profile_read', 'profile_write']),
    pkce: read('HEALTHTAP_PKCE', settings.flag, true),
    providerTimeoutMs: read('HEALTHTAP_TIMEOUT_MS', settings.integer(100, 120_000), 10_000),
    providerMaxConcurrency: read('PROVIDER_MAX_CONCURRENCY', settings.integer(1, 1_000), 32),
    callers: read('CALLERS', settings.callers, required),
    jwtIssuers: read('JWT_ISSUERS', settings.jwtIssuers, []).map(withKeys),
    tls: tls.cert === null || tls.key === null ? null : { ...tls, cert: tls.cert, key: tls.key },
    refreshMarginSeconds: read('REFRESH_MARGIN_SECONDS', settings.integer(0, 86_400), 600),
    refreshMarginRatio: read('REFRESH_MARGIN_RATIO', settings.ratio, 0.2),
    refreshIdleAfterSeconds: read('REFRESH_IDLE_AFTER_SECONDS', settings.integer(0, 31_536_000), 0),
    tokenMinTtlSeconds: read('TOKEN_MIN_TTL_SECONDS', settings.integer(0, 86_400), 30),
    defaultLifetimeSeconds: read('DEFAULT_LIFETIME_SECONDS', settings.integer(1, 31_536_000), 3_600),
    returnToOrigins: read('RETURN_TO_ORIGINS', settings.origins, []),
    requireState: read('REQUIRE_STATE', settings.flag, false),
    logLevel: read('LOG_LEVEL', settings.oneOf(...LOG_LEVELS), 'info'),
    traces: traces(read),
  }
  return { config, misfits: () => whatDoesNotFit(config, tls) }
}

/** Platforms set some of these for whatever runs on them: without an endpoint they are not looked at. */
function traces(read: ReturnType<typeof reading>['read']): TracesConfig | null {
  let isWanted = false
  const wanted: settings.Parse<string> = value => {
    isWanted = true
    return settings.httpUrl(value)
  }
  const endpoint = read('OTEL_EXPORTER_OTLP_ENDPOINT', wanted, '')
  if (!isWanted || read('OTEL_SDK_DISABLED', settings.flag, false)) return null
  const resource = read('OTEL_RESOURCE_ATTRIBUTES', settings.pairs, {})
  return {
    endpoint,
    protocol: read('OTEL_EXPORTER_OTLP_PROTOCOL', settings.oneOf('http/protobuf', 'http/json'), 'http/protobuf'),
    headers: read('OTEL_EXPORTER_OTLP_HEADERS', settings.headers, {}),
    serviceName: read('OTEL_SERVICE_NAME', settings.text, resource['service.name'] ?? 'healthtap-gateway'),
    resource,
    sampler: read('OTEL_TRACES_SAMPLER', settings.oneOf(...SAMPLERS), 'parentbased_always_on'),
    share: read('OTEL_TRACES_SAMPLER_ARG', settings.share, 1),
  }
}

/** Throws where it is not a JSON Web Key Set (RFC 7517, section 5). */
function keySetFrom(text: string): KeySet {
  const parsed = JSON.parse(text)
  const isKey = (key: unknown) => typeof key === 'object' && key !== null && !Array.isArray(key)
  if (Array.isArray(parsed?.keys) && parsed.keys.every(isKey)) return parsed
  throw new TypeError()
}

function whatDoesNotFit({ callers, jwtIssuers }: Config, tls: { [Name in keyof Tls]: Tls[Name] | null }): string[] {
  const { cert, key, clientCa } = tls
  const isSigned = (name: string) => jwtIssuers.some(({ issuer }) => issuer === name)
  const strangers = callers.filter(({ jwt }) => jwt !== undefined && !isSigned(jwt.issuer))
  const isPair =
    cert === null || key === null || new X509Certificate(cert).checkPrivateKey(createPrivateKey(key.reveal()))
  const refused = cert === null || key === null || !isPair ? null : whatOpensslRefuses({ cert, key, clientCa })
  return [
    ...strangers.map(({ name }) => `CALLERS: the issuer of ${name} is not in JWT_ISSUERS`),
    ...(cert !== null && key === null ? ['TLS_KEY is missing, and TLS_CERT is set'] : []),
    ...(cert === null && key !== null ? ['TLS_CERT is missing, and TLS_KEY is set'] : []),
    ...(isPair ? [] : ['TLS_KEY is not the key of the certificate in TLS_CERT']),
    ...(refused === null ? [] : [`${refused.setting} cannot be used: OpenSSL refuses it (${refused.reason})`]),
    ...(clientCa !== null && cert === null ? ['TLS_CERT is missing, and TLS_CLIENT_CA is set'] : []),
    ...(clientCa === null && callers.some(({ certificate }) => certificate !== undefined)
      ? ['TLS_CLIENT_CA is missing, and CALLERS has callers with a certificate']
      : []),
  ]
}

/** The few settings that `audit verify` looks at: it may run where nothing else is. Throws `ConfigError`. */
export function readAuditConfig(environment: Environment = process.env): AuditConfig {
  const { problems, read } = reading(environment)
  const config: AuditConfig = {
    auditLog: read('AUDIT_LOG', settings.text, '-'),
    auditKey: read<KeyObject | null>('AUDIT_KEY', settings.auditKey, null),
    encryptionKeys: read<readonly EncryptionKey[]>('ENCRYPTION_KEYS', settings.encryptionKeys, []),
    redis: read<RedisAddress | null>('REDIS_URL', settings.redisUrl, null),
    redisPrefix: read('REDIS_PREFIX', settings.redisPrefix, 'htgw'),
  }
  const hasKey = config.auditKey !== null || config.encryptionKeys.length > 0
  if (problems.length === 0 && !hasKey) problems.push('AUDIT_KEY is missing, and so is ENCRYPTION_KEYS')
  if (problems.length > 0) throw new ConfigError(problems)
  return config
}

/** The few settings that `healthcheck` looks at: it is not its business to read secrets. Throws `ConfigError`. */
export function readListenConfig(environment: Environment = process.env): ListenConfig {
  const { problems, read } = reading(environment)
  const config: ListenConfig = { ...listeners(read), hasTls: read('TLS_CERT', settings.text, '') !== '' }
  if (problems.length > 0) throw new ConfigError(problems)
  return config
}

function listeners(read: ReturnType<typeof reading>['read']) {
  return {
    host: read('HOST', settings.text, '127.0.0.1'),
    port: read('PORT', settings.integer(0, 65_535), 3000),
    metricsPort: read<number | null>('METRICS_PORT', settings.integer(0, 65_535), null),
  }
}

/** `url` and `keyFile`, where they are given, take the place of what the environment says. Throws `ConfigError`. */
export function readApiConfig(
  { keyFile, url }: { readonly url?: string | undefined; readonly keyFile?: string | undefined },
  environment: Environment = process.env,
): ApiConfig {
  const { problems, read } = reading({
    ...environment,
    ...(url === undefined ? {} : { GATEWAY_URL: url, GATEWAY_URL_FILE: undefined }),
    ...(keyFile === undefined ? {} : { GATEWAY_API_KEY: undefined, GATEWAY_API_KEY_FILE: keyFile }),
  })
  const config: ApiConfig = {
    url: read('GATEWAY_URL', settings.httpUrl, 'http://127.0.0.1:3000'),
    apiKey: read('GATEWAY_API_KEY', settings.apiKey, required),
  }
  if (problems.length > 0) throw new ConfigError(problems)
  return config
}
