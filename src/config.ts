/** The settings of `serve`, from the environment: the one place that reads it. */
import { readFileSync } from 'node:fs'
import type { CallerEntry } from './callers/callers.ts'
import type { Secret } from './ports/secret.ts'
import * as settings from './settings.ts'
import type { RedisAddress } from './store/redis/connection.ts'
import type { EncryptionKey } from './store/sealing.ts'

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

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
  readonly refreshMarginSeconds: number
  readonly refreshMarginRatio: number
  /** 0: all grants are renewed ahead of time. */
  readonly refreshIdleAfterSeconds: number
  readonly tokenMinTtlSeconds: number
  readonly defaultLifetimeSeconds: number
  readonly returnToOrigins: readonly string[]
  readonly requireState: boolean
  readonly logLevel: (typeof LOG_LEVELS)[number]
}

/** What it needs to know besides to keep them in Redis. */
export interface ServeConfig extends Config {
  readonly redis: RedisAddress
  readonly redisPrefix: string
  readonly encryptionKeys: readonly [EncryptionKey, ...EncryptionKey[]]
  readonly journalDir: string
}

/** Settings of the contract that this version does not act upon yet: setting one is worth a warning. */
const NOT_YET = ['AUDIT_LOG'] as const

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

/** Throws `ConfigError`, naming everything that is wrong at once. An empty value counts as absent. */
export function readConfig(environment: Environment = process.env): ServeConfig {
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

  const required = undefined
  const config: ServeConfig = {
    host: read('HOST', settings.text, '127.0.0.1'),
    port: read('PORT', settings.integer(0, 65_535), 3000),
    publicPort: read<number | null>('PUBLIC_PORT', settings.integer(0, 65_535), null),
    metricsPort: read<number | null>('METRICS_PORT', settings.integer(0, 65_535), null),
    maxConnections: read('MAX_CONNECTIONS', settings.integer(1, 1_000_000), 10_000),
    maxConcurrentPerCaller: read('MAX_CONCURRENT_PER_CALLER', settings.integer(1, 1_000_000), 1_000),
    rateLimitPerCaller: read('RATE_LIMIT_PER_CALLER', settings.integer(0, 1_000_000), 0),
    rateLimitPerGuid: read('RATE_LIMIT_PER_GUID', settings.integer(0, 1_000_000), 0),
    appId: read('HEALTHTAP_APP_ID', settings.text, required),
    appSecret: read('HEALTHTAP_APP_SECRET', settings.secret, required),
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
    refreshMarginSeconds: read('REFRESH_MARGIN_SECONDS', settings.integer(0, 86_400), 600),
    refreshMarginRatio: read('REFRESH_MARGIN_RATIO', settings.ratio, 0.2),
    refreshIdleAfterSeconds: read('REFRESH_IDLE_AFTER_SECONDS', settings.integer(0, 31_536_000), 0),
    tokenMinTtlSeconds: read('TOKEN_MIN_TTL_SECONDS', settings.integer(0, 86_400), 30),
    defaultLifetimeSeconds: read('DEFAULT_LIFETIME_SECONDS', settings.integer(1, 31_536_000), 3_600),
    returnToOrigins: read('RETURN_TO_ORIGINS', settings.origins, []),
    requireState: read('REQUIRE_STATE', settings.flag, false),
    logLevel: read('LOG_LEVEL', settings.oneOf(...LOG_LEVELS), 'info'),
    redis: read('REDIS_URL', settings.redisUrl, required),
    redisPrefix: read('REDIS_PREFIX', settings.redisPrefix, 'htgw'),
    encryptionKeys: read('ENCRYPTION_KEYS', settings.encryptionKeys, required),
    journalDir: read('JOURNAL_DIR', settings.text, './journal'),
  }
  if (problems.length > 0) throw new ConfigError(problems)
  return Object.freeze(config)
}

/** Settings that are set and have no effect in this version. */
export function settingsWithoutEffect(environment: Environment = process.env): readonly string[] {
  return NOT_YET.filter(name => environment[name])
}
