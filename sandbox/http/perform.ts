import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Counts } from '../control/counts.ts'
import type { Fault, FaultKind, Faults, Operation } from '../control/faults.ts'
import { OAuthError, type OAuthErrorCode } from '../provider/oauth-error.ts'
import type { Settings } from '../settings.ts'
import { type Answer, empty, json, oauthError, railsFailure, send, verbatim, withoutRefreshToken } from './answer.ts'

export interface Result {
  readonly answer: Answer
  /** `ok`, or in one word why not: the name under which it is counted. */
  readonly outcome: string
  /** Whom it turned out to be about; absent: the job's `guid`. */
  readonly guid?: string | undefined
}

export interface Job {
  readonly operation: Operation
  /** Whom the request is about, as far as that can be told before looking closer. */
  readonly guid: string | undefined
  /**
   * Does it. Calls `pause` after the checks and before the commit: a latency passes there, and so may other requests.
   * An `OAuthError` that is thrown becomes the answer. `fault`: the one that strikes afterwards, or null.
   */
  attempt(pause: () => Promise<void>, fault: FaultKind | null): Promise<Result>
}

export interface Surroundings {
  readonly settings: Settings
  readonly faults: Faults
  readonly counts: Counts
}

/** Runs a job, lets a fault interfere before or after it, counts it, and answers. */
export type Perform = (request: FastifyRequest, reply: FastifyReply, job: Job) => Promise<void>

export function performer({ settings, faults, counts }: Surroundings): Perform {
  async function resultOf(job: Job, pause: () => Promise<void>, fault: FaultKind | null): Promise<Result> {
    try {
      return await job.attempt(pause, fault)
    } catch (error) {
      if (!(error instanceof OAuthError)) throw error
      return { answer: oauthError(errorStatus(error.code, settings), error), outcome: error.code }
    }
  }

  return async (request, reply, job) => {
    const { latencyMs, fault, struck, released } = faults.take(job.operation, job.guid)
    for (const kind of struck) counts.recordFault(kind)
    let paused = false
    const pause = async (): Promise<void> => {
      paused = true
      if (latencyMs > 0) await sleep(latencyMs, undefined, { signal: released }).catch(() => {})
      else await nextTurn()
    }
    if (fault && isPreempting(fault)) {
      await pause()
      counts.recordPreempted(job.operation, fault.kind)
      return deliver(reply, answerInstead(fault, request, settings))
    }
    const { answer, outcome, guid = job.guid } = await resultOf(job, pause, fault?.kind ?? null)
    // A slow provider is slow to refuse as well.
    if (!paused) await pause()
    counts.record(job.operation, outcome, guid)
    if (fault?.kind === 'close_idle') closeUnannounced(request)
    deliver(reply, fault ? answerAfterwards(fault, request, answer) : answer)
  }
}

/** Up to 4.2, Doorkeeper answered 401 to every error. */
const errorStatus = (code: OAuthErrorCode, { legacy }: Settings): number =>
  legacy || code === 'invalid_client' ? 401 : 400

const PREEMPTING = ['status_before', 'drop_before', 'rate_limited', 'wrong_credentials']

const isPreempting = ({ kind }: Fault): boolean => PREEMPTING.includes(kind)

/** The answer of a fault that keeps the provider from doing anything; null: the connection breaks. */
function answerInstead(fault: Fault, request: FastifyRequest, settings: Settings): Answer | null {
  switch (fault.kind) {
    case 'rate_limited':
      return verbatim(429, fault.body ?? 'Retry later\n', { 'retry-after': String(fault.retry_after ?? 1) })
    case 'wrong_credentials':
      return oauthError(errorStatus('invalid_client', settings), new OAuthError('invalid_client'))
    case 'status_before':
      return failure(fault, request)
    default:
      return null
  }
}

/** The same for a fault that comes when the provider has done what it was asked, and would give `answer`. */
function answerAfterwards(fault: Fault, request: FastifyRequest, answer: Answer): Answer | null {
  switch (fault.kind) {
    case 'status_after':
      return failure(fault, request)
    case 'malformed':
      return { ...json(200, {}), payload: fault.body ?? '{"access_token":"' }
    case 'omit_refresh_token':
      return withoutRefreshToken(answer)
    case 'close_idle':
      return answer
    default:
      return null
  }
}

function failure({ status = 500, body }: Fault, request: FastifyRequest): Answer {
  if (body === undefined) return railsFailure(status, request)
  return body === '' ? empty(status) : verbatim(status, body)
}

/**
 * From this answer on the connection is closed, and the client has not heard of it yet: it is kept alive by all that the
 * client can see, and what the client sends next is neither read nor answered. Closing it in earnest would leave to chance
 * which of the two is on the wire first.
 */
function closeUnannounced({ raw: { socket } }: FastifyRequest): void {
  // The HTTP parser is one of these listeners.
  socket.removeAllListeners('data')
  socket.once('data', () => socket.destroy())
}

function deliver(reply: FastifyReply, answer: Answer | null): void {
  if (answer) {
    send(reply, answer)
    return
  }
  reply.hijack()
  reply.raw.destroy()
}
