import formbody from '@fastify/formbody'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { ClientCredentials } from '../provider/provider.ts'

/** Reads one request parameter; undefined where it is absent, blank or no string. */
export type Parameter = (name: string) => string | undefined

/** Bodies as Rails takes them: JSON and forms are parameters, an empty body has none, any other kind is not looked at. */
export function acceptAnyBody(app: FastifyInstance): void {
  const parseJson = app.getDefaultJsonParser('error', 'error')
  app.register(formbody)
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body: string, done) => {
    if (body === '') done(null, {})
    else parseJson(request, body, done)
  })
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, _body, done) => done(null, {}))
}

/** Query and body parameters together. Rails lets the query win, and of a repeated parameter the last one. */
export function parametersOf(request: FastifyRequest): Parameter {
  const parameters = new Map([...entriesOf(request.body), ...entriesOf(request.query)])
  return name => {
    const value = parameters.get(name)
    const last = Array.isArray(value) ? value.at(-1) : value
    return typeof last === 'string' && last.trim() !== '' ? last : undefined
  }
}

/**
 * The client's credentials: HTTP Basic first, with its scheme spelled exactly so, then the body's; null where neither
 * names a client. Unlike RFC 6749, section 2.3.1, Doorkeeper does not URL-decode what it finds in the header.
 */
export function clientCredentials(request: FastifyRequest, parameter: Parameter): ClientCredentials | null {
  const basic = /^Basic (.*)$/s.exec(request.headers.authorization ?? '')?.[1]
  if (basic !== undefined) {
    const [clientId = '', ...secret] = Buffer.from(basic, 'base64').toString().split(':')
    if (clientId !== '') return { clientId, clientSecret: secret.join(':') }
  }
  const clientId = parameter('client_id')
  return clientId === undefined ? null : { clientId, clientSecret: parameter('client_secret') ?? '' }
}

/** RFC 6750, section 2.1. Here the scheme may be spelled in any case. */
export function bearerToken(request: FastifyRequest): string | undefined {
  return /^Bearer (.*)$/is.exec(request.headers.authorization ?? '')?.[1]
}

const entriesOf = (source: unknown): [string, unknown][] =>
  typeof source === 'object' && source !== null ? Object.entries(source) : []
