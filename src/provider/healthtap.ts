/** HealthTap over HTTP, as PROVIDER.md documents it: JSON bodies, HTTP Basic, one deadline for each request. */
import { createHash } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { Agent, request } from 'undici'
import type { Outcome, Provider } from '../ports/provider.ts'
import { Secret } from '../ports/secret.ts'
import { noTracing, type Span, type Tracing } from '../ports/tracing.ts'
import {
  type Answer,
  classifyIdentity,
  classifyPresentation,
  classifyRevocation,
  classifyTokenAnswer,
  timeOf,
} from './classify.ts'

export interface HealthTapOptions {
  readonly appId: string
  readonly appSecret: Secret
  /** Tried where the first is refused; null: there is none. */
  readonly appSecretNext: Secret | null
  readonly authorizeUrl: string
  readonly apiUrl: string
  /** null: nobody can be asked. */
  readonly identityUrl: string | null
  readonly identityPointer: string
  /** One that is registered, for probes. */
  readonly redirectUri: string
  readonly timeoutMs: number
  /** Connections at once, at least as many as requests. */
  readonly connections: number
  /** Told what the provider's clock shows with an answer, and ours before and after; absent: nobody wants to know. */
  readonly onDate?: (answer: { dateMs: number; sentAtMs: number; receivedAtMs: number }) => void
  /** Each request is a span of its own, and the provider is told of it; absent: nothing is traced. */
  readonly tracing?: Tracing
}

/** No answer of a token endpoint is longer; what is longer is not read. */
const LARGEST_ANSWER_BYTES = 64 * 1024

/** A protected resource to present access tokens to, where no identity URL is configured. */
const ANY_RESOURCE = '/api/v2.1/me.json'

/** A code that no provider has given out. */
const MADE_UP = new Secret('healthtap-gateway-probe')

/** Failures before anything was sent: whatever was asked for was not done. */
const NEVER_SENT = new Set([
  'ECONNREFUSED',
  'EAI_AGAIN',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
  'UND_ERR_CONNECT_TIMEOUT',
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
])

/** Outcomes by which the provider has done its work, be it by a no. */
const IS_AN_ANSWER: ReadonlySet<Outcome<unknown>['kind']> = new Set(['ok', 'rejected', 'conflict'])

/** Outcomes after which it is not known whether our credentials were taken. */
const SAYS_NOTHING_OF_US: ReadonlySet<Outcome<unknown>['kind']> = new Set(['client_refused', 'unavailable', 'unknown'])

interface Init {
  readonly method: 'GET' | 'POST'
  readonly headers: Readonly<Record<string, string>>
  /** null: none. */
  readonly body: string | null
  /** When the answer must be here, by `performance.now()`. */
  readonly deadlineMs: number
}

export interface HealthTap extends Provider {
  /** From here on with these. */
  useSecrets(secrets: Pick<HealthTapOptions, 'appSecret' | 'appSecretNext'>): void
  close(): Promise<void>
}

