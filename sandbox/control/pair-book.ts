/**
 * A log of every request that reached the provider and of every pair that it issued, for a check of histories. Tokens and codes
 * stand in it by a one-way name (`nameOf`), never as they are. It only watches, and it grows without a bound.
 */
import { hash } from 'node:crypto'
import { parametersOf } from '../http/parameters.ts'
import type { Job, Perform, Result } from '../http/perform.ts'
import type { Entry, Ledger } from '../provider/ledger.ts'
import type { Operation } from './faults.ts'

/** One request, from its arrival to the end of its answer. Times are milliseconds since the epoch, with fractions. */
export interface SeenRequest {
  readonly operation: Operation
  /** The port at the other end of the connection: it tells apart who asked. */
  readonly port: number
  readonly reachedMs: number
  /** What the request is about, by name: a code, a refresh token, a username or a token to revoke; null: none was sent. */
  readonly subject: string | null
  /** null: a fault kept the provider from looking at the request. */
  outcome: string | null
  /** The pair that it brought; null: none. */
  brought: string | null
  committedMs: number | null
  endedMs: number | null
  /** What the answer became: `whole`, replaced by a failure (`failed`), or not delivered (`lost`); null: not ended. */
  answer: 'whole' | 'failed' | 'lost' | null
}

export interface SeenPair {
  readonly pair: string
  readonly guid: string
  readonly issuedMs: number
  readonly expiresMs: number
  /** The pair whose refresh token brought this one; null: the first pair of an authorization. */
  parent: string | null
  refreshed: number
  died: { readonly atMs: number; by: 'refresh' | 'use' | 'revoke' } | null
}

/** A one-way name of a secret, short enough to read. */
export const nameOf = (secret: string): string => hash('sha256', secret, 'hex').slice(0, 12)

const now = (): number => performance.timeOrigin + performance.now()

const SUBJECTS = ['refresh_token', 'code', 'username', 'token']

export class PairBook {
  readonly #requests: SeenRequest[] = []
  readonly #pairs = new Map<string, SeenPair>()
  readonly #byRefreshToken = new Map<string, SeenPair>()
  readonly #predecessors = new Map<string, SeenPair>()
  /** The pair that was issued in this very turn of the event loop. */
  #lastIssued: SeenPair | null = null

  report(): { requests: readonly SeenRequest[]; pairs: readonly SeenPair[] } {
    return { requests: this.#requests, pairs: [...this.#pairs.values()] }
  }

  /** The same ledger, seen by this book. */
  watchingLedger(ledger: Ledger): Ledger {
    return {
      entries: ledger.entries,
      note: entry => {
        ledger.note(entry)
        this.#noted(entry)
      },
    }
  }

  /** The same `perform`, seen by this book. */
  watchingRequests(perform: Perform): Perform {
    return async (request, reply, job) => {
      const parameter = parametersOf(request)
      const name = SUBJECTS.find(subject => parameter(subject) !== undefined)
      const subject = name === undefined ? null : (parameter(name) ?? '')
      const seen: SeenRequest = {
        operation: job.operation,
        port: request.socket.remotePort ?? 0,
        reachedMs: now(),
        subject: subject === null || name === 'username' ? subject : this.#subjectName(subject),
        outcome: null,
        brought: null,
        committedMs: null,
        endedMs: null,
        answer: null,
      }
      this.#requests.push(seen)
      let result: Result | null = null
      reply.raw.once('close', () => {
        const isWhole = reply.raw.writableFinished
        const isReplaced = result !== null && reply.raw.statusCode !== result.answer.status
        seen.endedMs = now()
        seen.answer = !isWhole ? 'lost' : isReplaced ? 'failed' : 'whole'
      })
      const watched: Job = {
        ...job,
        attempt: async (...how) => {
          try {
            result = await job.attempt(...how)
          } finally {
            seen.outcome = result?.outcome ?? 'refused'
            seen.committedMs = now()
          }
          this.#brought(seen, result, parameter('refresh_token'))
          return result
        },
      }
      await perform(request, reply, watched)
    }
  }

  /** A refresh token, or either half of a pair, has the name of its pair. */
  #subjectName(secret: string): string {
    return this.#byRefreshToken.get(secret)?.pair ?? nameOf(secret)
  }

  #brought(seen: SeenRequest, { answer }: Result, refreshToken: string | undefined): void {
    const accessToken = accessTokenIn(answer.payload)
    if (accessToken === null) return
    seen.brought = nameOf(accessToken)
    const pair = this.#pairs.get(seen.brought)
    const parent = refreshToken === undefined ? undefined : this.#byRefreshToken.get(refreshToken)
    if (pair === undefined || parent === undefined) return
    pair.parent = parent.pair
    parent.refreshed += 1
  }

  #noted(entry: Entry): void {
    if ('pair' in entry) {
      this.#issued(entry)
    } else if ('used' in entry) {
      const predecessor = this.#predecessors.get(nameOf(entry.used))
      if (predecessor !== undefined) predecessor.died ??= { atMs: now(), by: 'use' }
    } else if ('revoked' in entry) {
      const pair = this.#pairs.get(nameOf(entry.revoked))
      // In `instant` rotation the provider notes the new pair, and the end of the old one right after it.
      const isReplaced = this.#lastIssued !== null && this.#lastIssued.guid === pair?.guid
      if (pair !== undefined) pair.died ??= { atMs: now(), by: isReplaced ? 'refresh' : 'revoke' }
    }
  }

  #issued({ pair, predecessor }: Extract<Entry, { pair: unknown }>): void {
    const name = nameOf(pair.accessToken)
    const issuedMs = now()
    const seen: SeenPair = {
      pair: name,
      guid: pair.guid,
      issuedMs,
      expiresMs: issuedMs + pair.expiresInSeconds * 1000,
      parent: null,
      refreshed: 0,
      died: null,
    }
    this.#pairs.set(name, seen)
    this.#byRefreshToken.set(pair.refreshToken, seen)
    const before = predecessor === null ? undefined : this.#pairs.get(nameOf(predecessor))
    if (before !== undefined) this.#predecessors.set(name, before)
    this.#lastIssued = seen
    queueMicrotask(() => {
      this.#lastIssued = null
    })
  }
}

function accessTokenIn(payload: string): string | null {
  return /"access_token":"([^"]+)"/.exec(payload)?.[1] ?? null
}
