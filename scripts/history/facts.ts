/** What several invariants ask a history for. */
import { TIMEOUT_MS } from '../gateway-process.ts'
import type { Call, Fault, FaultKind, GrantView, History, Pair, Token } from './history.ts'

/** A gateway that has its Redis back forgets what it had in memory when it hears from it again. */
const FORGETS_WITHIN_MS = 3_000

/** A token in an answer. */
export interface Answered {
  readonly call: Call
  readonly token: Token
}

export function answeredTokens({ calls }: History): Answered[] {
  return calls.flatMap(call => call.tokens.map(token => ({ call, token })))
}

export function groupedBy<T, K>(items: readonly T[], key: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>()
  for (const item of items) {
    const group = groups.get(key(item))
    if (group === undefined) groups.set(key(item), [item])
    else group.push(item)
  }
  return groups
}

/** Times between which the life of a grant may have ended. */
interface End {
  readonly fromMs: number
  readonly untilMs: number
}

/** When the lives of grants may have ended: a DELETE may take effect from its beginning until its 204, or until its event. */
export class Lives {
  readonly #history: History
  readonly #ends: ReadonlyMap<string, readonly End[]>

  constructor(history: History) {
    this.#history = history
    const deletions = history.calls.filter(({ operation, status }) => operation === 'delete' && status !== 404)
    const ends = deletions.map(call => ({
      guid: call.guid ?? '',
      fromMs: call.beganMs,
      untilMs: call.status === 204 ? call.endedMs : revokedMs(history, call),
    }))
    this.#ends = groupedBy(ends, ({ guid }) => guid)
  }

  /** Whether two answers about one guid may be about two lives. */
  mayDiffer(guid: string, a: Call, b: Call): boolean {
    const fromMs = Math.min(asOfMs(this.#history, a), asOfMs(this.#history, b))
    const untilMs = Math.max(a.endedMs, b.endedMs)
    return (this.#ends.get(guid) ?? []).some(end => end.fromMs < untilMs && end.untilMs > fromMs)
  }
}

/** The DELETE was not confirmed to its caller: it is over when a gateway says so, or nobody knows. */
function revokedMs({ events }: History, call: Call): number {
  const event = events.find(
    ({ atMs, guid, type }) => type === 'grant.revoked' && guid === call.guid && atMs > call.beganMs,
  )
  return event?.atMs ?? Number.POSITIVE_INFINITY
}

/** Faults of some kinds that were in force at a gateway between two times. */
export function faultsBetween(
  history: History,
  kinds: readonly FaultKind[],
  gateway: number | null,
  fromMs: number,
  untilMs: number,
): Fault[] {
  return history.faults.filter(
    fault =>
      kinds.includes(fault.fault) &&
      (fault.gateway === null || gateway === null || fault.gateway === gateway) &&
      fault.beganMs <= untilMs &&
      fault.endedMs >= fromMs,
  )
}

/**
 * Whether this answer may come from a gateway's memory because its Redis was away. Such an answer may be as old as the fault
 * (docs/decisions/0010): no other answer may.
 */
export function mayBeFromMemory(history: History, call: Call): boolean {
  return redisFaults(history, call).length > 0
}

/** The earliest moment of which this answer may tell. */
function asOfMs(history: History, call: Call): number {
  return Math.min(call.beganMs, ...redisFaults(history, call).map(({ beganMs }) => beganMs))
}

function redisFaults(history: History, { gateway, beganMs, endedMs }: Call): Fault[] {
  return faultsBetween(history, ['redis'], gateway, beganMs - FORGETS_WITHIN_MS, endedMs)
}

export class Family {
  readonly #pairs: ReadonlyMap<string, Pair>

  constructor({ pairs }: History) {
    this.#pairs = new Map(pairs.map(pair => [pair.pair, pair]))
  }

  get(pair: string): Pair | undefined {
    return this.#pairs.get(pair)
  }

  /** The pair itself, then its parent, and so on to the pair that began the authorization. */
  line(pair: string): string[] {
    const line = [pair]
    for (let next = this.get(pair)?.parent; next != null; next = this.get(next)?.parent) line.push(next)
    return line
  }
}

/** An answer that took so long met a deadline that had passed, or was about to: nothing was there to read it. */
const GIVEN_UP_AFTER_MS = 0.8 * TIMEOUT_MS
const HOLDS_FOR_MS = 2_000
/** After SIGKILL a gateway sends nothing for this long, because it has to start again. So an earlier process sent the request. */
const STARTS_IN_MS = 1_000
/** The recorder and the gateway may see the same moment this much apart. */
const SEEN_APART_MS = 50

/** Why nothing could store the pair that this request brought; null: a gateway had it and ran on. */
export function whyNotStored(history: History, brought: string): string | null {
  const request = history.requests.find(candidate => candidate.brought === brought)
  if (request === undefined || request.endedMs === null) return null
  if (request.answer === 'lost') return 'the answer was dropped'
  if (request.answer === 'failed') return 'the answer was replaced by a failure'
  if (request.gateway === null) return null
  if (request.endedMs - request.reachedMs > GIVEN_UP_AFTER_MS) return 'the answer came after the deadline'
  // A gateway that waits for its Redis holds a pair until the Redis is back.
  const { endedMs, gateway } = request
  const away = faultsBetween(history, ['redis'], gateway, endedMs, endedMs + HOLDS_FOR_MS)
  const heldUntilMs = Math.max(endedMs, ...away.map(fault => fault.endedMs)) + HOLDS_FOR_MS
  // A slow provider may take a request up after its gateway was killed. After SIGTERM a gateway still stores what it receives.
  const fromMs = { kill: request.reachedMs - STARTS_IN_MS, terminate: endedMs - SEEN_APART_MS }
  const ends = history.faults.filter(
    ({ beganMs, fault, gateway: hit }) =>
      (fault === 'kill' || fault === 'terminate') &&
      (hit === null || hit === gateway) &&
      beganMs >= fromMs[fault] &&
      beganMs <= heldUntilMs,
  )
  return ends.length > 0 ? `gateway ${gateway} was ended while it held the answer` : null
}

/** What answers say about the version of a grant, with or without a token. */
export function answeredVersions({ calls }: History): { call: Call; guid: string; version: number }[] {
  return calls.flatMap(call =>
    [...call.tokens, ...call.grants].map(({ guid, version }: Token | GrantView) => ({ call, guid, version })),
  )
}

export const short = (name: string): string => name.slice(0, 8)