export function createHealthTap(options: HealthTapOptions): HealthTap {
  const { timeoutMs, tracing = noTracing } = options
  const agent = new Agent({
    connections: options.connections,
    connect: { timeout: Math.ceil(timeoutMs / 2) },
    maxResponseSize: LARGEST_ANSWER_BYTES,
  })
  let basics = basicsOf(options)
  const apiUrl = options.apiUrl.replace(/\/+$/, '')

  /** The one that HealthTap takes comes first. */
  function basicsOf({ appSecret, appSecretNext }: Parameters<HealthTap['useSecrets']>[0]): readonly string[] {
    const secrets = appSecretNext === null ? [appSecret] : [appSecret, appSecretNext]
    return secrets.map(secret => `Basic ${Buffer.from(`${options.appId}:${secret.reveal()}`).toString('base64')}`)
  }

  async function post<T>(
    operation: string,
    path: string,
    body: object,
    classify: (answer: Answer) => Outcome<T>,
  ): Promise<Outcome<T>> {
    const deadlineMs = performance.now() + timeoutMs
    const known = basics
    const [first = '', other] = known
    async function as(authorization: string): Promise<Outcome<T>> {
      const headers = { authorization, 'content-type': 'application/json' }
      const init = { method: 'POST', headers, body: JSON.stringify(body), deadlineMs } as const
      return await send(operation, `${apiUrl}${path}`, init, classify)
    }
    const outcome = await as(first)
    if (outcome.kind !== 'client_refused' || other === undefined) return outcome
    // Nothing was spent: whoever refuses us does not look at what we ask for.
    const again = await as(other)
    if (!SAYS_NOTHING_OF_US.has(again.kind) && basics === known) basics = [other, first]
    return again
  }

  async function get<T>(
    operation: string,
    url: string,
    accessToken: Secret,
    classify: (answer: Answer) => Outcome<T>,
  ): Promise<Outcome<T>> {
    const headers = { authorization: `Bearer ${accessToken.reveal()}` }
    return await send(
      operation,
      url,
      { method: 'GET', headers, body: null, deadlineMs: performance.now() + timeoutMs },
      classify,
    )
  }

  async function send<T>(
    operation: string,
    url: string,
    init: Init,
    classify: (answer: Answer) => Outcome<T>,
  ): Promise<Outcome<T>> {
    const span = tracing.ask(`HealthTap ${operation}`, {
      'htgw.operation': operation,
      'http.request.method': init.method,
      'url.full': url.replace(/[?#].*/s, ''),
    })
    return await span.run(async () => {
      const outcome = await sendIn(span, url, init, classify)
      span.tell({ 'htgw.outcome': outcome.kind })
      if (!IS_AN_ANSWER.has(outcome.kind)) span.fail(outcome.kind)
      return outcome
    })
  }

  async function sendIn<T>(
    span: Span,
    url: string,
    { method, headers, body, deadlineMs }: Init,
    classify: (answer: Answer) => Outcome<T>,
  ): Promise<Outcome<T>> {
    const sentAtMs = Date.now()
    // What `request` takes in the place of an AbortSignal, which is several times as dear.
    const signal = new EventEmitter()
    const timer = setTimeout(() => signal.emit('abort'), deadlineMs - performance.now())
    try {
      const response = await request(url, {
        method,
        body,
        signal,
        // Nothing compressed: it would be as large as it likes once it is open, and a new pair in it is worth more than bytes.
        headers: {
          ...headers,
          ...tracing.headers(),
          accept: 'application/json',
          'accept-encoding': 'identity',
          'user-agent': 'healthtap-gateway',
        },
        dispatcher: agent,
      })
      span.tell({ 'http.response.status_code': response.statusCode })
      const { date = null, 'retry-after': retryAfter = null } = response.headers
      const dateMs = timeOf(typeof date === 'string' ? date : null)
      if (dateMs !== null) options.onDate?.({ dateMs, sentAtMs, receivedAtMs: Date.now() })
      return classify({
        status: response.statusCode,
        body: await response.body.text(),
        retryAfter: typeof retryAfter === 'string' ? retryAfter : null,
        date: typeof date === 'string' ? date : null,
      })
    } catch (error) {
      const silence = { upstream: {}, retryAfterSeconds: null }
      return neverSent(error)
        ? { kind: 'unavailable', ...silence }
        : { kind: 'unknown', settled: false, unreadable: false, ...silence }
    } finally {
      clearTimeout(timer)
    }
  }

  async function exchange(
    operation: string,
    { code, redirectUri, codeVerifier }: Parameters<Provider['exchange']>[0],
  ): ReturnType<Provider['exchange']> {
    const body = {
      grant_type: 'authorization_code',
      code: code.reveal(),
      client_id: options.appId,
      redirect_uri: redirectUri,
      ...(codeVerifier === null ? {} : { code_verifier: codeVerifier.reveal() }),
    }
    return await post(operation, '/oauth/token', body, answer => classifyTokenAnswer('exchange', answer))
  }

  return {
    authorizationUrl({ redirectUri, scope, state, codeVerifier }) {
      const url = new URL(options.authorizeUrl)
      url.searchParams.set('client_id', options.appId)
      url.searchParams.set('response_type', 'code')
      url.searchParams.set('redirect_uri', redirectUri)
      url.searchParams.set('scope', scope)
      url.searchParams.set('state', state)
      if (codeVerifier !== null) {
        url.searchParams.set('code_challenge', challengeOf(codeVerifier))
        url.searchParams.set('code_challenge_method', 'S256')
      }
      return url.href
    },

    exchange: request => exchange('exchange', request),

    async refresh(refreshToken) {
      const body = { grant_type: 'refresh_token', refresh_token: refreshToken.reveal() }
      return await post('refresh', '/oauth/token', body, answer => classifyTokenAnswer('refresh', answer))
    },

    async createUser({ username, password, attributes }) {
      const body = { ...attributes, username, password: password.reveal() }
      return await post('create_user', '/api/v2.1/users.json', body, answer => classifyTokenAnswer('users', answer))
    },

    async revoke(token) {
      return await post('revoke', '/oauth/revoke', { token: token.reveal() }, classifyRevocation)
    },

    async probe() {
      // A refresh would not do: servers look at the refresh token first, and say `invalid_client` only where it is good.
      const outcome = await exchange('probe', { code: MADE_UP, redirectUri: options.redirectUri, codeVerifier: null })
      // `invalid_grant`, or another OAuth error that is not about the client: the endpoint works, and knows us.
      const isAnswered = outcome.kind === 'rejected' || (outcome.kind === 'refused' && 'error' in outcome.upstream)
      return outcome.kind === 'ok' || isAnswered ? { kind: 'ok', value: null } : outcome
    },

    async authenticate({ username, password }) {
      const body = { grant_type: 'password', username, password: password.reveal() }
      return await post('password', '/oauth/token', body, answer => classifyTokenAnswer('password', answer))
    },

    async present(accessToken) {
      return await get('present', options.identityUrl ?? `${apiUrl}${ANY_RESOURCE}`, accessToken, classifyPresentation)
    },

    async identify(accessToken) {
      const { identityUrl } = options
      if (identityUrl === null) return { kind: 'ok', value: null }
      return await get('identify', identityUrl, accessToken, answer => {
        return classifyIdentity(answer, options.identityPointer)
      })
    },

    useSecrets(secrets) {
      basics = basicsOf(secrets)
    },

    async close() {
      await agent.close()
    },
  }
}

/** RFC 7636, section 4.2. */
function challengeOf(codeVerifier: Secret): string {
  return createHash('sha256').update(codeVerifier.reveal()).digest('base64url')
}

function neverSent(error: unknown): boolean {
  if (error instanceof AggregateError) return error.errors.every(neverSent)
  return error instanceof Error && NEVER_SENT.has((error as NodeJS.ErrnoException).code ?? '')
}
