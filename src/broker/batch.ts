/**
 * Tokens of many people in one answer: looked up together, then each as if it were asked for alone. The answer waits for the last
 * of them; so that no token is given out that was replaced meanwhile, whoever was found early is looked at once more in the end.
 */
import type { TokenSource } from '../ports/meter.ts'
import type { Grant } from '../ports/records.ts'
import { StoreUnavailable } from '../ports/store.ts'
import { type BrokerContext, existing } from './context.ts'
import type { Lookup } from './lookup.ts'

export interface BatchRequest {
  /** Each once. */
  readonly guids: readonly string[]
  /** null: the configured least. */
  readonly wishedTtlMs: number | null
  /** Throws what keeps this one from being looked up at all. Asked once for each. */
  readonly admit: (guid: string) => void
  /** Throws what keeps this grant from being answered: asked before it is renewed, and of what comes of that again. */
  readonly check: (grant: Grant) => void
}

/** A grant whose token may be handed out, and how it came. */
export interface Found {
  readonly grant: Grant
  readonly source: TokenSource
}

/** What reading a single token is made of. */
export interface Reading {
  /** undefined: the store has to be asked. */
  fromMemory(guid: string, wishedTtlMs: number | null): Grant | undefined
  /** As the store has it; renewed first, until `untilMs`, where it has to be. Throws what `Tokens.read` throws. */
  fromStore(stored: Grant | null, guid: string, wishedTtlMs: number | null, untilMs: number): Promise<Found>
  noted(grant: Grant): Grant
  isAlive(grant: Grant): boolean
  served(found: Found): Grant
}

type Answer = (Found & { readonly atMs: number }) | { readonly reason: unknown }

/** How long a token may have waited for others. */
const FRESH_MS = 100
/** One, one more, and one for whom the second has let wait: a slow store keeps nobody looking for ever. */
const MOST_LOOKS = 3

export function createBatches(context: Pick<BrokerContext, 'clock' | 'policy'>, lookup: Lookup, reading: Reading) {
  const { clock, policy } = context

  return async function readMany(request: BatchRequest): Promise<readonly PromiseSettledResult<Grant>[]> {
    const { guids, wishedTtlMs, admit, check } = request
    const untilMs = clock.now() + policy.leaseMs
    const answers = new Map<string, Answer>()
    const admitted = guids.filter(guid => {
      try {
        admit(guid)
        return true
      } catch (reason) {
        answers.set(guid, { reason })
        return false
      }
    })

    async function look(some: readonly string[]): Promise<void> {
      const seen = some.map(guid => [guid, reading.fromMemory(guid, wishedTtlMs)] as const)
      const others = seen.flatMap(([guid, grant]) => (grant === undefined ? [guid] : []))
      const stored = lookup.manyOrLast(others)
      await Promise.all([
        ...others.map((guid, index) => answer(guid, () => fromStore(guid, stored[index]))),
        ...seen.flatMap(([guid, grant]) => (grant === undefined ? [] : [answer(guid, async () => fromMemory(grant))])),
      ])
    }

    function fromMemory(grant: Grant): Found {
      check(grant)
      return { grant: reading.noted(grant), source: 'memory' }
    }

    async function fromStore(guid: string, stored: Promise<Grant | null> | undefined): Promise<Found> {
      const standing = existing((await stored) ?? null, guid)
      check(standing)
      const found = await reading.fromStore(standing, guid, wishedTtlMs, untilMs)
      check(found.grant)
      return found
    }

    async function answer(guid: string, find: () => Promise<Found>): Promise<void> {
      const before = answers.get(guid)
      try {
        const { grant, source } = await find()
        answers.set(guid, { grant, source: sourceOf(before) ?? source, atMs: clock.now() })
      } catch (reason) {
        // Nobody can have replaced what was found before, but through the store.
        const isKept = reason instanceof StoreUnavailable && before !== undefined && 'grant' in before
        answers.set(guid, isKept && reading.isAlive(before.grant) ? { ...before, atMs: clock.now() } : { reason })
      }
    }

    function hasWaited(guid: string): boolean {
      const given = answers.get(guid)
      if (given === undefined || !('grant' in given)) return false
      const ageMs = clock.now() - given.atMs
      // A clock that was set back meanwhile says nothing about ages.
      return ageMs < 0 || ageMs > FRESH_MS
    }

    let open = admitted
    for (let looks = 0; looks < MOST_LOOKS && open.length > 0; looks += 1) {
      await look(open)
      open = admitted.filter(hasWaited)
    }
    return guids.map(guid => {
      const given = answers.get(guid)
      if (given === undefined || 'reason' in given) return { status: 'rejected', reason: given?.reason }
      return { status: 'fulfilled', value: reading.served(given) }
    })
  }
}

/** A second look changes nothing about how it came. */
function sourceOf(before: Answer | undefined): TokenSource | undefined {
  return before !== undefined && 'source' in before ? before.source : undefined
}
