/** Between a gateway and its provider: passes everything on, remembers the secrets in it, and answers itself where it is told to. */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { Agent, fetch } from 'undici'

interface WiredAnswer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body: string
}

/** `pass` asks the provider. Rejects where the connection shall break. */
type Reply = (pass: () => Promise<WiredAnswer>) => WiredAnswer | Promise<WiredAnswer>

export interface Wiretap {
  readonly url: string
  /** What came, in order, whether it has been answered or not. */
  readonly asked: readonly { readonly path: string; readonly headers: IncomingHttpHeaders }[]
  /** The one next request whose body, or whose path, has this text in it is answered so. */
  next(text: string, reply: Reply): void
  /** Each request whose body, or whose path, has this text in it is answered so, until the returned function is called. */
  always(text: string, reply: Reply): () => void
}

/** Members of requests and answers that nobody else may see. */
const SECRET_MEMBERS = ['access_token', 'refresh_token', 'password', 'code', 'code_verifier', 'token']
/** Nobody's secret: the code that a gateway probes with. */
const PROBE = 'healthtap-gateway-probe'
const PASSED_ON = ['authorization', 'content-type', 'accept']

/** `learn` is told of each secret that goes by, and what it is called there. */
export async function startWiretap(
  t: Test,
  provider: string,
  learn: (name: string, secret: string) => void,
): Promise<Wiretap> {
  // Without connections that are kept: a sandbox that closes an idle one would break a request of ours, not of the gateway.
  const dispatcher = new Agent({ pipelining: 0 })
  const replies: { text: string; reply: Reply; isOnce: boolean }[] = []
  const asked: { path: string; headers: IncomingHttpHeaders }[] = []

  function learnFrom(text: string): void {
    for (const [name, value] of Object.entries(parseObject(text))) {
      if (SECRET_MEMBERS.includes(name) && typeof value === 'string' && value !== PROBE) learn(name, value)
    }
  }

  async function pass(request: IncomingMessage, body: string): Promise<WiredAnswer> {
    const headers = PASSED_ON.flatMap(name => {
      const value = request.headers[name]
      return typeof value === 'string' ? [[name, value] as [string, string]] : []
    })
    const { method = 'GET' } = request
    const init = { method, headers, redirect: 'manual' as const, dispatcher, ...(method === 'GET' ? {} : { body }) }
    const response = await fetch(`${provider}${request.url}`, init)
    const retryAfter = response.headers.get('retry-after')
    return {
      status: response.status,
      headers: retryAfter === null ? {} : { 'retry-after': retryAfter },
      body: await response.text(),
    }
  }

  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray()).toString()
    learnFrom(body)
    asked.push({ path: request.url ?? '', headers: request.headers })
    const index = replies.findIndex(({ text }) => `${request.url} ${body}`.includes(text))
    const scripted = replies[index]
    if (scripted?.isOnce) replies.splice(index, 1)
    try {
      const passOn = () => pass(request, body)
      const answer = scripted === undefined ? await passOn() : await scripted.reply(passOn)
      learnFrom(answer.body)
      response.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers }).end(answer.body)
    } catch {
      response.destroy()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
    void dispatcher.destroy()
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    next: (text, reply) => void replies.push({ text, reply, isOnce: true }),
    always(text, reply) {
      const each = { text, reply, isOnce: false }
      replies.push(each)
      return () => void replies.splice(replies.indexOf(each), 1)
    },
  }
}

function parseObject(text: string): Readonly<Record<string, unknown>> {
  try {
    return Object(JSON.parse(text))
  } catch {
    return {}
  }
}
