/**
 * Every setting, declared once. `config.ts` reads them by it; the README's table and `.env.example` are made from it; `doctor`
 * knows the names by it.
 */
import * as forms from './forms.ts'

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

export const SAMPLERS = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
] as const

export interface Setting<T> {
  /** How its text becomes its value. */
  readonly form: forms.Parse<T>
  /** Taken where it is absent, in the form in which it is set; null: nothing is; undefined: it has to be there. */
  readonly fallback: string | null | undefined
  /** Markdown. */
  readonly about: string
  /** What is shown for a `fallback` of null. */
  readonly otherwise?: string
  /** A secret stands in it: the process forgets it once it is read. */
  readonly isSecret?: boolean
}

type More = Partial<Pick<Setting<unknown>, 'otherwise' | 'isSecret'>>

function required<T>(form: forms.Parse<T>, about: string, more: More = {}): Setting<T> {
  return { form, fallback: undefined, about, ...more }
}

function usual<T>(form: forms.Parse<T>, fallback: string, about: string): Setting<T> {
  return { form, fallback, about }
}

/** Its value is null where it is absent. */
function optional<T>(form: forms.Parse<T>, about: string, more: More = {}): Setting<T | null> {
  return { form, fallback: null, about, ...more }
}

const client = {
  HEALTHTAP_APP_ID: required(forms.text, "the client's credentials: its APP_ID"),
  HEALTHTAP_APP_SECRET: required(forms.secret, 'its APP_SECRET', { isSecret: true }),
  HEALTHTAP_APP_SECRET_NEXT: optional(
    forms.secret,
    'tried where HealthTap refuses the first: for [changing it](docs/secrets.md) without a failed request',
    { isSecret: true },
  ),
  HEALTHTAP_REDIRECT_URIS: required(
    forms.redirectUris,
    'allowed redirect URIs, comma-separated, matched exactly; the first is the default',
  ),
  HEALTHTAP_SCOPES: usual(
    forms.scopes,
    'profile_read profile_write',
    'scopes that may be asked for; also the default request',
  ),
  HEALTHTAP_AUTHORIZE_URL: usual(
    forms.providerUrl,
    'https://developers.healthtap.com/oauth/authorize',
    'where people are sent',
  ),
  HEALTHTAP_API_URL: usual(
    forms.baseUrl,
    'https://api.healthtap.com',
    'the token endpoint, provisioning and revocation lie below it; https, or http on this machine',
  ),
  HEALTHTAP_IDENTITY_URL: optional(
    forms.providerUrl,
    "where a token's owner can be asked for, when the exchange's answer has no `guid`",
    { otherwise: 'unset' },
  ),
  HEALTHTAP_IDENTITY_POINTER: usual(forms.jsonPointer, '/guid', 'JSON pointer to the guid in that answer'),
  HEALTHTAP_PKCE: usual(forms.flag, 'true', 'send an S256 challenge with authorizations begun here'),
  HEALTHTAP_PASSWORD_GRANT: usual(
    forms.flag,
    'false',
    '`true`: a provisioned person whose refresh token is lost or refused is brought back with the stored password (RFC 6749, section 4.3)',
  ),
  HEALTHTAP_TIMEOUT_MS: usual(forms.integer(100, 120_000), '10000', 'deadline of one provider request'),
  PROVIDER_MAX_CONCURRENCY: usual(
    forms.integer(1, 1_000),
    '32',
    'provider requests at once, for each replica; readers go first',
  ),
}

const keeping = {
  REDIS_URL: required(
    forms.redisUrl,
    '`redis://`, `rediss://`, `redis+sentinel://h1,h2/NAME`, `redis+cluster://h1,h2,h3`',
    { isSecret: true },
  ),
  REDIS_PREFIX: usual(forms.redisPrefix, 'htgw', 'first part of every key'),
  ENCRYPTION_KEYS: required(
    forms.encryptionKeys,
    '`id:base64(32 bytes)`, comma-separated; the first encrypts, all decrypt',
    { isSecret: true },
  ),
  JOURNAL_DIR: usual(
    forms.text,
    './journal',
    'where rotations that could not be stored wait, encrypted, for the next start',
  ),
}

const callers = {
  CALLERS: required(
    forms.callers,
    'JSON `[{"name":"scheduler","key_sha256":"<64 hex>","permissions":["token:read"]}]`; more in [docs/callers.md](docs/callers.md)',
  ),
  JWT_ISSUERS: optional(
    forms.jwtIssuers,
    'JSON `[{"issuer","audience","jwks_url" or "jwks_file"}]`: whose tokens callers may show instead of an API key',
  ),
  TLS_CERT: optional(forms.certificates, 'PEM: the gateway speaks TLS'),
  TLS_KEY: optional(forms.privateKey, 'PEM: the private key of `TLS_CERT`', { isSecret: true }),
  TLS_CLIENT_CA: optional(
    forms.certificates,
    'PEM: who signs the certificates that callers may show instead of an API key',
  ),
  REQUIRE_STATE: usual(forms.flag, 'false', '`true`: exchanges without a `state` begun here are refused'),
  RETURN_TO_ORIGINS: optional(forms.origins, 'origins that the hosted callback may send a browser back to'),
}

