/** What changes while the service runs, and what does not. */
import { isDeepStrictEqual } from 'node:util'
import type { ServeConfig } from './config.ts'

const RELOADED: readonly (keyof ServeConfig)[] = [
  'appSecret',
  'appSecretNext',
  'callers',
  'encryptionKeys',
  'jwtIssuers',
  'logLevel',
]

/** Settings that have changed and take effect at the next start. Secrets among them are not compared. */
export function needRestart(before: ServeConfig, after: ServeConfig): readonly string[] {
  const others = (Object.keys(after) as (keyof ServeConfig)[]).filter(
    name => name !== 'tls' && !RELOADED.includes(name),
  )
  const isTlsTurned = (before.tls === null) !== (after.tls === null)
  return [...others.filter(name => !isDeepStrictEqual(before[name], after[name])), ...(isTlsTurned ? ['tls'] : [])]
}
