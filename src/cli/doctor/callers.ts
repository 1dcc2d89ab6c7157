import { hashApiKey } from '../../callers/api-keys.ts'
import { PERMISSIONS } from '../../callers/caller.ts'
import type { CallerEntry } from '../../callers/entries.ts'
import type { ServeConfig } from '../../config.ts'
import { type Check, counted, failed, named, ok, warning } from './check.ts'

/** Long enough to hand out another key before this one ends. */
const SOON_MS = 14 * 86_400_000

/** Who may call: entries that let nobody in, or let in whom nobody means. */
export function callerChecks({ callers, jwtIssuers }: ServeConfig, nowMs: number): readonly Check[] {
  const unusedIssuers = jwtIssuers.filter(({ issuer }) => callers.every(({ jwt }) => jwt?.issuer !== issuer))
  const lines = [
    ...callers.flatMap(caller => keyLines(caller, nowMs)),
    ...callers.flatMap(permissionLines),
    ...sharedWays(callers).map(names =>
      failed(`${names.join(' and ')} are known by the same subject or certificate: only one of them is ever found`),
    ),
    ...twice(callers.map(({ name }) => name)).map(name =>
      warning(`${name} is there twice: logs and the audit stream cannot tell them apart; use "keys" for several keys`),
    ),
    ...unusedIssuers.map(({ issuer }) => warning(`JWT_ISSUERS: no caller is of ${issuer}, so its tokens are refused`)),
    ...missingPermissions(callers),
  ]
  return named('callers', lines, ok(counted(callers.length, 'caller')))
}

function keyLines({ name, key_sha256: hash, keys = [], jwt, certificate }: CallerEntry, nowMs: number) {
  const hasOtherWay = hash !== undefined || jwt !== undefined || certificate !== undefined
  const ends = keys.map(({ not_after: notAfter }) => (notAfter === undefined ? Infinity : Date.parse(notAfter)))
  const expired = ends.filter(endMs => endMs <= nowMs)
  const lastEndMs = Math.max(...ends)
  const hashes = [hash ?? [], ...keys.map(({ sha256 }) => sha256)].flat()
  const isShutOut = !hasOtherWay && expired.length === keys.length
  const isSoonShutOut = !hasOtherWay && !isShutOut && lastEndMs - nowMs < SOON_MS
  return [
    ...(hashes.some(each => each.toLowerCase() === EMPTY_KEY)
      ? [failed(`${name} has the hash of an empty key: make one with healthtap-gateway caller`)]
      : []),
    ...(isShutOut
      ? [failed(`${name} is refused, all its keys have expired: make one with healthtap-gateway caller`)]
      : []),
    ...(!isShutOut && expired.length > 0
      ? [warning(`${name} has ${counted(expired.length, 'expired key')}: take them out of CALLERS`)]
      : []),
    ...(isSoonShutOut
      ? [warning(`${name} has no key beyond ${new Date(lastEndMs).toISOString()}: hand out another one before that`)]
      : []),
  ]
}

const EMPTY_KEY = hashApiKey('')

function permissionLines({ name, permissions }: CallerEntry) {
  return permissions.length === 0 ? [warning(`${name} has no permission: it is refused whatever it asks for`)] : []
}

/** Names of callers that are known by one and the same thing; the same key is refused with the settings. */
function sharedWays(callers: readonly CallerEntry[]): readonly (readonly string[])[] {
  const byWay = new Map<string, string[]>()
  for (const { name, jwt, certificate } of callers) {
    const ways = [
      ...(jwt === undefined ? [] : [`jwt ${JSON.stringify([jwt.issuer, jwt.subject])}`]),
      ...(certificate === undefined ? [] : [`certificate ${JSON.stringify([certificate.subject, certificate.san])}`]),
    ]
    for (const way of new Set(ways)) byWay.set(way, [...(byWay.get(way) ?? []), name])
  }
  return [...byWay.values()].filter(names => names.length > 1)
}

/** What nobody may do: of most things that is a choice, but of a gateway that nobody may ask it is not. */
function missingPermissions(callers: readonly CallerEntry[]) {
  const held = new Set(callers.flatMap(({ permissions }) => permissions))
  if (held.has('*')) return []
  if (PERMISSIONS.every(permission => !held.has(permission))) return [failed('nobody has a permission: see CALLERS')]
  return held.has('token:read') ? [] : [warning('nobody has token:read: no service can get a token')]
}

function twice(names: readonly string[]): readonly string[] {
  return [...new Set(names.filter((name, index) => names.indexOf(name) < index))]
}
