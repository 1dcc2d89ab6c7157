/** How far a caller reaches that is narrowed to some scopes or some people. */
import { Problem } from '../errors.ts'
import type { Caller } from './caller.ts'

/** Throws `forbidden` unless the caller may have to do with this person; `guid` undefined: with anybody. */
export function checkPerson(caller: Caller | null, guid: string | undefined): void {
  if (caller === null || caller.guids === null) return
  if (guid !== undefined && caller.guids.has(guid)) return
  const whom =
    guid === undefined ? 'people it does not name, and this request names none of its own' : `the guid ${guid}`
  throw new Problem('forbidden', `The caller ${caller.name} is narrowed to some people, and may not reach ${whom}.`)
}

/** Throws `forbidden` unless the caller may have to do with a token of this scope. */
export function checkScope(caller: Caller | null, scope: string): void {
  if (caller === null || caller.scopes === null) return
  const { name: who, scopes } = caller
  const outside = scope.split(' ').filter(name => !scopes.includes(name))
  if (outside.length === 0) return
  const detail = `The caller ${who} is narrowed to some scopes, and may not reach a grant with ${outside.join(' ')}.`
  throw new Problem('forbidden', detail)
}

/**
 * Throws `forbidden` where a narrowed caller would give a person a username: by it somebody else may be found, who is
 * provisioned later. `own`: what the person is called already.
 */
export function checkUsername(caller: Caller | null, username: string | undefined, own: string | null): void {
  if (caller === null || !isNarrowed(caller) || username === undefined || username === own) return
  throw new Problem('forbidden', `The caller ${caller.name} is narrowed, and may not give anybody a username.`)
}

/** Throws `forbidden` unless the caller may make users: whose they are, and of which scope, is known when they are made. */
export function checkProvisioning(caller: Caller | null): void {
  if (caller === null || !isNarrowed(caller)) return
  throw new Problem('forbidden', `The caller ${caller.name} is narrowed, and may not make users.`)
}

/** Whether it reaches some people or scopes alone. */
export function isNarrowed({ guids, scopes }: Caller): boolean {
  return guids !== null || scopes !== null
}

/** Whether it may see this grant. */
export function reaches(caller: Caller | null, grant: { readonly guid: string; readonly scope: string }): boolean {
  if (caller === null) return true
  const isTheirs = caller.guids === null || caller.guids.has(grant.guid)
  return isTheirs && (caller.scopes === null || grant.scope.split(' ').every(name => caller.scopes?.includes(name)))
}
