import { type Answered, answeredTokens, groupedBy, Lives, short } from '../facts.ts'
import type { History, Violation } from '../history.ts'

/** Within a life of a grant, a version is one pair and a pair is one version. */
export function versionAndPair(history: History): Violation[] {
  const lives = new Lives(history)
  const violations: Violation[] = []
  const seen = new Set<string>()
  const say = (what: string, a: Answered, b: Answered) => {
    if (seen.has(what)) return
    seen.add(what)
    violations.push({ what, lines: [a.call.line, b.call.line] })
  }
  for (const [guid, answers] of groupedBy(answeredTokens(history), ({ token }) => token.guid)) {
    for (const ofVersion of groupedBy(answers, ({ token }) => token.version).values()) {
      for (const [earlier, later] of firstOfEach(ofVersion, ({ token }) => token.pair)) {
        if (lives.mayDiffer(guid, earlier.call, later.call)) continue
        const pairs = `${short(earlier.token.pair)} and ${short(later.token.pair)}`
        say(`version ${later.token.version} of ${short(guid)} is the pairs ${pairs}`, earlier, later)
      }
    }
    for (const [pair, ofPair] of groupedBy(answers, ({ token }) => token.pair)) {
      for (const [earlier, later] of firstOfEach(ofPair, ({ token }) => token.version)) {
        const versions = `${earlier.token.version} and ${later.token.version}`
        say(`the pair ${short(pair)} of ${short(guid)} is the versions ${versions}`, earlier, later)
      }
    }
  }
  return violations
}

/** Answers that differ in `key` from the one before, each with that one. */
function firstOfEach(answers: readonly Answered[], key: (answer: Answered) => unknown): [Answered, Answered][] {
  const pairs: [Answered, Answered][] = []
  let last = answers[0]
  for (const answer of answers) {
    if (last !== undefined && key(last) !== key(answer)) pairs.push([last, answer])
    last = answer
  }
  return pairs
}
