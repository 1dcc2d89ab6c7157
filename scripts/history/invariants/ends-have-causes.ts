import { Family, groupedBy, short, whyNotStored } from '../facts.ts'
import type { History, Violation } from '../history.ts'

/** Why a grant was lost, by a fault that was injected before; null: by none. */
export function causeOfEnd(history: History, guid: string, atMs: number): string | null {
  const family = new Family(history)
  const refreshes = history.requests.filter(
    ({ brought, committedMs, operation, subject }) =>
      operation === 'refresh' &&
      brought !== null &&
      (committedMs ?? 0) <= atMs &&
      family.get(subject ?? '')?.guid === guid,
  )
  for (const { brought } of refreshes) {
    const cause = whyNotStored(history, brought ?? '')
    // The pair that was lost has no successor: a gateway that has it would have refreshed it.
    if (cause !== null && family.get(brought ?? '')?.refreshed === 0) return cause
  }
  return null
}

/** A grant that needs a new authorization was lost by a fault; in `on_use` mode none is lost. */
export function endsHaveCauses(history: History): Violation[] {
  const { rotation, passwordGrant } = history.setup
  const told = history.events
    .filter(({ type }) => type === 'grant.ended')
    .map(({ atMs, guid, line }) => ({ guid: guid ?? '', atMs, line }))
  const answered = history.calls
    .filter(({ code, guid }) => code === 'reauthorization_required' && guid !== null)
    .map(({ endedMs, guid, line }) => ({ guid: guid ?? '', atMs: endedMs, line }))
  const ends = groupedBy([...told, ...answered], ({ guid }) => guid)
  const lost = [...ends].flatMap(([guid, [first]]) => {
    if (first === undefined) return []
    const cause = rotation === 'on_use' ? null : causeOfEnd(history, guid, first.atMs)
    if (cause !== null) return []
    const why = rotation === 'on_use' ? 'in on_use mode' : 'and no answer to it was lost'
    return [{ what: `${short(guid)} was ended, ${why}${importBefore(history, guid, first.atMs)}`, lines: [first.line] }]
  })
  const provisioned = history.rest.filter(
    ({ origin, status }) => passwordGrant && origin === 'provisioning' && status === 'reauthorization_required',
  )
  return [
    ...lost,
    ...provisioned.map(({ guid, line }) => ({
      what: `${short(guid)} was provisioned, and is lost although the password grant is on`,
      lines: [line],
    })),
  ]
}

/** An import of a pair that had died before is the likely reason. */
function importBefore(history: History, guid: string, atMs: number): string {
  const family = new Family(history)
  const dead = history.calls.findLast(({ asked, beganMs, guid: of, operation, status }) => {
    const diedMs = family.get(asked.pair ?? '')?.died?.atMs
    const isTaken = operation === 'import' && of === guid && (status === 200 || status === 201)
    return isTaken && beganMs < atMs && diedMs !== undefined && diedMs < beganMs
  })
  return dead === undefined ? '' : `, after an import of a dead pair was taken (line ${dead.line})`
}
