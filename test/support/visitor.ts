/** Goes to routes as the OpenAPI document names them, and keeps what they answer, but for the secrets that were asked for. */
import { Agent, request } from 'undici'

/** Where to go: a method, and a path of the document. */
type Route = `${'GET' | 'POST' | 'PUT' | 'DELETE' | 'HEAD'} /${string}`

interface Visit {
  readonly params?: Readonly<Record<string, string>>
  readonly query?: Readonly<Record<string, string>>
  /** A string goes out as it is. */
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** Another listener; absent: the main one. */
  readonly at?: string | undefined
  /** null: none; absent: that of who may do everything. */
  readonly bearer?: string | null
}

export interface Visited {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever comes.
  readonly body: any
}

export interface Visitor {
  ask(route: Route, visit?: Visit): Promise<Visited>
  /** `GET /v1/grants/{guid}` …: those that have answered something. */
  readonly routes: ReadonlySet<string>
  /** The problem codes that were answered. */
  readonly codes: ReadonlySet<string>
  /** Heads and bodies. */
  answers(): string
}

interface VisitorOptions {
  readonly url: string
  readonly bearer: string
  readonly tls: { readonly ca: string; readonly cert?: string; readonly key?: string }
}

/** Where an access token is the answer, it is for who asked. */
const HANDS_OUT_TOKENS: readonly string[] = [
  'POST /v1/grants',
  'POST /v1/users',
  'GET /v1/grants/{guid}/token',
  'POST /v1/tokens',
  'POST /v1/grants/{guid}/refresh',
]

export function createVisitor(options: VisitorOptions): Visitor & { close(): Promise<void> } {
  // Each request on a connection of its own: nobody who closes waits for one that is kept.
  const dispatcher = new Agent({ connect: options.tls, pipelining: 0 })
  const routes = new Set<string>()
  const codes = new Set<string>()
  const answers: string[] = []

  function keep(route: Route, status: number, headers: object, text: string, body: Visited['body']): void {
    routes.add(route)
    if (status >= 400 && typeof body.code === 'string') codes.add(body.code)
    const isTheirs = HANDS_OUT_TOKENS.includes(route) && status < 300
    const tokens: Visited['body'][] = isTheirs ? (body.results ?? [{ token: body }]) : []
    const shown = tokens.reduce((rest: string, { token }) => {
      return rest.replace(`"access_token":"${token?.access_token}"`, '"access_token":"…"')
    }, text)
    answers.push(`${route} ${status} ${JSON.stringify(headers)}\n${shown}\n`)
  }

  return {
    routes,
    codes,
    answers: () => answers.join('\n'),
    close: () => dispatcher.close(),

    async ask(route, visit = {}) {
      const [method, path] = route.split(' ') as ['GET', string]
      const { params = {}, query, at = options.url, bearer = options.bearer } = visit
      const filled = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(params[name] ?? ''))
      const search = query === undefined ? '' : `?${new URLSearchParams(query)}`
      const response = await request(`${at}${filled}${search}`, {
        method,
        dispatcher,
        headers: {
          ...(bearer === null ? {} : { authorization: `Bearer ${bearer}` }),
          ...(visit.body === undefined ? {} : { 'content-type': 'application/json' }),
          ...visit.headers,
        },
        body: typeof visit.body === 'string' ? visit.body : JSON.stringify(visit.body),
      } as Parameters<typeof request>[1])
      const { statusCode: status, headers } = response
      const text = await response.body.text()
      const isJson = /json/.test(String(headers['content-type']))
      const body = isJson && text !== '' ? JSON.parse(text) : text
      keep(route, status, headers, text, body)
      return { status, headers, body }
    },
  }
}
