/** What a history consists of: the entries of its file, one JSON line each. All times are milliseconds since the epoch. */
import { readFileSync } from 'node:fs'
import type { SeenPair, SeenRequest } from '../../sandbox/control/pair-book.ts'

export type Operation =
  | 'provision'
  | 'exchange'
  | 'read'
  | 'batch'
  | 'report'
  | 'import'
  | 'delete'
  | 'grant'
  | 'list'
  | 'authorize'
  | 'authorization'

/** An access token that a gateway answered. */
export interface Token {
  readonly guid: string
  readonly version: number
  /** The name of the pair it belongs to: tokens never stand in a history. */
  readonly pair: string
  readonly expiresInSeconds: number
}

export interface GrantView {
  readonly guid: string
  readonly version: number
  readonly status: string
  readonly username: string | null
  readonly origin: string
}

/** One request of a client to a gateway, and its answer. */
export interface Call {
  readonly kind: 'call'
  readonly line: number
  readonly client: string
  readonly gateway: number
  readonly operation: Operation
  readonly beganMs: number
  readonly endedMs: number
  /** null: no answer came. */
  readonly status: number | null
  /** The code of the problem that was answered; null: none. */
  readonly code: string | null
  /** The guid that was asked for; null: the call is about no guid, or the client does not know it. */
  readonly guid: string | null
  /** What the request said: a username, the name of a code, a reported version and its pair, an imported pair. */
  readonly asked: {
    readonly username?: string
    readonly code?: string
    readonly version?: number
    readonly pair?: string
    readonly expiresInSeconds?: number
    readonly minTtlSeconds?: number
  }
  readonly tokens: readonly Token[]
  readonly grants: readonly GrantView[]
  /** The problems of single guids in a batch. */
  readonly problems: readonly { readonly guid: string; readonly code: string }[]
}

/** A token that was just answered, presented to a protected resource at once. */
export interface Presentation {
  readonly kind: 'present'
  readonly line: number
  /** The line of the call that answered the token. */
  readonly call: number
  readonly pair: string
  readonly beganMs: number
  readonly endedMs: number
  /** null: no answer came. */
  readonly status: number | null
}

export type FaultKind = 'kill' | 'stop' | 'terminate' | 'redis' | 'provider'

export interface Fault {
  readonly kind: 'fault'
  readonly line: number
  readonly fault: FaultKind
  readonly name: string
  /** null: all gateways. */
  readonly gateway: number | null
  readonly beganMs: number
  /** When the effect was over: the process runs again, Redis or the provider answers again. */
  readonly endedMs: number
}

/** An event that a gateway logged, as it arrived. */
export interface Event {
  readonly kind: 'event'
  readonly line: number
  readonly gateway: number
  readonly atMs: number
  readonly type: string
  readonly guid: string | null
  readonly details: Readonly<Record<string, unknown>>
}

/** A request that reached the provider. `gateway` null: it came from a client of the check, or from none that is known. */
export interface ProviderRequest extends Readonly<SeenRequest> {
  readonly kind: 'request'
  readonly line: number
  readonly gateway: number | null
}

export interface Pair extends Readonly<SeenPair> {
  readonly kind: 'pair'
  readonly line: number
}

/** A grant at rest: after all faults, when nothing is in doubt any more. */
export interface AtRest {
  readonly kind: 'rest'
  readonly line: number
  readonly guid: string
  /** null: there is no such grant. */
  readonly status: string | null
  readonly version: number | null
  readonly origin: string | null
  /** The pair whose access token is answered; null: none is. */
  readonly pair: string | null
}

export interface Setup {
  readonly kind: 'setup'
  readonly line: number
  readonly rotation: 'instant' | 'on_use'
  readonly passwordGrant: boolean
  readonly seed: number
  readonly minutes: number
}

export type Entry = Setup | Call | Presentation | Fault | Event | ProviderRequest | Pair | AtRest

export interface History {
  readonly setup: Setup
  readonly calls: readonly Call[]
  readonly presentations: readonly Presentation[]
  readonly faults: readonly Fault[]
  readonly events: readonly Event[]
  readonly requests: readonly ProviderRequest[]
  readonly pairs: readonly Pair[]
  readonly rest: readonly AtRest[]
}

/** Something that must never be seen, and the lines of the history that show it. */
export interface Violation {
  readonly what: string
  readonly lines: readonly number[]
}

export type Invariant = (history: History) => Violation[]

export function historyOf(entries: readonly Entry[]): History {
  const ofKind = <K extends Entry['kind']>(kind: K) =>
    entries.filter((entry): entry is Extract<Entry, { kind: K }> => entry.kind === kind)
  const setup = ofKind('setup').at(-1)
  if (setup === undefined) throw new Error('a history begins with its setup')
  return {
    setup,
    calls: ofKind('call').toSorted((a, b) => a.endedMs - b.endedMs),
    presentations: ofKind('present'),
    faults: ofKind('fault'),
    events: ofKind('event').toSorted((a, b) => a.atMs - b.atMs),
    requests: ofKind('request').toSorted((a, b) => a.reachedMs - b.reachedMs),
    pairs: ofKind('pair'),
    rest: ofKind('rest'),
  }
}

export function readHistory(file: string): History {
  const lines = readFileSync(file, 'utf8').split('\n')
  return historyOf(lines.filter(line => line !== '').map(line => JSON.parse(line) as Entry))
}
