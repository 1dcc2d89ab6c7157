/** What must be true a good while after the last fault, of every person and of every pair at the provider. */

import type { Grant } from '../../src/ports/records.ts'
import type { Row } from './provider-model.ts'
import type { Replica } from './replica.ts'
import { Violation, type World } from './world.ts'

/** So soon after a refresh its predecessor may still be alive: it is ended in the background, with retries. */
const ENDED_WITHIN_MS = 45_000
/** So soon after it came a pair may not be stored yet. */
const COMMITTED_WITHIN_MS = 5_000
/** A pair that was put aside is revoked in the background for no longer than this, with retries. */
const DISCARDED_WITHIN_MS = 120_000

export async function checkAtRest(world: World, replicas: readonly Replica[]): Promise<void> {
  for (const replica of replicas) {
    if (replica.disk.size > 0) throw new Violation(`the journal of ${replica.name} is not empty`)
  }
  const standing = new Map<string, Grant>()
  for (const guid of world.people) {
    const grant = (await world.raw.grants.read(guid))?.record ?? null
    if (grant === null) checkGone(world, guid)
    else checkStanding(world, grant)
    if (grant !== null) standing.set(guid, grant)
  }
  checkOrphans(world, standing)
}

function checkStanding(world: World, grant: Grant): void {
  const { guid } = grant
  const { nowMs } = world.schedule
  const row = world.rowOf(grant)
  switch (grant.status) {
    case 'reauthorization_required':
      checkDeath(world, grant, row)
      return
    case 'active':
      // A renewal is under way at the very end: nothing can be said.
      if (grant.attempt !== null && grant.attempt.leaseUntilMs > nowMs) return
      if (!row.isAlive) throw new Violation(`${guid} is active with a pair that the provider does not know`)
      if (world.plan.idleAfterMs === 0 && grant.accessTokenExpiresAtMs <= nowMs)
        throw new Violation(`${guid} has lapsed, although nothing has gone wrong for long`)
      return
    default:
      throw new Violation(`${guid} is still ${grant.status}`)
  }
}

/**
 * A grant dies of one thing alone: the pair that its refresh token brought is lost, in `instant` mode. Where the gateway may ask
 * with a user's password, only the refusal of that ends the grant.
 */
function checkDeath(world: World, grant: Grant, row: Row): void {
  const { model, plan } = world
  const { guid, username } = grant
  if (world.isRestorable(grant))
    throw new Violation(`${guid} was ended, and the password of ${username} was never refused`)
  if (wasForgotten(world, guid, row)) return
  if (plan.rotation === 'on_use') throw new Violation(`${guid} was ended, in on_use mode`)
  if (row.isAlive) throw new Violation(`${guid} was ended, and its refresh token still works`)
  const isLost = model.rows.some(child => child.from === row && world.lostRows.has(child))
  if (!isLost) throw new Violation(`${guid} was ended, and no answer to its renewal was lost`)
}

/** The store has lost what took the place of this pair, and the replica that wrote that is gone as well. */
function wasForgotten(world: World, guid: string, row: Row): boolean {
  const stays = world.stays.get(guid) ?? []
  const isAfter = (later: Row) =>
    later.from === row || stays.some((stay, index) => stay.row === later && stays[index - 1]?.row === row)
  return [...world.forgottenRows].some(later => later.guid === guid && isAfter(later))
}

function checkGone(world: World, guid: string): void {
  if (world.stays.has(guid) && !world.revokedAt.has(guid))
    throw new Violation(`${guid} is gone, and nobody has deleted it`)
}

/** Every pair that is alive is one that a grant has, or its loss is explained. */
function checkOrphans(world: World, standing: ReadonlyMap<string, Grant>): void {
  const unconfirmed = new Map(world.unconfirmed)
  for (const row of world.model.rows) {
    if (!row.isAlive || isExplained(world, row, standing.get(row.guid))) continue
    const left = unconfirmed.get(row.guid) ?? 0
    if (left === 0) throw new Violation(`pair ${row.id} of ${row.guid} is alive, and no grant has it`)
    unconfirmed.set(row.guid, left - 1)
  }
}

function isExplained(world: World, row: Row, grant: Grant | undefined): boolean {
  if (grant !== undefined && isHeld(world, row, grant)) return true
  if (world.lostRows.has(row) || world.forgottenRows.has(row) || world.forgottenLeftovers.has(row)) return true
  const stay = world.stays.get(row.guid)?.findLast(candidate => candidate.row === row)
  // Another program has it, and the gateway never took it.
  if (row.source === 'outside' && row.from === null && stay === undefined) return true
  const { nowMs } = world.schedule
  // On its way at the very end, or replaced a moment ago.
  if (row.issuedAtMs > nowMs - COMMITTED_WITHIN_MS) return true
  if (stay !== undefined && stay.untilMs > nowMs - ENDED_WITHIN_MS) return true
  if (world.isUnendable(row)) return true
  const duty = world.duties.get(row)
  if (duty !== undefined && duty.replica.diedAtMs < duty.atMs + DISCARDED_WITHIN_MS) return true
  return row.isRevokedTooLate && 'clockBack' in world.plan.disasters
}

/** The grant has it; or remembers it as a predecessor that only a deletion may end, because its access token has expired. */
function isHeld(world: World, row: Row, grant: Grant): boolean {
  if (world.rowOf(grant) === row) return true
  const leftover = grant.leftovers?.find(({ pair }) => world.model.rowOf(pair.refreshToken) === row)
  return leftover?.isOver === false && row.expiresAtMs <= world.schedule.nowMs
}