const renewing = {
  REFRESH_MARGIN_SECONDS: usual(forms.integer(0, 86_400), '600', 'how long before expiry a token is renewed …'),
  REFRESH_MARGIN_RATIO: usual(forms.ratio, '0.2', '… but never more than this part of its lifetime'),
  REFRESH_IDLE_AFTER_SECONDS: usual(
    forms.integer(0, 31_536_000),
    '0',
    'grants unread for this long are renewed when next read, not ahead of time; 0: all are renewed ahead',
  ),
  TOKEN_CACHE_SIZE: usual(
    forms.integer(0, 10_000_000),
    '50000',
    'grants kept in memory at most, for each replica, so that reading a token need not ask Redis, and goes on while Redis is away; 0: none',
  ),
  TOKEN_MIN_TTL_SECONDS: usual(forms.integer(0, 86_400), '30', 'least remaining life of a token handed out'),
  DEFAULT_LIFETIME_SECONDS: usual(
    forms.integer(1, 31_536_000),
    '3600',
    'lifetime of an access token that comes without `expires_in`',
  ),
}

const listening = {
  HOST: usual(forms.text, '127.0.0.1', 'where the service listens'),
  PORT: usual(forms.integer(0, 65_535), '3000', 'its port; 0: any that is free'),
  PUBLIC_PORT: optional(forms.integer(0, 65_535), 'a listener of its own for `/tap-in/*` alone', {
    otherwise: 'unset',
  }),
  METRICS_PORT: optional(forms.integer(0, 65_535), 'a listener of its own for `/metrics` and `/health/*` alone', {
    otherwise: 'unset',
  }),
}

const limits = {
  MAX_CONNECTIONS: usual(forms.integer(1, 1_000_000), '10000', 'connections at once, for each listener'),
  MAX_CONCURRENT_PER_CALLER: usual(
    forms.integer(1, 1_000_000),
    '1000',
    'requests of one caller under way at once, for each replica',
  ),
  RATE_LIMIT_PER_CALLER: usual(
    forms.integer(0, 1_000_000),
    '0',
    'requests a second of one caller, averaged over ten, over all replicas; `0`: no limit',
  ),
  RATE_LIMIT_PER_GUID: usual(
    forms.integer(0, 1_000_000),
    '0',
    'the same for one guid, whoever asks about it; see [docs/limits.md](docs/limits.md) for values',
  ),
}

const running = {
  AUDIT_LOG: usual(forms.text, '-', 'the [audit stream](docs/audit.md): `-` is standard output, else a file'),
  AUDIT_KEY: optional(
    forms.auditKey,
    'base64(32 bytes), which chains it; absent: derived from the first of `ENCRYPTION_KEYS`, so set it in production',
    { otherwise: 'derived', isSecret: true },
  ),
  LOG_LEVEL: usual(forms.oneOf(...LOG_LEVELS), 'info', "pino's levels"),
  SHUTDOWN_DELAY_SECONDS: usual(
    forms.integer(0, 300),
    '1',
    'how long after SIGTERM requests are still taken, while readiness says 503: as long as your load balancer takes to notice',
  ),
}

const tracing = {
  OTEL_EXPORTER_OTLP_ENDPOINT: optional(
    forms.httpUrl,
    'a collector that speaks OTLP over HTTP, such as `http://collector:4318`: [traces](docs/tracing.md) go there, and without it there are none',
    { otherwise: 'unset' },
  ),
  OTEL_EXPORTER_OTLP_HEADERS: optional(forms.headers, '`name=value`, comma-separated, values percent-encoded', {
    isSecret: true,
  }),
  OTEL_EXPORTER_OTLP_PROTOCOL: usual(forms.oneOf('http/protobuf', 'http/json'), 'http/protobuf', 'or `http/json`'),
  OTEL_SERVICE_NAME: usual(forms.text, 'healthtap-gateway', 'what the spans are of'),
  OTEL_RESOURCE_ATTRIBUTES: optional(forms.pairs, 'more of what all spans have in common; written as the headers are'),
  OTEL_TRACES_SAMPLER: usual(
    forms.oneOf(...SAMPLERS),
    'parentbased_always_on',
    "which requests are traced, by OpenTelemetry's names",
  ),
  OTEL_TRACES_SAMPLER_ARG: usual(forms.share, '1', 'for those with `ratio`: a share from 0 to 1'),
  OTEL_SDK_DISABLED: usual(forms.flag, 'false', '`true`: no traces, whatever the others say'),
}

/** Those of `serve`, in the order in which they are shown. */
export const SECTIONS = {
  'The client at HealthTap': client,
  'Where grants are kept': keeping,
  'Who may ask, and for what': callers,
  'When tokens are renewed': renewing,
  'Where it listens': listening,
  'How much it takes': limits,
  'Running it': running,
  Traces: tracing,
} satisfies Readonly<Record<string, Readonly<Record<string, Setting<unknown>>>>>

/** Those of the commands that ask a gateway over HTTP. */
const asking = {
  GATEWAY_URL: usual(forms.httpUrl, 'http://127.0.0.1:3000', 'where the gateway is'),
  GATEWAY_API_KEY: required(forms.apiKey, 'the API key to ask it with'),
}

export const SETTINGS = {
  ...client,
  ...keeping,
  ...callers,
  ...renewing,
  ...listening,
  ...limits,
  ...running,
  ...tracing,
  ...asking,
}

export type SettingName = keyof typeof SETTINGS
export type SettingValue<Name extends SettingName> = (typeof SETTINGS)[Name] extends Setting<infer T> ? T : never

/** Those that a secret stands in. */
export const SECRETS = (Object.keys(SETTINGS) as SettingName[]).filter(
  name => (SETTINGS[name] as Setting<unknown>).isSecret === true,
)
