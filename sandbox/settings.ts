import type { FastifyServerOptions } from 'fastify'

/**
 * When a refresh kills the pair that it replaces: `instant`, or `on_use` (as soon as the new access token is first
 * used). Doorkeeper calls the second one `refresh_token_revoked_on_use`. A client cannot see which one it talks to.
 */
type Rotation = 'instant' | 'on_use'

export interface SandboxOptions {
  readonly appId: string
  readonly appSecret: string
  /** As the consent page calls the app. Default: `Your app`. */
  readonly appName?: string
  /** Compared character by character; custom schemes such as `myapp://oauth/healthtap` are welcome. */
  readonly redirectUris: readonly string[]
  /** Default: `instant`. */
  readonly rotation?: Rotation
  /** Default: false. Doorkeeper up to 4.2: 401 for every token error, `invalid_request` for the loser of a race. */
  readonly legacy?: boolean
  /** Whole seconds, at least 1. Default: 7200. */
  readonly tokenLifetimeSeconds?: number
  /** Whether the answer to a code exchange, or to a password, says whose tokens these are. Default: true. */
  readonly guidInExchange?: boolean
  /** Default: false, as in Doorkeeper. True: the password grant is offered (RFC 6749, section 4.3). */
  readonly passwordGrant?: boolean
  /**
   * Default: false. True: a sign-in hands out the pair that the person has already, if its scopes are the same and its access
   * token lives. Doorkeeper calls this `reuse_access_token`.
   */
  readonly reuseTokens?: boolean
  /** Default: the five documented ones. */
  readonly scopes?: readonly string[]
  /** Default: true, S256 is checked. False: challenge and verifier are silently ignored. */
  readonly pkce?: boolean
  /** Where people and their pairs are kept over a restart, tokens as they are. Absent: they are forgotten. */
  readonly dataFile?: string
  /** Default: false. Whether `GET /sandbox/pairs` tells every request and every pair, in a log that grows without a bound. */
  readonly keepsPairBook?: boolean
  /** Milliseconds since the epoch. Default: the system's clock. */
  readonly now?: () => number
  /** Default: false. Query strings are never logged, because they may carry codes and tokens. */
  readonly logger?: FastifyServerOptions['logger']
}

/** The options with their defaults filled in. The writable ones may change while the sandbox runs. */
export interface Settings {
  readonly appId: string
  readonly appName: string
  readonly redirectUris: readonly string[]
  readonly scopes: readonly string[]
  readonly pkce: boolean
  appSecret: string
  rotation: Rotation
  legacy: boolean
  tokenLifetimeSeconds: number
  guidInExchange: boolean
  passwordGrant: boolean
  reuseTokens: boolean
}

const DOCUMENTED_SCOPES = ['profile_read', 'profile_write', 'pay', 'send_communications', 'create_content']

/** Throws for options that no real provider would let an app register with. */
export function resolveSettings(options: SandboxOptions): Settings {
  const { appId, appSecret, redirectUris, tokenLifetimeSeconds = 7200 } = options
  if (appId === '' || appSecret === '') throw new Error('sandbox: appId and appSecret must not be empty')
  if (redirectUris.length === 0) throw new Error('sandbox: at least one redirect URI is needed')
  for (const uri of redirectUris) {
    // RFC 6749, section 3.1.2: absolute, and without a fragment.
    if (!URL.canParse(uri) || uri.includes('#')) throw new Error(`sandbox: not a usable redirect URI: ${uri}`)
  }
  if (!Number.isInteger(tokenLifetimeSeconds) || tokenLifetimeSeconds < 1) {
    throw new Error('sandbox: tokenLifetimeSeconds must be a whole number of at least 1')
  }
  return {
    appId,
    appSecret,
    appName: options.appName ?? 'Your app',
    redirectUris,
    scopes: options.scopes ?? DOCUMENTED_SCOPES,
    pkce: options.pkce ?? true,
    rotation: options.rotation ?? 'instant',
    legacy: options.legacy ?? false,
    tokenLifetimeSeconds,
    guidInExchange: options.guidInExchange ?? true,
    passwordGrant: options.passwordGrant ?? false,
    reuseTokens: options.reuseTokens ?? false,
  }
}
