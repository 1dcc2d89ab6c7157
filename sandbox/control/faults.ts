import { setMaxListeners } from 'node:events'
import Type, { type Static } from 'typebox'

export const OPERATIONS = ['exchange', 'refresh', 'password', 'users', 'revoke', 'me'] as const

/** What a request asks the provider to do. `other`: a token request with no grant_type that we know. */
export type Operation = (typeof OPERATIONS)[number] | 'other'

export const FAULT_KINDS = [
  'latency',
  'status_before',
  'status_after',
  'drop_before',
  'drop_after',
  'malformed',
  'omit_refresh_token',
  'close_idle',
  'rate_limited',
  'wrong_credentials',
] as const

export type FaultKind = (typeof FAULT_KINDS)[number]

export const Fault = Type.Object(
  {
    operation: Type.Enum([...OPERATIONS, 'any']),
    kind: Type.Enum([...FAULT_KINDS]),
    times: Type.Optional(Type.Integer({ minimum: 1, description: 'How many requests it hits; absent: until deleted' })),
    guid: Type.Optional(Type.String({ pattern: '^[0-9a-f]{32}$', description: 'Only requests for this person' })),
    latency_ms: Type.Optional(Type.Integer({ minimum: 0, maximum: 600_000 })),
    status: Type.Optional(Type.Integer({ minimum: 200, maximum: 599, description: 'Absent: 500' })),
    body: Type.Optional(Type.String({ description: "Absent: the error page or JSON of a Rails server's failure" })),
    retry_after: Type.Optional(Type.Integer({ minimum: 0, maximum: 86_400, description: 'Seconds; absent: 1' })),
  },
  { additionalProperties: false },
)

export type Fault = Static<typeof Fault>

type Detail = 'latency_ms' | 'status' | 'body' | 'retry_after'

/** Which details mean something to which kind. Any kind may also be slow. */
const DETAILS: Record<FaultKind, readonly Detail[]> = {
  latency: ['latency_ms'],
  status_before: ['latency_ms', 'status', 'body'],
  status_after: ['latency_ms', 'status', 'body'],
  drop_before: ['latency_ms'],
  drop_after: ['latency_ms'],
  malformed: ['latency_ms', 'body'],
  omit_refresh_token: ['latency_ms'],
  close_idle: ['latency_ms'],
  rate_limited: ['latency_ms', 'retry_after', 'body'],
  wrong_credentials: ['latency_ms'],
}

/** The rules that a fault's schema cannot express. Returns the offending field, or null. */
export function contradiction(fault: Fault): { field: Detail; message: string } | null {
  if (fault.kind === 'latency' && fault.latency_ms === undefined) {
    return { field: 'latency_ms', message: 'is needed for kind latency' }
  }
  for (const field of ['latency_ms', 'status', 'body', 'retry_after'] as const) {
    if (fault[field] !== undefined && !DETAILS[fault.kind].includes(field)) {
      return { field, message: `means nothing to kind ${fault.kind}` }
    }
  }
  return null
}

/** What is to go wrong with one request. */
export interface Mishap {
  readonly latencyMs: number
  /** null: nothing but perhaps the latency. */
  readonly fault: Fault | null
  readonly struck: readonly FaultKind[]
  /** Aborted when the faults are replaced or deleted: the latency is over then. */
  readonly released: AbortSignal
}

/**
 * The faults in force. A request is hit by the first fault of kind `latency` that fits it and by the first that fits
 * of any other kind; their latencies add up. Replacing or deleting the faults lets everybody go on who waits because
 * of one: that is how a test brings several requests to the same point and lets them loose at once.
 */
export class Faults {
  #faults: Fault[] = []
  #release = newRelease()

  list(): readonly Fault[] {
    return this.#faults
  }

  replace(faults: readonly Fault[]): void {
    this.#faults = faults.map(fault => ({ ...fault }))
    this.#release.abort()
    this.#release = newRelease()
  }

  add(fault: Fault): void {
    this.#faults.push({ ...fault })
  }

  /** Counts down `times`; a fault that has no time left is gone. */
  take(operation: Operation, guid: string | undefined): Mishap {
    const fits = this.#faults.filter(
      fault =>
        (fault.operation === 'any' || fault.operation === operation) &&
        (fault.guid === undefined || fault.guid === guid),
    )
    const latency = fits.find(({ kind }) => kind === 'latency')
    const fault = fits.find(({ kind }) => kind !== 'latency')
    const taken = [latency, fault].filter(candidate => candidate !== undefined)
    for (const one of taken) if (one.times !== undefined) one.times -= 1
    this.#faults = this.#faults.filter(({ times }) => times !== 0)
    return {
      latencyMs: (latency?.latency_ms ?? 0) + (fault?.latency_ms ?? 0),
      fault: fault ?? null,
      struck: taken.map(({ kind }) => kind),
      released: this.#release.signal,
    }
  }
}

/** Any number of requests may wait for it: the warning about many listeners would be wrong here. */
function newRelease(): AbortController {
  const release = new AbortController()
  setMaxListeners(0, release.signal)
  return release
}
