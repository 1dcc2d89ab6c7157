import { faultsBetween, groupedBy, short } from '../facts.ts'
import type { History, Violation } from '../history.ts'

const SAYS_SPENT = ['authorization_code_rejected', 'outcome_unknown']

/** A code brings one grant, is not sent again when it may be spent, and is not called spent when it was never sent. */
export function codesAreSpentOnce(history: History): Violation[] {
  const exchanges = history.calls.filter(({ asked, operation }) => operation === 'exchange' && asked.code !== undefined)
  const requests = groupedBy(
    history.requests.filter(({ gateway, operation }) => operation === 'exchange' && gateway !== null),
    ({ subject }) => subject ?? '',
  )
  return [...groupedBy(exchanges, ({ asked }) => asked.code ?? '')].flatMap(([code, calls]) => {
    const sent = requests.get(code) ?? []
    const violations: Violation[] = []

    const byGuid = groupedBy(
      calls.filter(({ tokens }) => tokens.length > 0),
      ({ tokens }) => tokens[0]?.guid ?? '',
    )
    if (byGuid.size > 1) {
      const what = `the code ${short(code)} was answered the grants ${[...byGuid.keys()].map(short).join(' and ')}`
      violations.push({ what, lines: [...byGuid.values()].map(([first]) => first?.line ?? 0) })
    }

    const spending = sent.findIndex(({ answer, outcome }) => outcome === 'ok' || answer === 'lost')
    const again = spending === -1 ? undefined : sent[spending + 1]
    if (again !== undefined) {
      const what = `the code ${short(code)} was sent again although it may have been spent`
      violations.push({ what, lines: [sent[spending]?.line ?? 0, again.line] })
    }

    const told = calls.find(
      call =>
        SAYS_SPENT.includes(call.code ?? '') &&
        !sent.some(({ reachedMs }) => reachedMs < call.endedMs) &&
        !wasHeldByTheDead(
          history,
          calls.map(({ beganMs }) => beganMs),
          call.endedMs,
        ),
    )
    if (told !== undefined) {
      const what = `the code ${short(code)} never reached the provider, and was answered ${told.code}`
      violations.push({ what, lines: [told.line] })
    }
    return violations
  })
}

/** A gateway that was killed between the note and the request leaves a code of which it is not known whether it was sent. */
function wasHeldByTheDead(history: History, beganMs: readonly number[], untilMs: number): boolean {
  return faultsBetween(history, ['kill'], null, Math.min(...beganMs), untilMs).length > 0
}
