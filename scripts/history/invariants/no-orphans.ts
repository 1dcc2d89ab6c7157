import { Family, faultsBetween, short, whyNotStored } from '../facts.ts'
import type { Call, History, Pair, Violation } from '../history.ts'

export interface Orphan {
  readonly pair: Pair
  /** null: unexplained. */
  readonly cause: string | null
  /** The DELETE that was answered 204 after the pair was issued; null: none was. */
  readonly deletion: Call | null
}

/** Five tries to revoke a pair take so long. */
const REVOKES_FOR_MS = 35_000
/** The fault by which no request reaches the provider. */
export const CONNECTIONS_REFUSED = 'connections refused'
const AUTHORIZES = ['provision', 'exchange', 'import']

/** The pairs that live at the provider at rest, and that are no grant's current pair. */
export function orphans(history: History): Orphan[] {
  const current = new Set(history.rest.map(({ pair }) => pair))
  const family = new Family(history)
  return history.pairs
    .filter(({ died, pair }) => died === null && !current.has(pair))
    .map(pair => ({
      pair,
      cause: causeOf(history, family, pair),
      deletion:
        history.calls.find(
          call =>
            call.operation === 'delete' &&
            call.status === 204 &&
            call.guid === pair.guid &&
            call.beganMs > storedByMs(history, pair),
        ) ?? null,
    }))
}

/** A pair that lives at the provider at rest belongs to a grant. */
export function noOrphans(history: History): Violation[] {
  return orphans(history)
    .filter(({ cause, deletion }) => cause === null && deletion === null)
    .map(({ pair }) => ({
      what: `the pair ${short(pair.pair)} of ${short(pair.guid)} lives at the provider, and no grant has it (${fate(history, pair)})`,
      lines: [pair.line, ...linesAbout(history, pair)],
    }))
}

export function fate(history: History, { pair, parent, refreshed }: Pair): string {
  const request = history.requests.find(({ brought }) => brought === pair)
  const seen = history.calls.some(({ tokens }) => tokens.some(token => token.pair === pair))
  const operation = request?.gateway == null ? 'made by a client' : `${request.operation} by gateway ${request.gateway}`
  return [
    operation,
    parent === null ? 'first of its line' : `after ${short(parent)}`,
    `refreshed ${refreshed} times`,
    seen ? 'answered to clients' : 'never answered',
  ].join(', ')
}

export function linesAbout(history: History, { pair }: Pair): number[] {
  const request = history.requests.find(({ brought }) => brought === pair)
  const calls = history.calls.filter(({ asked, tokens }) => asked.pair === pair || tokens.some(t => t.pair === pair))
  return [...(request === undefined ? [] : [request.line]), ...calls.slice(0, 3).map(({ line }) => line)]
}

function storedByMs(history: History, { issuedMs, pair }: Pair): number {
  // A pair that a client made belongs to a grant from its import on.
  const imports = history.calls.filter(({ asked, operation }) => operation === 'import' && asked.pair === pair)
  return imports.length === 0 ? issuedMs : Math.min(...imports.map(({ endedMs }) => endedMs))
}

/** A recorded fault that explains why no gateway has ended this pair, or a client that never handed it over. */
function causeOf(history: History, family: Family, pair: Pair): string | null {
  const own = ofClient(history, pair) ?? whyTakenForAlive(history, pair)
  if (own !== null) return own
  const wasStored = pair.refreshed > 0 || history.calls.some(({ tokens }) => tokens.some(t => t.pair === pair.pair))
  const lost = wasStored ? null : whyNotStored(history, pair.pair)
  return lost ?? whyNotRevoked(history, family, pair)
}

function ofClient(history: History, { pair }: Pair): string | null {
  const request = history.requests.find(({ brought }) => brought === pair)
  if (request === undefined || request.gateway !== null) return null
  const imports = history.calls.filter(({ asked, operation }) => operation === 'import' && asked.pair === pair)
  if (imports.some(({ status }) => status === 200 || status === 201)) return null
  const seen = history.calls.some(({ tokens }) => tokens.some(token => token.pair === pair))
  return seen ? null : 'a client made it, and no import of it succeeded'
}

/**
 * An import says how long the token lives. A client that repeats the import later says the same, and a gateway that was stopped
 * reads it late. The gateway then counts the token as alive for too long, and the provider ignores the revocation of an expired one.
 */
function whyTakenForAlive(history: History, { expiresMs, pair }: Pair): string | null {
  const ignoredMs = history.requests.flatMap(({ operation, outcome, reachedMs, subject }) =>
    operation === 'revoke' && outcome === 'no_effect' && subject === pair ? [reachedMs] : [],
  )
  const wasLate = history.calls.some(({ asked, endedMs, operation }) => {
    if (operation !== 'import' || asked.pair !== pair) return false
    const believedUntilMs = endedMs + (asked.expiresInSeconds ?? 0) * 1_000
    // A revocation after that time is the gateway's own mistake.
    return believedUntilMs > expiresMs && ignoredMs.some(atMs => atMs > endedMs && atMs < believedUntilMs)
  })
  return wasLate ? 'its import came late, so it counted as alive for too long' : null
}

/** A replaced pair is revoked by the process that replaced it, which may be killed, or refused five times. */
function whyNotRevoked(history: History, family: Family, pair: Pair): string | null {
  const isReplaced = history.pairs.every(({ parent }) => parent !== pair.pair)
  if (!isReplaced || family.get(pair.pair) === undefined) return null
  const replacing = history.calls.filter(
    call =>
      AUTHORIZES.includes(call.operation) &&
      call.endedMs > pair.issuedMs &&
      (call.guid === pair.guid || call.tokens.some(({ guid }) => guid === pair.guid)),
  )
  // The first one that succeeded has replaced it, or one that was under way at the time.
  const succeeded = replacing.filter(({ status }) => status === 200 || status === 201)
  const replacedByMs = Math.min(...succeeded.map(({ endedMs }) => endedMs))
  for (const { beganMs, endedMs, gateway } of replacing) {
    if (beganMs > replacedByMs) continue
    const [ended] = faultsBetween(history, ['kill', 'terminate'], gateway, beganMs, endedMs + 5_000)
    if (ended !== undefined) return `gateway ${gateway} was ended (${ended.name}) soon after it had replaced the pair`
  }
  const refused = history.events.find(
    ({ atMs, details, guid, type }) =>
      type === 'pair.revoked' && details.confirmed === false && guid === pair.guid && atMs > pair.issuedMs,
  )
  if (refused === undefined) return null
  const { atMs, gateway } = refused
  const failed = history.requests.find(
    ({ answer, operation, outcome, subject }) =>
      subject === pair.pair &&
      (operation === 'revoke' || operation === 'refresh') &&
      (answer !== 'whole' || outcome === null),
  )
  if (failed !== undefined) return 'the provider failed as the pair was to be revoked, five times'
  const [fault] = faultsBetween(history, ['provider', 'terminate'], gateway, atMs - REVOKES_FOR_MS, atMs).filter(
    ({ fault: kind, name }) => kind === 'terminate' || name === CONNECTIONS_REFUSED,
  )
  return fault === undefined ? null : `revoking it failed five times (${fault.name})`
}
