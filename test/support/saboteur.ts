/**
 * Preloaded into a gateway (`--import`), does to it what it must never do, or what must never happen: says a request's secrets,
 * or fails in the middle of it, with an error that has them in its text and on it. The request says which: `x-sabotage`.
 */
import { subscribe } from 'node:diagnostics_channel'
import type { FastifyInstance, FastifyRequest } from 'fastify'

const IN_EACH_FORM = ['utf8', 'base64', 'hex'] as const

function leak(request: FastifyRequest): void {
  const token = Buffer.from(request.headers.authorization ?? '')
  for (const form of IN_EACH_FORM) request.log.info({ token: token.toString(form) }, 'leak')
  process.stderr.write(`${encodeURIComponent(JSON.stringify(request.body))}\n`)
}

/** As those of clients, which carry what was sent; the text has lines that look like those of a stack. */
function failureOf({ headers, body, params }: FastifyRequest): Error {
  const text = JSON.stringify({ headers, body, params })
  const error = new Error(`cannot do ${text}\n    at ${headers.authorization} (${text}:1:1)`, { cause: text })
  return Object.assign(error, { command: { name: 'set', args: [headers.authorization, text] } })
}

const ACTS: Readonly<Record<string, (request: FastifyRequest) => void>> = {
  leak,
  throw: request => {
    throw failureOf(request)
  },
  crash: request => setImmediate(() => throwIt(request)),
  // The second one comes while it is closing because of the first.
  'crash-twice': request => {
    setImmediate(() => throwIt(request))
    setImmediate(() => throwIt(request))
  },
  reject: request => void Promise.reject(failureOf(request)),
}

function throwIt(request: FastifyRequest): never {
  throw failureOf(request)
}

subscribe('fastify.initialization', message => {
  const { fastify } = message as { fastify: FastifyInstance }
  fastify.addHook('preHandler', async request => ACTS[String(request.headers['x-sabotage'])]?.(request))
})
