/** What changes while the service runs, and what does not. */
import { KeyObject } from 'node:crypto'
import type { ServeConfig } from './config.ts'
import { Secret } from './ports/secret.ts'

const RELOADED: readonly (keyof ServeConfig)[] = [
  'appSecret',
  'appSecretNext',
  'callers',
  'encryptionKeys',
  'jwtIssuers',
  'logLevel',
]

/** Settings that have changed and take effect at the next start: secrets among them, too, of which no more is said. */
export function needRestart(before: ServeConfig, after: ServeConfig): readonly string[] {
  const others = (Object.keys(after) as (keyof ServeConfig)[]).filter(
    name => name !== 'tls' && !RELOADED.includes(name),
  )
  const isTlsTurned = (before.tls === null) !== (after.tls === null)
  return [...others.filter(name => !isSame(before[name], after[name])), ...(isTlsTurned ? ['tls'] : [])]
}

/** Secrets show nothing of themselves, so nobody but they can tell whether they are equal. */
function isSame(before: unknown, after: unknown): boolean {
  if (before instanceof Secret) return after instanceof Secret && before.equals(after)
  if (before instanceof KeyObject) return after instanceof KeyObject && before.equals(after)
  if (!isObject(before) || !isObject(after)) return before === after
  const names = new Set([...Object.keys(before), ...Object.keys(after)])
  return [...names].every(name => isSame(before[name], after[name]))
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
