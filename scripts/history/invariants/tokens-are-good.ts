import { type Answered, answeredTokens, Family, faultsBetween, mayBeFromMemory, short } from '../facts.ts'
import type { History, Pair, Presentation, Violation } from '../history.ts'

/** `expires_in` is cut to whole seconds, and the clocks of the check and of the gateway are read apart. */
const CUT_MS = 1_000
/** So long after the provider has made a new pair, all gateways know it, if nothing is wrong. */
const KNOWN_WITHIN_MS = 2_000

/** A token that is answered is that person's, lives as long as the answer says, and is accepted by the provider. */
export function tokensAreGood(history: History): Violation[] {
  const family = new Family(history)
  const answered = answeredTokens(history)
  const byLine = new Map(history.calls.map(call => [call.line, call]))
  const wrong = answered.flatMap(answer => {
    const what = whatIsWrong(history, answer, family.get(answer.token.pair))
    return what === null ? [] : [{ what, lines: [answer.call.line] }]
  })
  const refused = history.presentations.flatMap(presentation => {
    const call = byLine.get(presentation.call)
    const token = call?.tokens.find(({ pair }) => pair === presentation.pair)
    if (call === undefined || token === undefined || presentation.status !== 401) return []
    const what = whyRefused(history, { call, token }, presentation, family)
    return what === null ? [] : [{ what, lines: [call.line, presentation.line] }]
  })
  return [...wrong, ...refused]
}

function whatIsWrong(history: History, { call, token }: Answered, pair: Pair | undefined): string | null {
  const name = `the token ${short(token.pair)} of ${short(token.guid)} (${call.operation})`
  if (pair === undefined) return `${name} is none of the provider's`
  if (pair.guid !== token.guid) return `${name} belongs to ${short(pair.guid)}`
  const expiresMs = Math.max(pair.expiresMs, saidByImports(history, token.pair))
  if (expiresMs + CUT_MS < call.beganMs) return `${name} had expired ${Math.round(call.beganMs - expiresMs)} ms before`
  const claimedMs = call.beganMs + token.expiresInSeconds * 1000
  if (claimedMs > expiresMs + CUT_MS) return `${name} claims ${Math.round(claimedMs - expiresMs)} ms more than it lives`
  return token.expiresInSeconds < 0 ? `${name} claims ${token.expiresInSeconds} s` : null
}

/** What an import says about the lifetime of its pair is believed. */
function saidByImports({ calls }: History, pair: string): number {
  const imports = calls.filter(({ asked, operation }) => operation === 'import' && asked.pair === pair)
  return Math.max(0, ...imports.map(call => call.endedMs + (call.asked.expiresInSeconds ?? 0) * 1000))
}

/** null: it is explained. */
function whyRefused(
  history: History,
  { call, token }: Answered,
  presentation: Presentation,
  family: Family,
): string | null {
  const pair = family.get(token.pair)
  const name = `the token ${short(token.pair)} of ${short(token.guid)} (${call.operation}, version ${token.version})`
  if (pair === undefined) return null
  if (presentation.endedMs > call.beganMs + token.expiresInSeconds * 1000) return null
  if (pair.died === null) {
    return presentation.endedMs > saidByImports(history, token.pair) ? `${name} was refused, and its pair lives` : null
  }
  const { atMs, by } = pair.died
  const sinceMs = call.beganMs - atMs
  if (sinceMs <= 0 || mayBeFromMemory(history, call)) return null
  if (by === 'refresh' && isNotKnownYet(history, pair, call.beganMs)) return null
  return `${name} was refused: its pair had ended by ${by} ${Math.round(sinceMs)} ms before the call began`
}

/** Whether the answer that replaced the pair may still be under way, or was lost. */
function isNotKnownYet(history: History, { died, pair }: Pair, beganMs: number): boolean {
  const diedMs = died?.atMs ?? 0
  if (beganMs < diedMs + KNOWN_WITHIN_MS) return true
  const successor = history.requests.find(({ brought, subject }) => subject === pair && brought !== null)
  if (successor === undefined || successor.answer !== 'whole') return true
  const { gateway } = successor
  return faultsBetween(history, ['kill', 'stop', 'terminate', 'redis'], gateway, diedMs - 1_000, beganMs).length > 0
}
