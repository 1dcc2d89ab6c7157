/** What must be true. Each violation says what was broken, and for whom. */
import type { Grant } from '../../src/ports/records.ts'
import { SIGHTING_LASTS_MS } from '../../src/store/sightings.ts'
import { isLossy, isQuiet } from './plan.ts'
import type { Row } from './provider-model.ts'
import type { Replica } from './replica.ts'
import { MOST_AHEAD_MS, Violation, type World } from './world.ts'

/** How wrong a replica's clock may go, both ways, and requests take. */
const CLOCK_TOLERANCE_MS = 1_000
/** A clock that was set back makes what was seen before look younger for no longer than it stays wrong. */
const LONGEST_BACK_MS = 40_000
/** From the write until each replica has heard of it, where nothing is wrong. */
const WORD_TAKES_MS = 5

export interface Since {
  readonly step: number
  readonly atMs: number
  /** Whether the call made the grant. It is answered what stands then, even if that cannot be refreshed just now. */
  readonly isNew?: boolean
}

/** At the moment at which a token is answered to a call that began at step `since`. */
export async function checkAnswer(
  world: World,
  replica: Replica,
  guid: string,
  grant: Grant,
  { step: since, atMs: sinceMs, isNew = false }: Since,
): Promise<void> {
  const row = world.rowOf(grant)
  if (row.guid !== guid) throw new Violation(`${guid} was answered the token of ${row.guid}`)
  const toleranceMs =
    ('clockJump' in world.plan.disasters ? CLOCK_TOLERANCE_MS : 0) +
    believedLongerMs(replica, grant, row, isNew || wasSetBackSince(replica, sinceMs))
  if (row.expiresAtMs <= world.schedule.nowMs - toleranceMs)
    throw new Violation(`an expired token of ${guid} was answered, ${world.schedule.nowMs - row.expiresAtMs} ms late`)

  const revokedAt = world.revokedAt.get(guid)
  const rememberedMs = longestMemoryMs(world)
  if (revokedAt !== undefined && revokedAt.step < since && revokedAt.atMs < sinceMs - rememberedMs)
    throw new Violation(`a token of ${guid} was answered after DELETE`)

  // The store had lost a rotation: what it had before stands there until the rotation is written again, and may be remembered.
  const restoredAt = world.restoredAt.get(guid)
  const isRemembered = restoredAt !== undefined && restoredAt.atMs >= sinceMs - rememberedMs
  if (world.rolledBack.has(guid) || (restoredAt?.step ?? -1) >= since || isRemembered) return
  const stay = world.stays.get(guid)?.findLast(candidate => candidate.row === row)
  if (stay === undefined) throw new Violation(`a token of ${guid} was answered that never stood in the store`)
  if (stay.until < since && stay.untilMs < sinceMs - rememberedMs)
    throw new Violation(`a replaced token of ${guid} was answered`)
  const refusedAt = world.refused.get(row)
  if (refusedAt !== undefined && refusedAt.step < since && refusedAt.atMs < sinceMs - rememberedMs)
    throw new Violation(`${guid} was answered pair ${row.id}, which had been reported as refused`)
  await checkAlive(world, guid, row)
}

/**
 * By how much a replica whose clock was set back takes the pair to live longer than it does. The moment of issue alone can tell
 * it: a pair that seems to be issued later than `MOST_AHEAD_MS` from now is not to be answered.
 */
function believedLongerMs(replica: Replica, grant: Grant, row: Row, isExcused: boolean): number {
  const { world } = replica
  if (!('clockBack' in world.plan.disasters)) return 0
  // A wrong clock takes the new authorization for an older one. What stands is answered, even if it cannot be refreshed just now.
  if (isExcused) return Number.POSITIVE_INFINITY
  const nowMs = replica.nowMs()
  if (grant.issuedAtMs > nowMs + MOST_AHEAD_MS)
    throw new Violation(`pair ${row.id} was answered, and seems to be issued ${grant.issuedAtMs - nowMs} ms from now`)
  return Math.max(0, grant.accessTokenExpiresAtMs - row.expiresAtMs - nowMs + world.schedule.nowMs)
}

/** Whether the clock was set back while the call was under way: the token may have been looked at before. */
function wasSetBackSince(replica: Replica, sinceMs: number): boolean {
  return Math.max(replica.setBackAtMs, replica.world.setBackAtMs) >= sinceMs
}

/** How long after a write by somebody else a replica may go on answering what it has seen before. */
function longestMemoryMs(world: World): number {
  if (isQuiet(world.plan)) return WORD_TAKES_MS
  const jumpMs = 'clockJump' in world.plan.disasters ? CLOCK_TOLERANCE_MS : 0
  return SIGHTING_LASTS_MS + jumpMs + Math.min(LONGEST_BACK_MS, world.furthestBackMs)
}

/** In `instant` mode a token dies while its renewal is under way; else, one that stands undisturbed in the store is alive. */
async function checkAlive(world: World, guid: string, row: Row): Promise<void> {
  if (row.isAlive) return
  const current = (await world.raw.grants.read(guid))?.record
  const isUndisturbed = current?.status === 'active' && current.attempt === null && world.rowOf(current) === row
  const hasLoss = world.model.rows.some(child => child.from === row && !isKept(world, child))
  if (isUndisturbed && !hasLoss) throw new Violation(`a dead token of ${guid} was answered`)
}

function isKept(world: World, row: Row): boolean {
  return world.stays.get(row.guid)?.some(stay => stay.row === row) ?? false
}

/** When a process has ended in good order: what it alone had of a grant is on its disk. */
export function checkStopped(world: World, replica: Replica): void {
  // One that is dead already was discarded: something newer stood then.
  const living = world.heldBy(replica).filter(row => row.isAlive)
  const lost = living.find(row => {
    const stay = world.stays.get(row.guid)?.at(-1)
    return stay !== undefined && stay.until === Number.POSITIVE_INFINITY && row.from === stay.row
  })
  if (lost !== undefined) throw new Violation(`${replica.name} stopped in good order, and took pair ${lost.id} with it`)
}

/** In the end, over all. */
export function checkOutcome(world: World): void {
  const { counts, model, plan } = world
  if (isQuiet(plan) && !plan.comesAndGoes) {
    if (model.counts.rejected > 0)
      throw new Violation(`${model.counts.rejected} invalid_grant, although nothing went wrong`)
  }
  if (!isLossy(plan)) {
    if (model.spentTwice > 0)
      throw new Violation(`${model.spentTwice} refresh tokens were spent twice, with nothing lost`)
    // Where a process sleeps or dies, a wish may be met long after it was uttered.
    const [needless] = world.needless
    if (needless !== undefined)
      throw new Violation(`pair ${needless.id} of ${needless.guid} was renewed without a reason`)
    if (counts.ended > 0) throw new Violation(`${counts.ended} grants ended, with nothing lost`)
  }
  const elapsedMs = world.schedule.nowMs
  for (const [guid, asks] of world.asks) {
    const most = 20 + 3 * counts.rotations + elapsedSeconds(world)
    if (asks > most) throw new Violation(`the provider was asked ${asks} times to refresh ${guid}, by ${elapsedMs}`)
  }
}

function elapsedSeconds(world: World): number {
  return (world.plan.faultyForMs + 150_000) / 1000
}
