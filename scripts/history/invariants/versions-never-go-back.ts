import { answeredVersions, groupedBy, Lives, mayBeFromMemory, short } from '../facts.ts'
import type { History, Violation } from '../history.ts'

/** A call that begins after another has ended is not answered an older version. */
export function versionsNeverGoBack(history: History): Violation[] {
  const lives = new Lives(history)
  const violations: Violation[] = []
  for (const [guid, answers] of groupedBy(answeredVersions(history), answer => answer.guid)) {
    const byEnd = answers.toSorted((a, b) => a.call.endedMs - b.call.endedMs)
    for (const later of answers) {
      const newer = byEnd.find(
        earlier =>
          earlier.call.endedMs < later.call.beganMs &&
          earlier.version > later.version &&
          !lives.mayDiffer(guid, earlier.call, later.call),
      )
      if (newer === undefined || mayBeFromMemory(history, later.call)) continue
      violations.push({
        what: `${short(guid)} went back from version ${newer.version} to ${later.version} (${later.call.operation} at gateway ${later.call.gateway})`,
        lines: [newer.call.line, later.call.line],
      })
    }
  }
  return violations
}
