import type { CountChange, CountTotal, SharedCounts } from '../../ports/counts.ts'
import type { Keys } from './keys.ts'
import type { Scripts } from './scripts.ts'

/** Three windows: what is counted in one is looked at until the end of the next. */
const KEPT_MS = 30_000

/** Counters in Redis: one script for each shard that something has changed in. */
export function createRedisCounts({ keys, scripts }: { keys: Keys; scripts: Scripts }): SharedCounts {
  async function exchangeShard(changes: readonly CountChange[]): Promise<readonly (CountTotal | null)[]> {
    const names = changes.flatMap(({ name, window }) => [keys.count(name, window), keys.count(name, window - 1)])
    const additions = changes.flatMap(({ add, addBefore }) => [String(add), String(addBefore)])
    try {
      const sums = await scripts.exchangeCounts(names, [String(KEPT_MS), ...additions])
      return changes.map((_, index) => ({ total: sums[2 * index] ?? 0, totalBefore: sums[2 * index + 1] ?? 0 }))
    } catch {
      return changes.map(() => null)
    }
  }

  return {
    async exchange(changes) {
      const shards = new Map<string, CountChange[]>()
      for (const change of changes) {
        const shard = keys.shardOf(change.name)
        const part = shards.get(shard)
        if (part === undefined) shards.set(shard, [change])
        else part.push(change)
      }
      const answers = new Map<CountChange, CountTotal | null>()
      const work = [...shards.values()].map(async part => {
        const totals = await exchangeShard(part)
        part.forEach((change, index) => {
          answers.set(change, totals[index] ?? null)
        })
      })
      await Promise.all(work)
      return changes.map(change => answers.get(change) ?? null)
    },
  }
}
