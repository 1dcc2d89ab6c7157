/** What must be true. Each violation says what was broken, and for whom. */
import type { Grant } from '../../src/ports/records.ts'
import { SIGHTING_LASTS_MS } from '../../src/store/sightings.ts'
import { isLossy, isQuiet } from './plan.ts'
import type { Row } from './provider-model.ts'
import type { Replica } from './replica.ts'
import { Violation, type World } from './world.ts'

/** How wrong a replica's clock may go, both ways, and requests take. */
const CLOCK_TOLERANCE_MS = 1_000
/** From the write until each replica has heard of it, where nothing is wrong. */
const WORD_TAKES_MS = 5

/** At the moment at which a token is answered to a call that began at step `since`. */
export async function checkAnswer(
  world: World,
  guid: string,
  grant: Grant,
  { step: since, atMs: sinceMs }: { readonly step: number; readonly atMs: number },
): Promise<void> {
  const row = world.rowOf(grant)
  if (row.guid !== guid) throw new Violation(`${guid} was answered the token of ${row.guid}`)
  const toleranceMs = 'clockJump' in world.plan.disasters ? CLOCK_TOLERANCE_MS : 0
  if (row.expiresAtMs <= world.schedule.nowMs - toleranceMs)
    throw new Violation(`an expired token of ${guid} was answered, ${world.schedule.nowMs - row.expiresAtMs} ms late`)

  const revokedAt = world.revokedAt.get(guid)
  const rememberedMs = longestMemoryMs(world)
  if (revokedAt !== undefined && revokedAt.step < since && revokedAt.atMs < sinceMs - rememberedMs)
    throw new Violation(`a token of ${guid} was answered after DELETE`)

  // The store had lost a rotation: what it had before stands there until the rotation is written again.
  if (world.rolledBack.has(guid) || (world.restoredAt.get(guid) ?? -1) >= since) return
  const stay = world.stays.get(guid)?.findLast(candidate => candidate.row === row)
  if (stay === undefined) throw new Violation(`a token of ${guid} was answered that never stood in the store`)
  if (stay.until < since && stay.untilMs < sinceMs - rememberedMs)
    throw new Violation(`a replaced token of ${guid} was answered`)
  await checkAlive(world, guid, row)
}

/** How long after a write by somebody else a replica may go on answering what it has seen before. */
function longestMemoryMs(world: World): number {
  if (isQuiet(world.plan)) return WORD_TAKES_MS
  return SIGHTING_LASTS_MS + ('clockJump' in world.plan.disasters ? CLOCK_TOLERANCE_MS : 0)
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

/** In the end, for one person, a good while after the last fault. */
export async function checkEnd(world: World, guid: string, replicas: readonly Replica[]): Promise<void> {
  const nowMs = world.schedule.nowMs
  const stored = await world.raw.grants.read(guid)
  for (const replica of replicas) {
    if (replica.disk.size > 0) throw new Violation(`the journal of ${replica.name} is not empty`)
  }
  if (stored === null) return checkGone(world, guid)
  const grant = stored.record
  const row = world.rowOf(grant)
  switch (grant.status) {
    case 'reauthorization_required':
      return checkDeath(world, guid, row)
    case 'active':
      // A renewal is under way at the very end: nothing can be said.
      if (grant.attempt !== null && grant.attempt.leaseUntilMs > nowMs) return
      if (world.model.rowOf(grant.pair.refreshToken)?.isAlive !== true) {
        throw new Violation(`${guid} is active with a pair that the provider does not know`)
      }
      if (world.plan.idleAfterMs === 0 && grant.accessTokenExpiresAtMs <= nowMs) {
        throw new Violation(`${guid} has lapsed, although nothing has gone wrong for long`)
      }
      return checkLeftovers(world, guid, row)
    default:
      throw new Violation(`${guid} is still ${grant.status}`)
  }
}

/** A grant dies of one thing alone: the pair that its refresh token brought is lost, in `instant` mode. */
function checkDeath(world: World, guid: string, row: Row): void {
  const isForgotten = world.model.rows.some(child => child.from === row && world.forgottenRows.has(child))
  if (isForgotten) return
  if (world.plan.rotation === 'on_use') throw new Violation(`${guid} was ended, in on_use mode`)
  if (row.isAlive) throw new Violation(`${guid} was ended, and its refresh token still works`)
  const isLost = world.model.rows.some(child => child.from === row && world.lostRows.has(child))
  if (!isLost) throw new Violation(`${guid} was ended, and no answer to its renewal was lost`)
}

function checkGone(world: World, guid: string): void {
  if (!world.stays.has(guid)) return
  if (!world.revokedAt.has(guid)) throw new Violation(`${guid} is gone, and nobody has deleted it`)
  const last = world.stays.get(guid)?.at(-1)?.row
  if (last?.isAlive === true && last.expiresAtMs > world.schedule.nowMs) {
    throw new Violation(`${guid} was deleted, and its pair lives on at the provider`)
  }
}

/** Pairs that replicas brought and could not store are revoked, unless who held them died, or the provider would not. */
function checkLeftovers(world: World, guid: string, current: Row): void {
  const { disasters } = world.plan
  const mayLeave = ['crash', 'stop', 'rollback'].some(kind => kind in disasters) || world.counts.unconfirmed > 0
  if (mayLeave) return
  const left = world.model.livingRows(guid).filter(row => row !== current && row.refreshes === 0)
  const forgotten = left.filter(row => !world.lostRows.has(row))
  if (forgotten.length > 0)
    throw new Violation(`pair ${forgotten[0]?.id} of ${guid} was not revoked, and nobody holds it`)
}
