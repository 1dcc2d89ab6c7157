/** HealthTap over HTTP, as PROVIDER.md documents it: JSON bodies, HTTP Basic, one deadline for each request. */
import { createHash } from 'node:crypto'
import type { Outcome, Provider } from '../ports/provider.ts'
import { Secret } from '../ports/secret.ts'
import { noTracing, type Span, type Tracing } from '../ports/tracing.ts'
import {
  type Answer,
  bringsPair,
  classifyIdentity,
  classifyPresentation,
  classifyRevocation,
  classifyTokenAnswer,
} from './classify.ts'
import { decoded } from './content-coding.ts'
import { httpDateMs } from './http-date.ts'
import { createTransport, type HttpAnswer, type HttpRequest } from './transport.ts'

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

/** No answer of a token endpoint is longer, decoded or not; what is longer is not read. */
const LARGEST_ANSWER_BYTES = 64 * 1024

/** A protected resource to present access tokens to, where no identity URL is configured. */
const ANY_RESOURCE = '/api/v2.1/me.json'

/** A code that no provider has given out. */
const MADE_UP = new Secret('healthtap-gateway-probe')

/** Outcomes by which the provider has done its work, be it by a no. */
const IS_AN_ANSWER: ReadonlySet<Outcome<unknown>['kind']> = new Set(['ok', 'rejected', 'conflict'])

/** Outcomes after which it is not known whether our credentials were taken. */
const SAYS_NOTHING_OF_US: ReadonlySet<Outcome<unknown>['kind']> = new Set(['client_refused', 'unavailable', 'unknown'])

export interface HealthTap extends Provider {
  /** From here on with these. */
  useSecrets(secrets: Pick<HealthTapOptions, 'appSecret' | 'appSecretNext'>): void
  close(): Promise<void>
}

