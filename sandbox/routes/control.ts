import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import Type from 'typebox'
import type { Sandbox } from '../app.ts'
import { contradiction, Fault } from '../control/faults.ts'
import { guide } from '../control/guide.ts'
import type { Settings } from '../settings.ts'

const Guid = Type.Object({ guid: Type.String() })

const FaultList = Type.Array(Fault, { maxItems: 1_000 })

/** What may change while the sandbox runs; absent: stays as it is. */
const SettingsChange = Type.Object(
  {
    rotation: Type.Optional(Type.Enum(['instant', 'on_use'])),
    legacy: Type.Optional(Type.Boolean()),
    token_lifetime_seconds: Type.Optional(Type.Integer({ minimum: 1 })),
    guid_in_exchange: Type.Optional(Type.Boolean()),
    password_grant: Type.Optional(Type.Boolean()),
    reuse_tokens: Type.Optional(Type.Boolean()),
    app_secret: Type.Optional(Type.String({ minLength: 1 })),
  },
  { additionalProperties: false },
)

/** The sandbox's own controls, which no real provider has: faults, counts, settings, and a look at people's pairs. */
export function controlRoutes(app: FastifyInstance, { provider, faults, counts }: Sandbox): void {
  const { settings, people } = provider
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()

  app.setErrorHandler<FastifyError>((error, request, reply) => {
    if (error.validation) return refuse(reply, error.validation.map(describe))
    const status = error.statusCode ?? 500
    if (status >= 500) request.log.error(error)
    return problem(reply, status, status >= 500 ? 'The sandbox failed' : error.message)
  })

  app.get('', (_request, reply) => reply.type('text/plain; charset=utf-8').send(guide(settings)))

  app.get('/faults', () => faults.list())

  typed.put('/faults', { schema: { body: FaultList } }, ({ body }, reply) => {
    const errors = body.flatMap((fault, index) => contradictions(fault, `/${index}`))
    if (errors.length > 0) return refuse(reply, errors)
    faults.replace(body)
    return faults.list()
  })

  typed.post('/faults', { schema: { body: Fault } }, ({ body }, reply) => {
    const errors = contradictions(body, '')
    if (errors.length > 0) return refuse(reply, errors)
    faults.add(body)
    return reply.code(201).send(faults.list())
  })

  app.delete('/faults', (_request, reply) => {
    faults.replace([])
    return reply.code(204).send()
  })

  app.get('/counts', () => counts.report())

  app.delete('/counts', (_request, reply) => {
    counts.reset()
    return reply.code(204).send()
  })

  app.get('/settings', () => visible(settings))

  typed.put('/settings', { schema: { body: SettingsChange } }, ({ body }) => {
    settings.rotation = body.rotation ?? settings.rotation
    settings.legacy = body.legacy ?? settings.legacy
    settings.tokenLifetimeSeconds = body.token_lifetime_seconds ?? settings.tokenLifetimeSeconds
    settings.guidInExchange = body.guid_in_exchange ?? settings.guidInExchange
    settings.passwordGrant = body.password_grant ?? settings.passwordGrant
    settings.reuseTokens = body.reuse_tokens ?? settings.reuseTokens
    settings.appSecret = body.app_secret ?? settings.appSecret
    return visible(settings)
  })

  typed.get('/grants/:guid', { schema: { params: Guid } }, ({ params: { guid } }, reply) => {
    if (!people.byGuid(guid)) return problem(reply, 404, 'Nobody has this guid')
    return { guid, live_pairs: provider.livePairs(guid) }
  })

  typed.post('/revoke-user/:guid', { schema: { params: Guid } }, ({ params: { guid } }, reply) => {
    if (!people.byGuid(guid)) return problem(reply, 404, 'Nobody has this guid')
    return { guid, revoked_pairs: provider.disconnect(guid) }
  })
}

interface FieldError {
  /** JSON pointer into the body. */
  readonly path: string
  readonly message: string
}

/** The settings on the wire; the secret goes in and never comes out. */
const visible = (settings: Settings) => ({
  rotation: settings.rotation,
  legacy: settings.legacy,
  token_lifetime_seconds: settings.tokenLifetimeSeconds,
  guid_in_exchange: settings.guidInExchange,
  password_grant: settings.passwordGrant,
  reuse_tokens: settings.reuseTokens,
})

function contradictions(fault: Fault, path: string): FieldError[] {
  const found = contradiction(fault)
  return found ? [{ path: `${path}/${found.field}`, message: found.message }] : []
}

/** Ajv points at the object when a field is missing or unknown; this points at the field. */
function describe({ instancePath, params, message = 'is wrong' }: NonNullable<FastifyError['validation']>[number]) {
  const field = params.missingProperty ?? params.additionalProperty
  return { path: field === undefined ? instancePath : `${instancePath}/${field}`, message }
}

function refuse(reply: FastifyReply, errors: readonly FieldError[]): FastifyReply {
  const fields = errors.map(({ path }) => path || 'the body').join(', ')
  return problem(reply, 400, `Not understood: ${fields}`, { errors })
}

/** @see RFC 9457 */
function problem(reply: FastifyReply, status: number, detail: string, more: object = {}): FastifyReply {
  return reply
    .code(status)
    .type('application/problem+json')
    .send({ status, detail, ...more })
}
