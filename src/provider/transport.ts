/**
 * One HTTP request, and how far it got. undici calls `onRequestStart` in the same step in which it writes the request to a
 * connected socket, after TCP and TLS. Before that call nothing was sent: the request was waiting for a look-up, a connection, a
 * handshake or its turn. From that call on its bytes may have arrived, whatever the error says.
 */
import { Agent, type Dispatcher } from 'undici'
import { createDeadlines, type Deadlines } from './deadlines.ts'
import { type Broken, causeOf } from './reasons.ts'

export interface HttpRequest {
  readonly method: 'GET' | 'POST'
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** null: none. */
  readonly body: string | null
  /** When the answer must be here, in awake time. */
  readonly deadlineMs: number
  /**
   * For a request that cannot be repeated: a connection of its own. An idle connection may have been closed by the other side a
   * moment ago, and a request that is lost with it cannot be told from one that was processed.
   */
  readonly isOnce: boolean
}

export interface HttpAnswer {
  readonly kind: 'answer'
  readonly status: number
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  /** As it came, codings included. */
  readonly body: Buffer
}

/** There is no whole answer. */
export interface Silence extends Broken {
  readonly kind: 'silence'
  /** What has come of one; null: not even its head. */
  readonly part: HttpAnswer | null
}

export interface Transport {
  readonly deadlines: Pick<Deadlines, 'in'>
  /** Never rejects. Ends at the deadline, also while the request waits for a connection. */
  send(request: HttpRequest): Promise<HttpAnswer | Silence>
  close(): Promise<void>
}

interface TransportOptions {
  /** Connections at once, and again as many for requests that cannot be repeated. */
  readonly connections: number
  readonly connectTimeoutMs: number
  readonly largestAnswerBytes: number
}

export function createTransport(options: TransportOptions): Transport {
  const deadlines = createDeadlines()
  const shared = {
    connections: options.connections,
    connect: { timeout: options.connectTimeoutMs },
    maxResponseSize: options.largestAnswerBytes,
    // One deadline for the whole request replaces these two, which also run while our process is stopped.
    headersTimeout: 0,
    bodyTimeout: 0,
  }
  const kept = new Agent(shared)
  // Without pipelining undici closes each connection after its answer.
  const fresh = new Agent({ ...shared, pipelining: 0 })

  return {
    deadlines,

    async send({ url, method, headers, body, deadlineMs, isOnce }) {
      const { origin, pathname, search, protocol } = new URL(url)
      const agent = isOnce ? fresh : kept
      return await new Promise(resolve => {
        const exchange = new Exchange(protocol === 'https:', resolve)
        exchange.endAt(deadlineMs, deadlines)
        agent.dispatch({ origin, path: `${pathname}${search}`, method, headers, body }, exchange)
      })
    },

    async close() {
      await Promise.all([kept.close(), fresh.close()])
    },
  }
}

class Exchange implements Dispatcher.DispatchHandler {
  readonly #isTls: boolean
  readonly #settle: (end: HttpAnswer | Silence) => void
  #unwatch = () => {}
  #isOver = false
  /** null: not on a socket yet, so nothing was sent. */
  #controller: Dispatcher.DispatchController | null = null
  #status = 0
  #headers: HttpAnswer['headers'] = {}
  readonly #chunks: Buffer[] = []

  constructor(isTls: boolean, settle: (end: HttpAnswer | Silence) => void) {
    this.#isTls = isTls
    this.#settle = settle
  }

  endAt(atMs: number, deadlines: Deadlines): void {
    this.#unwatch = deadlines.watch(atMs, () => {
      this.#breakOff(null)
      this.#controller?.abort(new Error('deadline'))
    })
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // Its deadline passed while it was waiting, or undici is about to send it a second time: it must not be sent now.
    if (this.#isOver || this.#controller !== null) controller.abort(new Error('not sent'))
    else this.#controller = controller
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: HttpAnswer['headers']): void {
    // 1xx: the answer is still to come.
    if (status < 200) return
    this.#status = status
    this.#headers = headers
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#chunks.push(chunk)
  }

  onResponseEnd(): void {
    this.#end(this.#answer())
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#breakOff(error)
  }

  /** As much as has come. */
  #answer(): HttpAnswer {
    const body = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks)
    return { kind: 'answer', status: this.#status, headers: this.#headers, body }
  }

  /** null: by the deadline. */
  #breakOff(error: Error | null): void {
    const hasBegun = this.#status > 0
    const cause = causeOf(error, { wasSent: this.#controller !== null, hasBegun, isTls: this.#isTls })
    this.#end({ kind: 'silence', ...cause, part: hasBegun ? this.#answer() : null })
  }

  #end(end: HttpAnswer | Silence): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#unwatch()
    this.#settle(end)
  }
}
