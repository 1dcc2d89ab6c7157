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
  /** It gets tokens of these scopes alone; null: of any. */
  readonly scopes: readonly string[] | null
  /** It reaches these people alone; null: all. */
  readonly guids: ReadonlySet<string> | null
}

export function may(caller: Caller, permission: Permission): boolean {
  return caller.permissions.includes('*') || caller.permissions.includes(permission)
}

/** What an entry of CALLERS says of the caller, however it shows who it is. */
export function callerOf({ name, permissions, scopes, guids }: CallerEntry): Caller {
  return {
    name,
    subject: null,
    permissions,
    scopes: scopes ?? null,
    guids: guids === undefined ? null : new Set(guids),
  }
}
