import { type Answered, answeredTokens, Family, groupedBy, mayBeFromMemory, short } from '../facts.ts'
import type { Call, History, Violation } from '../history.ts'
import { fate, linesAbout, orphans } from './no-orphans.ts'

const AUTHORIZES = ['provision', 'exchange', 'import']

/** After a DELETE was answered 204, no token of that life is answered, and no pair of it lives. */
export function deletedStaysDeleted(history: History): Violation[] {
  const family = new Family(history)
  const byGuid = groupedBy(answeredTokens(history), ({ token }) => token.guid)
  const deletions = history.calls.filter(({ operation, status }) => operation === 'delete' && status === 204)
  const revived = deletions.flatMap(deletion => {
    const answers = byGuid.get(deletion.guid ?? '') ?? []
    const known = new Set(answers.filter(({ call }) => call.endedMs < deletion.beganMs).map(({ token }) => token.pair))
    const later = answers.filter(({ call }) => call.beganMs > deletion.endedMs && !mayBeFromMemory(history, call))
    const [first] = later.flatMap(answer => {
      const what = whyNot(history, family, deletion, known, answer)
      return what === null ? [] : [{ what, lines: [deletion.line, answer.call.line] }]
    })
    return first === undefined ? [] : [first]
  })
  const alive = orphans(history).flatMap(({ cause, deletion, pair }) => {
    if (cause !== null || deletion === null) return []
    const what = `the pair ${short(pair.pair)} of ${short(pair.guid)} lives although its grant was deleted (${fate(history, pair)})`
    return [{ what, lines: [deletion.line, pair.line, ...linesAbout(history, pair)] }]
  })
  return [...revived, ...alive]
}

/** null: a client has brought it back. */
function whyNot(
  history: History,
  family: Family,
  deletion: Call,
  known: ReadonlySet<string>,
  { call, token }: Answered,
): string | null {
  const name = `${short(token.guid)} was deleted, and its token ${short(token.pair)} was answered (${call.operation}`
  const afterwards = `${Math.round(call.beganMs - deletion.endedMs)} ms after the 204)`
  const line = family.line(token.pair)
  if (line.some(pair => known.has(pair))) {
    const isImported = history.calls.some(
      ({ asked, endedMs, operation, status }) =>
        operation === 'import' &&
        endedMs > deletion.beganMs &&
        (status === null || status < 400) &&
        line.includes(asked.pair ?? ''),
    )
    return isImported ? null : `${name}, of the deleted life, ${afterwards}`
  }
  const isAuthorized = history.calls.some(
    other =>
      AUTHORIZES.includes(other.operation) &&
      other.endedMs > deletion.beganMs &&
      other.beganMs < call.endedMs &&
      (other.guid === token.guid || other.guid === null || other.tokens.some(({ guid }) => guid === token.guid)),
  )
  return isAuthorized ? null : `${name}, and no client has authorized it again, ${afterwards}`
}
