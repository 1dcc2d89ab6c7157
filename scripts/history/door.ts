/** How clients ask gateways: each call, and each presentation of a token, is recorded with when it began and ended. */
import { nameOf } from '../../sandbox/control/pair-book.ts'
import type { Fleet } from './fleet.ts'
import type { Call, GrantView, Operation, Presentation, Token } from './history.ts'
import { now, type Recorder } from './recorder.ts'

const ANSWERED_WITHIN_MS = 25_000

export interface Request {
  readonly operation: Operation
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly path: string
  readonly body?: object
  readonly guid?: string | null
  readonly asked?: Call['asked']
}

export interface Answer {
  readonly call: Call
  readonly body: Readonly<Record<string, unknown>>
  /** The access token that was answered first; null: none. */
  readonly accessToken: string | null
}

interface Given {
  readonly guid: string
  readonly access_token: string
  readonly version: number
  readonly expires_in: number
}

export class Door {
  readonly #fleet: Fleet
  readonly #recorder: Recorder
  readonly #client: string

  constructor(fleet: Fleet, recorder: Recorder, client: string) {
    this.#fleet = fleet
    this.#recorder = recorder
    this.#client = client
  }

  async ask(gateway: number, request: Request): Promise<Answer> {
    const { operation, method = 'GET', path, guid = null, asked = {} } = request
    const beganMs = now()
    const { status, body } = await this.#send(gateway, method, path, request.body)
    const given = tokensIn(body)
    const call = this.#recorder.record<Call>({
      kind: 'call',
      client: this.#client,
      gateway,
      operation,
      beganMs,
      endedMs: now(),
      status,
      code: typeof body.code === 'string' ? body.code : null,
      guid,
      asked,
      tokens: given.map(tokenView),
      grants: grantsIn(body),
      problems: problemsIn(body),
    })
    return { call, body, accessToken: given[0]?.access_token ?? null }
  }

  async #send(
    gateway: number,
    method: string,
    path: string,
    body: object | undefined,
  ): Promise<{ status: number | null; body: Readonly<Record<string, unknown>> }> {
    try {
      const response = await fetch(`${this.#fleet.member(gateway).gateway.url}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${this.#fleet.apiKey}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        body: body === undefined ? null : JSON.stringify(body),
        signal: AbortSignal.timeout(ANSWERED_WITHIN_MS),
      })
      const text = await response.text()
      const parsed: unknown = text === '' ? {} : JSON.parse(text)
      return { status: response.status, body: parsed as Readonly<Record<string, unknown>> }
    } catch {
      // The gateway was killed, or does not run.
      return { status: null, body: {} }
    }
  }

  /** Presents a token that was just answered, as a service would, straight to the provider. */
  async present({ call, accessToken }: Answer): Promise<void> {
    if (accessToken === null) return
    const beganMs = now()
    const answer = await this.#fleet.sandbox.me(accessToken).catch(() => null)
    this.#recorder.record<Presentation>({
      kind: 'present',
      call: call.line,
      pair: nameOf(accessToken),
      beganMs,
      endedMs: now(),
      status: answer?.status ?? null,
    })
  }
}

function tokensIn(body: Readonly<Record<string, unknown>>): Given[] {
  const candidates = Array.isArray(body.results) ? body.results.map(result => result.token) : [body]
  return candidates.filter(candidate => typeof candidate?.access_token === 'string')
}

function tokenView({ guid, version, access_token: accessToken, expires_in: expiresInSeconds }: Given): Token {
  return { guid, version, pair: nameOf(accessToken), expiresInSeconds }
}

function grantsIn(body: Readonly<Record<string, unknown>>): GrantView[] {
  const candidates = Array.isArray(body.items) ? body.items : [body]
  const grants = candidates.filter(candidate => candidate?.access_token_expires_at !== undefined)
  return grants.map(({ guid, version, status, username, origin }) => ({ guid, version, status, username, origin }))
}

function problemsIn(body: Readonly<Record<string, unknown>>): { guid: string; code: string }[] {
  if (!Array.isArray(body.results)) return []
  const failed = body.results.filter(result => result.problem !== undefined)
  return failed.map(({ guid, problem }) => ({ guid, code: problem.code }))
}
