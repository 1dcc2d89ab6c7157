/** The settings of `serve`, from the environment: the one place that reads it. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { CallerEntry, Issuer, IssuerEntry, KeySet } from './callers/entries.ts'
import type { Secret } from './ports/secret.ts'
import { SettingError } from './settings/forms.ts'
import {
  type LOG_LEVELS,
  type SAMPLERS,
  SECRETS,
  SETTINGS,
  type Setting,
  type SettingName,
  type SettingValue,
} from './settings/schema.ts'
import type { RedisAddress } from './store/redis/connection.ts'
import type { EncryptionKey, EncryptionKeys } from './store/sealing.ts'
import { whatOpensslRefuses } from './tls.ts'

export interface Tls {
  /** PEM, as the private key is. */
  readonly cert: string
  readonly key: Secret
  /** Who signs the certificates of callers; null: they show none. */
  readonly clientCa: string | null
}

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
  readonly passwordGrant: boolean
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
  /** Grants at most; 0: none. */
  readonly tokenCacheSize: number
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

  function raw(name: SettingName): string | undefined {
    const value = environment[name] || undefined
    const file = environment[`${name}_FILE`] || undefined
    if (file === undefined) return value
    if (value !== undefined) throw new SettingError(`and ${name}_FILE are both set: leave one away`)
    try {
      return readFileSync(file, 'utf8').trim() || undefined
    } catch (error) {
      throw new SettingError(`cannot be read from ${name}_FILE (${(error as NodeJS.ErrnoException).code})`)
    }
  }

  /** What it is, or what is taken in its place. */
  function read<Name extends SettingName>(name: Name): SettingValue<Name> {
    const { fallback, form } = SETTINGS[name] as Setting<SettingValue<Name>>
    return attempt(name, text => {
      const value = text ?? fallback
      if (value === undefined) throw new SettingError('is missing')
      return value === null ? (null as SettingValue<Name>) : form(value)
    })
  }

  /** What it is; null where it is absent, also where `serve` could not do without it. */
  function readIfSet<Name extends SettingName>(name: Name): SettingValue<Name> | null {
    const { form } = SETTINGS[name] as Setting<SettingValue<Name>>
    return attempt(name, text => (text === undefined ? null : form(text)))
  }

  function attempt<T>(name: SettingName, make: (text: string | undefined) => T): T {
    try {
      return make(raw(name))
    } catch (error) {
      if (!(error instanceof SettingError)) throw error
      problems.push(`${name} ${error.message}`)
      // Never seen by anybody: the problems are thrown in the end.
      return null as T
    }
  }

  return { problems, read, readIfSet, isSet: (name: SettingName) => attempt(name, text => text !== undefined) }
}

type Reader = ReturnType<typeof reading>

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

/** Throws `ConfigError`, naming everything that is wrong at once. */
export function readConfig(environment: Environment = process.env): ServeConfig {
  const reader = reading(environment)
  const { problems, read } = reader
  const { config, misfits } = common(reader)
  const served: ServeConfig = {
    ...config,
    redis: read('REDIS_URL'),
    redisPrefix: read('REDIS_PREFIX'),
    tokenCacheSize: read('TOKEN_CACHE_SIZE'),
    encryptionKeys: read('ENCRYPTION_KEYS'),
    shutdownDelaySeconds: read('SHUTDOWN_DELAY_SECONDS'),
    journalDir: read('JOURNAL_DIR'),
    auditLog: read('AUDIT_LOG'),
    auditKey: read('AUDIT_KEY'),
  }
  return checked(served, problems, misfits)
}

/** The settings of a gateway that keeps its grants in memory. As `readConfig`. */
export function readEmbeddedConfig(environment: Environment): Config {
  const reader = reading(environment)
  const { config, misfits } = common(reader)
  return checked(config, reader.problems, misfits)
}

/** `misfits`: what does not fit together in settings that are good each by itself. */
function checked<T extends Config>(config: T, problems: readonly string[], misfits: () => readonly string[]): T {
  const all = problems.length === 0 ? misfits() : problems
  if (all.length > 0) throw new ConfigError(all)
  return Object.freeze(config)
}

