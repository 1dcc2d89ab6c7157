/** What must be true of the answer to one call, besides what `checkAnswer` says of its token. */
import { Problem } from '../../src/errors.ts'
import type { Grant } from '../../src/ports/records.ts'
import { StoreUnavailable } from '../../src/ports/store.ts'
import { isLossy } from './plan.ts'
import type { Code, Row, User } from './provider-model.ts'
import { Violation, type World } from './world.ts'

/** Problems that pass, or that say how the person's grant stands. */
const ORDINARY = [
  'provider_unavailable',
  'client_misconfigured',
  'store_unavailable',
  'grant_not_found',
  'reauthorization_required',
]

/** A token that a client reports as refused is not answered to that report. */
export function checkReported(
  world: World,
  guid: string,
  { refused, grant, since }: { refused: Row | undefined; grant: Grant; since: number },
): void {
  const row = world.rowOf(grant)
  if (refused === undefined || world.rolledBack.has(guid) || (world.restoredAt.get(guid)?.step ?? -1) >= since) return
  if (row === refused)
    throw new Violation(`${guid} was answered pair ${row.id}, which its caller had reported as refused`)
  const { nowMs, steps } = world.schedule
  if (!world.refused.has(refused)) world.refused.set(refused, { step: steps, atMs: nowMs })
}

/** A code is exchanged once, and all who send it get the same grant. */
export function checkExchanged(world: World, code: Code, exchanged: { grant: Grant; created: boolean }): void {
  const { grant, created } = exchanged
  if (grant.guid !== code.guid) throw new Violation(`${code.text} of ${code.guid} brought the grant of ${grant.guid}`)
  if (!code.isSpent) throw new Violation(`${code.text} was exchanged, and the provider has never seen it`)
  checkFirst(world, code.text, created)
}

export function checkExchangeRefused(world: World, code: Code, error: unknown, isLast: boolean): void {
  const reason = reasonOf(error)
  // The store may have taken the claim and not said so; then no replica can tell that nothing was sent.
  if (reason === 'store_unavailable') world.doubts.add(code.text)
  if (isLast) throw new Violation(`${code.text} never reached the provider, and is refused: ${reason}`)
  const isUncertain = reason === 'outcome_unknown' || reason === 'provider_response_invalid'
  const isRejected = reason === 'authorization_code_rejected'
  if (!isUncertain && !isRejected && !ORDINARY.includes(reason))
    throw new Violation(`${code.text} of ${code.guid} was answered ${reason}`)
  if (isRejected) throw new Violation(`${code.text} of ${code.guid} was rejected, and it was sent by us alone`)
  if (isUncertain && code.asks === 0 && !world.doubts.has(code.text) && !isLossy(world.plan))
    throw new Violation(`${code.text} never reached the provider, and counts as spent`)
}

/** One user, and one guid, for each username. */
export function checkProvisioned(
  world: World,
  username: string,
  provisioned: { grant: Grant; created: boolean },
): void {
  const { grant, created } = provisioned
  const user = world.model.everMade.find(({ guid }) => guid === grant.guid)
  if (user?.username !== username) throw new Violation(`${username} was answered the grant of ${grant.guid}`)
  checkFirst(world, grant.guid, created)
}

export function checkProvisionRefused(world: World, username: string, error: unknown, isLast: boolean): void {
  const reason = reasonOf(error)
  const user = world.model.users.get(username)
  if (reason === 'username_taken') {
    // Users may be renamed while the gateway is told that the name is taken.
    if (!world.model.everMade.some(made => made.username === username))
      throw new Violation(`${username} counts as taken, and the provider never had such a user`)
    if (user !== undefined && !isLegitimatelyTaken(world, user))
      throw new Violation(`${username} counts as taken, and the gateway itself has made ${user.guid}`)
    return
  }
  if (reason === 'provisioning_in_doubt') checkDoubt(world, username, isLast)
  else if (!ORDINARY.includes(reason)) throw new Violation(`${username} was answered ${reason}`)
  else if (
    isLast &&
    reason !== 'reauthorization_required' &&
    !(reason === 'grant_not_found' && isBeingRevoked(world, user))
  )
    throw new Violation(`${username} is answered ${reason}, although nothing is wrong any more`)
}

