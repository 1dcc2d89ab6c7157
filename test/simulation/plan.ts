import type { Rotation } from './provider-model.ts'
import { SeededRandom } from './random.ts'

/**
 * What can happen to one call. `keptConnectionDies`: an idle connection is closed before the provider reads the request, and the
 * gateway cannot know that. `freshConnectionDies`: the same on a connection of its own, where it can.
 */
export const FAULTS = [
  'storeRefuses',
  'storeAnswerLost',
  'storeSlow',
  'lostWord',
  'unreachable',
  'lostBefore',
  'keptConnectionDies',
  'freshConnectionDies',
  'failsBefore',
  'answerLost',
  'failsAfter',
  'busy',
  'providerSlow',
] as const

/** What can happen to a whole process, store or provider. */
export const DISASTERS = [
  'crash',
  'stall',
  'stop',
  'clockJump',
  'storeOutage',
  'providerHangs',
  'providerFails',
  'providerBusy',
  'clientRefused',
  'rollback',
  'clockBack',
] as const

export type Fault = (typeof FAULTS)[number]
export type Disaster = (typeof DISASTERS)[number]

/** By these an answer, a pair or a lease can get lost: a refresh token may then be spent twice. */
const LOSSY: readonly (Fault | Disaster)[] = [
  'storeAnswerLost',
  'storeSlow',
  'lostBefore',
  'answerLost',
  'failsAfter',
  'crash',
  'stall',
  'stop',
  'clockJump',
  'storeOutage',
  'providerHangs',
  'rollback',
  'clockBack',
]

export interface Plan {
  readonly seed: number
  readonly rotation: Rotation
  readonly lifetimeMs: number
  readonly replicas: number
  readonly grants: number
  readonly idleAfterMs: number
  /** Whether people sign in again, and are deleted, while renewals go on. */
  readonly comesAndGoes: boolean
  /** The part of all that clients do that is a deletion, where people come and go. */
  readonly deletions: number
  /** Chance for each call. */
  readonly faults: Readonly<Partial<Record<Fault, number>>>
  /** Chance for each second. */
  readonly disasters: Readonly<Partial<Record<Disaster, number>>>
  readonly faultyForMs: number
  /** How many usernames clients provision. */
  readonly usernames: number
  /** Whether the provider offers the password grant, and whether the gateway may use it. */
  readonly passwordGrant: { readonly offered: boolean; readonly on: boolean }
  /** Whether there is a resource to present access tokens to. */
  readonly hasResource: boolean
  /** Whether pairs are imported that the provider gave to another program. */
  readonly imports: boolean
  /** Whether others make users, rename them and change their passwords at the provider. */
  readonly meddling: boolean
}

/** A seed's plan: nothing at all, one kind of fault, a few, or everything at once. */
export function planOf(seed: number): Plan {
  const random = new SeededRandom(seed)
  const kinds = [...FAULTS, ...DISASTERS]
  const style = seed % 8
  const few = style === 0 ? 0 : style <= 4 ? 1 : style <= 6 ? random.between(2, 5) : kinds.length
  const chosen = new Set<string>()
  while (chosen.size < few) chosen.add(random.pick(kinds))
  const some = <Name extends string>(names: readonly Name[], most: number) => {
    const entries = names.filter(name => chosen.has(name)).map(name => [name, most * (0.2 + 0.8 * random.next())])
    return Object.fromEntries(entries) as Partial<Record<Name, number>>
  }
  const strength = few === kinds.length ? 0.3 : 1
  const comesAndGoes = random.chance(0.6)
  return {
    seed,
    rotation: random.chance(0.5) ? 'instant' : 'on_use',
    lifetimeMs: random.between(20, 60) * 1000,
    replicas: random.between(1, 3),
    grants: random.between(1, 4),
    idleAfterMs: random.chance(0.2) ? 15_000 : 0,
    comesAndGoes,
    deletions: random.pick([0.02, 0.04, 0.1]),
    faults: some(FAULTS, 0.15 * strength),
    disasters: some(DISASTERS, 0.15 * strength),
    faultyForMs: 90_000,
    usernames: random.between(0, 3),
    passwordGrant: { offered: random.chance(0.5), on: random.chance(0.6) },
    hasResource: random.chance(0.85),
    imports: comesAndGoes && random.chance(0.6),
    meddling: comesAndGoes && random.chance(0.4),
  }
}

export function isLossy(plan: Plan): boolean {
  return LOSSY.some(kind => kind in plan.faults || kind in plan.disasters)
}

export function isQuiet(plan: Plan): boolean {
  return Object.keys(plan.faults).length + Object.keys(plan.disasters).length === 0
}
