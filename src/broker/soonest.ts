import type { Expiring } from './survey.ts'

/**
 * The `limit` that expire first, of any number: soonest first, and at the same moment in the order in which they came. One
 * that comes twice is there once.
 */
export function keepingSoonest(limit: number) {
  const soonest: Expiring[] = []
  return {
    add(expiring: Expiring): void {
      const isLater = (other: Expiring | undefined) =>
        other !== undefined && other.accessTokenExpiresAtMs > expiring.accessTokenExpiresAtMs
      if (soonest.length === limit && !isLater(soonest.at(-1))) return
      if (soonest.some(({ guid }) => guid === expiring.guid)) return
      soonest.splice(soonest.findLastIndex(other => !isLater(other)) + 1, 0, expiring)
      if (soonest.length > limit) soonest.pop()
    },
    soonest: (): readonly Expiring[] => soonest,
  }
}