/** The settings that any gateway has. */
function common(reader: Reader) {
  const { problems, read } = reader

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
    cert: read('TLS_CERT'),
    key: read('TLS_KEY'),
    clientCa: read('TLS_CLIENT_CA'),
  }
  const config: Config = {
    ...listeners(read),
    publicPort: read('PUBLIC_PORT'),
    maxConnections: read('MAX_CONNECTIONS'),
    maxConcurrentPerCaller: read('MAX_CONCURRENT_PER_CALLER'),
    rateLimitPerCaller: read('RATE_LIMIT_PER_CALLER'),
    rateLimitPerGuid: read('RATE_LIMIT_PER_GUID'),
    appId: read('HEALTHTAP_APP_ID'),
    appSecret: read('HEALTHTAP_APP_SECRET'),
    appSecretNext: read('HEALTHTAP_APP_SECRET_NEXT'),
    authorizeUrl: read('HEALTHTAP_AUTHORIZE_URL'),
    apiUrl: read('HEALTHTAP_API_URL'),
    identityUrl: read('HEALTHTAP_IDENTITY_URL'),
    identityPointer: read('HEALTHTAP_IDENTITY_POINTER'),
    redirectUris: read('HEALTHTAP_REDIRECT_URIS'),
    scopes: read('HEALTHTAP_SCOPES'),
    pkce: read('HEALTHTAP_PKCE'),
    passwordGrant: read('HEALTHTAP_PASSWORD_GRANT'),
    providerTimeoutMs: read('HEALTHTAP_TIMEOUT_MS'),
    providerMaxConcurrency: read('PROVIDER_MAX_CONCURRENCY'),
    callers: read('CALLERS'),
    jwtIssuers: (read('JWT_ISSUERS') ?? []).map(withKeys),
    tls: tls.cert === null || tls.key === null ? null : { ...tls, cert: tls.cert, key: tls.key },
    refreshMarginSeconds: read('REFRESH_MARGIN_SECONDS'),
    refreshMarginRatio: read('REFRESH_MARGIN_RATIO'),
    refreshIdleAfterSeconds: read('REFRESH_IDLE_AFTER_SECONDS'),
    tokenMinTtlSeconds: read('TOKEN_MIN_TTL_SECONDS'),
    defaultLifetimeSeconds: read('DEFAULT_LIFETIME_SECONDS'),
    returnToOrigins: read('RETURN_TO_ORIGINS') ?? [],
    requireState: read('REQUIRE_STATE'),
    logLevel: read('LOG_LEVEL'),
    traces: tracesFrom(reader),
  }
  return { config, misfits: () => whatDoesNotFit(config, tls) }
}

/** Platforms set some of these for whatever runs on them: without an endpoint they are not looked at. */
function tracesFrom({ isSet, read, readIfSet }: Reader): TracesConfig | null {
  const endpoint = read('OTEL_EXPORTER_OTLP_ENDPOINT')
  if (!isSet('OTEL_EXPORTER_OTLP_ENDPOINT') || read('OTEL_SDK_DISABLED')) return null
  const resource = read('OTEL_RESOURCE_ATTRIBUTES') ?? {}
  return {
    endpoint: endpoint ?? '',
    protocol: read('OTEL_EXPORTER_OTLP_PROTOCOL'),
    headers: read('OTEL_EXPORTER_OTLP_HEADERS') ?? {},
    serviceName: readIfSet('OTEL_SERVICE_NAME') ?? resource['service.name'] ?? read('OTEL_SERVICE_NAME'),
    resource,
    sampler: read('OTEL_TRACES_SAMPLER'),
    share: read('OTEL_TRACES_SAMPLER_ARG'),
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
  const { problems, read, readIfSet } = reading(environment)
  const config: AuditConfig = {
    auditLog: read('AUDIT_LOG'),
    auditKey: read('AUDIT_KEY'),
    encryptionKeys: readIfSet('ENCRYPTION_KEYS') ?? [],
    redis: readIfSet('REDIS_URL'),
    redisPrefix: read('REDIS_PREFIX'),
  }
  const hasKey = config.auditKey !== null || config.encryptionKeys.length > 0
  if (problems.length === 0 && !hasKey) problems.push('AUDIT_KEY is missing, and so is ENCRYPTION_KEYS')
  if (problems.length > 0) throw new ConfigError(problems)
  return config
}

/** The few settings that `healthcheck` looks at: it is not its business to read secrets. Throws `ConfigError`. */
export function readListenConfig(environment: Environment = process.env): ListenConfig {
  const { isSet, problems, read } = reading(environment)
  const config: ListenConfig = { ...listeners(read), hasTls: isSet('TLS_CERT') }
  if (problems.length > 0) throw new ConfigError(problems)
  return config
}

function listeners(read: Reader['read']) {
  return { host: read('HOST'), port: read('PORT'), metricsPort: read('METRICS_PORT') }
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
    url: read('GATEWAY_URL'),
    apiKey: read('GATEWAY_API_KEY'),
  }
  if (problems.length > 0) throw new ConfigError(problems)
  return config
}
