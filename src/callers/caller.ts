import type { CallerEntry } from './entries.ts'

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

/** An internal service that uses the gateway, however it has shown who it is. */
export interface Caller {
  /** As in CALLERS. */
  readonly name: string
  /** Which workload of the issuer it is, where the entry is for all of them; else null. */
  readonly subject: string | null
  readonly permissions: readonly (Permission | '*')[]
  /** Requests a second, averaged over ten; 0: no limit; null: `RATE_LIMIT_PER_CALLER`. */
  readonly rateLimit: number | null
  /** It gets tokens of these scopes alone; null: of any. */
  readonly scopes: readonly string[] | null
  /** It reaches these people alone; null: all. */
  readonly guids: ReadonlySet<string> | null
}

export function may(caller: Caller, permission: Permission): boolean {
  return caller.permissions.includes('*') || caller.permissions.includes(permission)
}

/** What an entry of CALLERS says of the caller, however it shows who it is. */
export function callerOf({ name, permissions, rate_limit: rateLimit, scopes, guids }: CallerEntry): Caller {
  return {
    name,
    subject: null,
    permissions,
    rateLimit: rateLimit ?? null,
    scopes: scopes ?? null,
    guids: guids === undefined ? null : new Set(guids),
  }
}

/** All that a caller may do, `*` spelled out. */
export function permissionsOf(caller: Caller): readonly Permission[] {
  return PERMISSIONS.filter(permission => may(caller, permission))
}