/** A revocation that has failed again and again is tried again up to ten minutes later. */
function isBeingRevoked(world: World, user: User | undefined): boolean {
  return world.stays.get(user?.guid ?? '')?.at(-1)?.grant.status === 'revoking'
}

function checkDoubt(world: World, username: string, isLast: boolean): void {
  const { model, plan } = world
  if (!world.doubts.has(username) && !isLossy(plan))
    throw new Violation(`${username} is in doubt, and no answer was lost`)
  if (!isLast) return
  if (plan.passwordGrant.offered && plan.passwordGrant.on)
    throw new Violation(`${username} is in doubt, and nobody has asked with its password`)
  const user = model.users.get(username)
  const row = user?.row
  // Deleted here and still known there: the gateway has forgotten the password.
  if (user !== undefined && world.lives.hasBeenDeleted(user.guid)) return
  if (row != null && !world.lostRows.has(row))
    throw new Violation(`${username} is in doubt, and pair ${row.id} of it was never lost`)
}

/** Made outside, or forgotten by a deletion; or the password that the gateway knows is not theirs any more. */
function isLegitimatelyTaken(world: World, user: User): boolean {
  return (
    user.by === 'outside' || world.lives.hasBeenDeleted(user.guid) || world.model.refusedPasswords.has(user.username)
  )
}

/** A pair that was never here is not refused, and neither is the one that stands. */
export function checkImportRefused(
  world: World,
  row: Row,
  error: unknown,
  { isFirst, since }: { isFirst: boolean; since: number },
): void {
  const { guid } = row
  const reason = reasonOf(error)
  if (reason !== 'pair_superseded') {
    if (ORDINARY.includes(reason)) return
    throw new Violation(`the import of pair ${row.id} of ${guid} was answered ${reason}`)
  }
  const stays = world.stays.get(guid) ?? []
  const stay = stays.at(-1)
  const hasStood = stays.some(({ row: { root } }) => root === row)
  const isClockGood = !('clockBack' in world.plan.disasters || 'clockJump' in world.plan.disasters)
  if (isFirst && isClockGood && !hasStood && (stay === undefined || stay.from < since))
    throw new Violation(`pair ${row.id} of ${guid} counts as superseded, and was never here`)
  const stands = stay?.row.root === row && stay.until === Number.POSITIVE_INFINITY && stay.grant.status === 'active'
  if (stands && stay.from < since && !world.rolledBack.has(guid))
    throw new Violation(`pair ${row.id} of ${guid} counts as superseded, and its authorization stands`)
}

/** After a deletion that is over, no pair of the authorization that stood works any more. */
export function checkDeleted(world: World, guid: string, since: number): void {
  const end = world.lives.endOfLastLife(guid)
  if (end === null || end.step < since) return
  const left = world.lives.deletedChain(guid).find(row => row.isAlive && !isExcused(world, row))
  if (left !== undefined) throw new Violation(`${guid} was deleted, and pair ${left.id} still works`)
}

function isExcused(world: World, row: Row): boolean {
  const isClockWrong = 'clockBack' in world.plan.disasters
  const isForgotten = world.forgottenRows.has(row) || world.forgottenLeftovers.has(row)
  return isForgotten || world.isUnendable(row) || (isClockWrong && row.isRevokedTooLate)
}

/** 201 is told once, to the call that has made it. */
function checkFirst(world: World, key: string, created: boolean): void {
  if (!created) return
  if (world.created.has(key)) throw new Violation(`${key} was told to be new twice`)
  world.created.add(key)
}

function reasonOf(error: unknown): string {
  if (error instanceof StoreUnavailable) return 'store_unavailable'
  if (error instanceof Problem) return error.code
  return error instanceof Error ? (error.stack ?? error.message) : 'nothing at all'
}
