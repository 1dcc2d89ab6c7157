import { hash } from 'node:crypto'
import type { Clock } from '../ports/clock.ts'
import { type Caller, callerOf } from './caller.ts'
import type { CallerEntry } from './entries.ts'

/** Keys are looked up by their hash: how long that takes says nothing about the keys that exist. */
export function createApiKeys(entries: readonly CallerEntry[], clock: Clock) {
  const byHash = new Map(entries.flatMap(keysOf))
  /** Those that were shown already, so that each is hashed once: as many as there are at most, since others are not kept. */
  const shown = new Map<string, ListedKey>()

  function listed(apiKey: string): ListedKey | undefined {
    const key = byHash.get(hashApiKey(apiKey))
    if (key !== undefined) shown.set(apiKey, key)
    return key
  }

  return {
    /** Who holds this API key; null: nobody, or it has expired. */
    identify(apiKey: string): Caller | null {
      const key = shown.get(apiKey) ?? listed(apiKey)
      return key !== undefined && clock.now() < key.notAfterMs ? key.caller : null
    },
  }
}

interface ListedKey {
  readonly caller: Caller
  readonly notAfterMs: number
}

function keysOf(entry: CallerEntry): (readonly [sha256: string, ListedKey])[] {
  const caller = callerOf(entry)
  const single = entry.key_sha256 === undefined ? [] : [{ sha256: entry.key_sha256 }]
  return [...single, ...(entry.keys ?? [])].map(
    ({ sha256, not_after: notAfter }: { sha256: string; not_after?: string }) => {
      const notAfterMs = notAfter === undefined ? Number.POSITIVE_INFINITY : Date.parse(notAfter)
      return [sha256.toLowerCase(), { caller, notAfterMs }] as const
    },
  )
}

export function hashApiKey(apiKey: string): string {
  return hash('sha256', apiKey, 'hex')
}
