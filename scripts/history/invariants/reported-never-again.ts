import { answeredTokens, groupedBy, Lives, mayBeFromMemory, short } from '../facts.ts'
import type { History, Violation } from '../history.ts'

/** A token that was reported as refused is not the answer to that report, nor to anything that begins after it. */
export function reportedNeverAgain(history: History): Violation[] {
  const lives = new Lives(history)
  const byPair = groupedBy(answeredTokens(history), ({ token }) => token.pair)
  const reports = history.calls.filter(({ operation, status }) => operation === 'report' && status === 200)
  return reports.flatMap(report => {
    const again = (byPair.get(report.asked.pair ?? '') ?? []).find(
      ({ call }) =>
        (call === report || call.beganMs > report.endedMs) &&
        !lives.mayDiffer(report.guid ?? '', report, call) &&
        (call === report || !mayBeFromMemory(history, call)),
    )
    if (again === undefined) return []
    const { call, token } = again
    const when = call === report ? 'to the report itself' : `${Math.round(call.beganMs - report.endedMs)} ms later`
    const reported = `the token ${short(token.pair)} of ${short(token.guid)}, reported as version ${report.asked.version}`
    return [{ what: `${reported}, was answered as version ${token.version} ${when}`, lines: [report.line, call.line] }]
  })
}