export function createHealthTap(options: HealthTapOptions): HealthTap {
  const { timeoutMs, tracing = noTracing } = options
  const transport = createTransport({
    connections: options.connections,
    connectTimeoutMs: Math.ceil(timeoutMs / 2),
    largestAnswerBytes: LARGEST_ANSWER_BYTES,
  })
  let basics = basicsOf(options)
  const apiUrl = options.apiUrl.replace(/\/+$/, '')

  /** The one that HealthTap takes comes first. */
  function basicsOf({ appSecret, appSecretNext }: Parameters<HealthTap['useSecrets']>[0]): readonly string[] {
    const secrets = appSecretNext === null ? [appSecret] : [appSecret, appSecretNext]
    return secrets.map(secret => `Basic ${Buffer.from(`${options.appId}:${secret.reveal()}`).toString('base64')}`)
  }

  /** `isOnce`: the request cannot be repeated when its outcome is unknown. */
  async function post<T>(
    { operation, path, isOnce = false }: { operation: string; path: string; isOnce?: boolean },
    body: object,
    classify: (answer: Answer) => Outcome<T>,
  ): Promise<Outcome<T>> {
    const deadlineMs = transport.deadlines.in(timeoutMs)
    const known = basics
    const [first = '', other] = known
    const request = { method: 'POST', url: `${apiUrl}${path}`, body: JSON.stringify(body), deadlineMs, isOnce } as const
    async function as(authorization: string): Promise<Outcome<T>> {
      const headers = { authorization, 'content-type': 'application/json' }
      return await send(operation, { ...request, headers }, classify)
    }
    const outcome = await as(first)
    if (outcome.kind !== 'client_refused' || other === undefined) return outcome
    // A request without time for an answer would leave in doubt what is certain now.
    if (transport.deadlines.in(0) >= deadlineMs) return outcome
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
    const deadlineMs = transport.deadlines.in(timeoutMs)
    return await send(operation, { method: 'GET', url, headers, body: null, deadlineMs, isOnce: false }, classify)
  }

  async function send<T>(
    operation: string,
    request: HttpRequest,
    classify: (answer: Answer) => Outcome<T>,
  ): Promise<Outcome<T>> {
    const span = tracing.ask(`HealthTap ${operation}`, {
      'htgw.operation': operation,
      'http.request.method': request.method,
      'url.full': request.url.replace(/[?#].*/s, ''),
    })
    return await span.run(async () => {
      const outcome = await sendIn(span, request, classify)
      span.tell({ 'htgw.outcome': outcome.kind })
      if ('reason' in outcome && outcome.reason !== undefined) span.tell({ 'htgw.reason': outcome.reason })
      if (!IS_AN_ANSWER.has(outcome.kind)) span.fail(outcome.kind)
      return outcome
    })
  }

  async function sendIn<T>(
    span: Span,
    request: HttpRequest,
    classify: (answer: Answer) => Outcome<T>,
  ): Promise<Outcome<T>> {
    const sentAtMs = Date.now()
    const end = await transport.send({
      ...request,
      // Nothing compressed: tokens do not get smaller by it.
      headers: {
        ...request.headers,
        ...tracing.headers(),
        accept: 'application/json',
        'accept-encoding': 'identity',
        'user-agent': 'healthtap-gateway',
      },
    })
    function answered(came: HttpAnswer): Outcome<T> {
      span.tell({ 'http.response.status_code': came.status })
      const answer = answerOf(came)
      const dateMs = httpDateMs(answer.date)
      if (dateMs !== null) options.onDate?.({ dateMs, sentAtMs, receivedAtMs: Date.now() })
      return classify(answer)
    }
    if (end.kind === 'silence') {
      const { part, reason, wasSent } = end
      // A pair that came is kept, however the answer ended.
      if (part !== null && bringsPair(answerOf(part))) return answered(part)
      const silence = { upstream: {}, retryAfterSeconds: null, reason }
      // A part of an answer, or one that is not HTTP, does not tell whether the provider has done its work. So it is not settled,
      // and tried again after the lease: that costs time, and no token.
      return wasSent
        ? { kind: 'unknown', settled: false, unreadable: false, ...silence }
        : { kind: 'unavailable', ...silence }
    }
    return answered(end)
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
    const isOnce = operation === 'exchange'
    return await post({ operation, path: '/oauth/token', isOnce }, body, answer => {
      return classifyTokenAnswer('exchange', answer)
    })
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
      return await post({ operation: 'refresh', path: '/oauth/token' }, body, answer => {
        return classifyTokenAnswer('refresh', answer, refreshToken)
      })
    },

    async createUser({ username, password, attributes }) {
      const body = { ...attributes, username, password: password.reveal() }
      return await post({ operation: 'create_user', path: '/api/v2.1/users.json', isOnce: true }, body, answer => {
        return classifyTokenAnswer('users', answer)
      })
    },

    async revoke(token) {
      return await post({ operation: 'revoke', path: '/oauth/revoke' }, { token: token.reveal() }, classifyRevocation)
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
      return await post({ operation: 'password', path: '/oauth/token' }, body, answer => {
        return classifyTokenAnswer('password', answer)
      })
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
      await transport.close()
    },
  }
}

/** RFC 7636, section 4.2. */
function challengeOf(codeVerifier: Secret): string {
  return createHash('sha256').update(codeVerifier.reveal()).digest('base64url')
}

function answerOf(came: HttpAnswer): Answer {
  return {
    status: came.status,
    body: textOf(came),
    retryAfter: headerOf(came, 'retry-after'),
    date: headerOf(came, 'date'),
  }
}

/** null: none, or several. */
function headerOf({ headers }: HttpAnswer, name: string): string | null {
  const value = headers[name]
  return typeof value === 'string' ? value : null
}

/** JSON is UTF-8 (RFC 8259, section 8.1), whatever `Content-Type` says. */
function textOf({ headers, body }: HttpAnswer): string {
  const coding = headers['content-encoding']
  const bytes = coding === undefined ? body : decoded(body, String(coding), LARGEST_ANSWER_BYTES)
  return bytes.toString('utf8')
}
