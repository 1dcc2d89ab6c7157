import { createHash } from 'node:crypto'

/** What a caller may be allowed to do; `*` is all of it. */
export const PERMISSIONS = [
  'authorize',
  'provision',
  'token:read',
  'token:refresh',
  'grant:read',
  'grant:write',
] as const

export type Permission = (typeof PERMISSIONS)[number]

/** An internal service that uses the gateway. */
export interface Caller {
  readonly name: string
  readonly permissions: readonly (Permission | '*')[]
  /** Requests a second, averaged over ten; 0: no limit. Absent: `RATE_LIMIT_PER_CALLER`. */
  readonly rateLimit?: number
}

export interface CallerEntry extends Caller {
  /** SHA-256 of the API key, 64 hex digits: the key itself is known to the caller alone. */
  readonly key_sha256: string
}

export interface Callers {
  /** Who holds this API key; null: nobody. */
  identify(apiKey: string): Caller | null
}

/** Keys are looked up by their hash: how long that takes says nothing about the keys that exist. */
export function createCallers(entries: readonly CallerEntry[]): Callers {
  const byHash = new Map(entries.map(entry => [entry.key_sha256.toLowerCase(), entry]))
  return { identify: apiKey => byHash.get(hashApiKey(apiKey)) ?? null }
}

export function hashApiKey(apiKey: string): string {
  return createHash('sha256').update(apiKey).digest('hex')
}

export function may(caller: Caller, permission: Permission): boolean {
  return caller.permissions.includes('*') || caller.permissions.includes(permission)
}
