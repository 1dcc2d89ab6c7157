/** The fuzz: rounds of sequences, each round of a seed of its own, until enough has been asked. */
import fc, { type Arbitrary } from 'fast-check'
import { readToken } from './account.ts'
import { checkServed } from './ledger.ts'
import { runSequence } from './sequence.ts'
import { smallest } from './smallest.ts'
import { type Step, step } from './steps.ts'
import type { Figures, World } from './world.ts'

export interface FuzzReport {
  readonly cases: number
  readonly requests: Readonly<Record<string, Readonly<Record<string, number>>>>
  /** Grants that were made, and were served to the end. */
  readonly kept: number
  /** null: all is well. */
  readonly violation: { readonly seed: number; readonly text: string } | null
  /** The gateway's, at a fifth of the way and at its end; empty: it ended before. */
  readonly figures: readonly Figures[]
}

const SEQUENCES = 20
const LONGEST_SEQUENCE = 40
/** In these rounds the provider fails now and then; in all others it has no excuse. */
const FAULTY_ROUND = 8
/** With what a counterexample is made smaller. */
const ROUND_WITHIN_MS = 60_000

function isFaultyRound(seed: number): boolean {
  return seed % FAULTY_ROUND === 0
}

function sequence(world: World, isFaulty: boolean): Arbitrary<Step[]> {
  return fc.array(step(world.operations, isFaulty), { minLength: 1, maxLength: LONGEST_SEQUENCE, size: 'max' })
}

/** Round by round from `seed` on. `onRound` is told how many cases there were by then. */
export async function fuzz(
  world: World,
  {
    seed: first,
    cases: wanted,
    onRound = () => {},
  }: { seed: number; cases: number; onRound?: (cases: number) => void },
): Promise<FuzzReport> {
  const requests: Record<string, Record<string, number>> = {}
  const figures: Figures[] = []
  const [faultless, faulty] = [sequence(world, false), sequence(world, true)]
  let cases = 0
  let sequences = 0
  const tally = {
    add(what: string, status: number) {
      const statuses = requests[what] ?? {}
      statuses[status] = (statuses[status] ?? 0) + 1
      requests[what] = statuses
    },
  }

  async function round(seed: number): Promise<string | null> {
    const isFaulty = isFaultyRound(seed)
    const property = fc.asyncProperty(isFaulty ? faulty : faultless, async some => {
      sequences += 1
      if (world.isAlive()) cases += some.length
      await runSequence(world, some, { name: `p${seed}-${sequences}`, isFaulty, tally })
    })
    const limits = { numRuns: SEQUENCES, interruptAfterTimeLimit: ROUND_WITHIN_MS }
    const { failed, counterexample, errorInstance } = await fc.check(property, { seed, ...limits })
    if (failed) {
      const again = (some: readonly Step[]) => {
        sequences += 1
        return runSequence(world, some, { name: `p${seed}-${sequences}`, isFaulty, tally })
      }
      return await smallest(world, counterexample?.[0] ?? [], errorInstance as Error, again)
    }
    if (!world.isAlive()) return 'the gateway has ended, after an answer'
    if (isFaulty) await world.recovered()
    return null
  }

  const report = (violation: FuzzReport['violation']): FuzzReport => {
    return { cases, requests, kept: world.ledger.size, violation, figures }
  }

  for (let seed = first; cases < wanted; seed += 1) {
    try {
      const text = await round(seed)
      if (text !== null) return report({ seed, text })
    } catch (error) {
      return report({ seed, text: String(error) })
    }
    if (figures.length === 0 && cases >= wanted / 5) figures.push(await world.figures())
    onRound(cases)
  }
  try {
    await checkServed(world.ledger.all(), guid => readToken(world, guid), world.sandbox)
  } catch (error) {
    return report({ seed: first, text: `at the end: ${String(error)}` })
  }
  figures.push(await world.figures())
  return report(null)
}
