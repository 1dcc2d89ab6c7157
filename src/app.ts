/** The HTTP service, as a function: production, development and tests build this very app. */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import helmet from '@fastify/helmet'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { Ajv, type Schema } from 'ajv'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyServerOptions,
  LogController,
} from 'fastify'
import audit from '../plugins/audit.ts'
import auth from '../plugins/auth.ts'
import health from '../plugins/health.ts'
import problem from '../plugins/problem.ts'
import reach from '../plugins/reach.ts'
import swagger from '../plugins/swagger.ts'
import authorizations from '../routes/authorizations.ts'
import grants from '../routes/grants.ts'
import tapIn from '../routes/tap-in.ts'
import tokens from '../routes/tokens.ts'
import users from '../routes/users.ts'
import type { AuditLog } from './audit/log.ts'
import { createBroker } from './broker/broker.ts'
import type { BrokerPorts } from './broker/context.ts'
import type { Callers } from './callers/callers.ts'
import type { Config, Tls } from './config.ts'
import { sharedSchemas } from './schemas/index.ts'
import { VERSION } from './version.ts'

export interface AppPorts extends BrokerPorts {
  readonly logger: FastifyBaseLogger
  readonly audit: Pick<AuditLog, 'record' | 'trouble'>
  readonly callers: Callers
}

/** No request of the contract is larger; tokens, attributes and all. */
const BODY_LIMIT_BYTES = 64 * 1024
/** How long requests under way may take, once the service is told to stop. */
export const DRAIN_MS = 5_000
/** The broker's lease is this much longer than the provider's deadline: time to commit. */
const LEASE_BEYOND_DEADLINE_MS = 5_000

/** The app renews in the background from when it is ready until it is closed. Ports are closed by who opened them. */
export async function buildApp(config: Config, ports: AppPorts) {
  const app = Fastify({
    loggerInstance: ports.logger,
    bodyLimit: BODY_LIMIT_BYTES,
    requestIdHeader: false,
    genReqId: requestIdOf,
    routerOptions: { maxParamLength: 256 },
    logController: new LogController({ disableRequestLogging: true }),
    ...(config.tls === null ? {} : { https: { ...secureContext(config.tls), ...TLS } }),
  } as FastifyServerOptions).withTypeProvider<TypeBoxTypeProvider>()

  app.setValidatorCompiler(compileValidator())
  takeEmptyJson(app)
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id)
  })
  app.addHook('onResponse', async (request, reply) => {
    const { method, routeOptions, caller } = request
    const took = { status: reply.statusCode, ms: Math.round(reply.elapsedTime) }
    request.log.info({ method, route: routeOptions.url ?? null, caller: caller?.name, ...took }, 'request')
  })

  await app.register(problem)
  await app.register(helmet, { contentSecurityPolicy: { useDefaults: false, directives: API_CSP }, hsts: false })
  await app.register(auth, { callers: ports.callers })
  await app.register(audit, { audit: ports.audit })
  await app.register(swagger, { version: VERSION })
  for (const schema of sharedSchemas) app.addSchema(schema)

  const broker = createBroker(
    {
      policy: {
        marginMs: config.refreshMarginSeconds * 1000,
        marginRatio: config.refreshMarginRatio,
        minTtlMs: config.tokenMinTtlSeconds * 1000,
        defaultLifetimeMs: config.defaultLifetimeSeconds * 1000,
        leaseMs: config.providerTimeoutMs + LEASE_BEYOND_DEADLINE_MS,
        sendWithinMs: LEASE_BEYOND_DEADLINE_MS / 2,
        idleAfterMs: config.refreshIdleAfterSeconds * 1000,
      },
      client: config,
      backgroundConcurrency: config.providerMaxConcurrency,
    },
    ports,
  )
  const options = { broker, clock: ports.clock }
  await app.register(health, {
    pingStore: () => ports.stores.ping(),
    trouble: broker.trouble,
    auditTrouble: ports.audit.trouble,
  })
  await app.register(reach, { broker })
  await app.register(authorizations, options)
  await app.register(grants, options)
  await app.register(tapIn, options)
  await app.register(tokens, options)
  await app.register(users, options)

  app.addHook('onReady', () => broker.start())
  app.addHook('preClose', async () => {
    broker.retire()
    // A request that does not end, as one whose body never comes, must not use up the time that renewals need to end in.
    setTimeout(() => app.server.closeAllConnections(), DRAIN_MS).unref()
  })
  app.addHook('onClose', () => broker.stop())
  return app
}

/** Callers may show a certificate, and need not: those with an API key, probes and browsers have none. */
const TLS = { minVersion: 'TLSv1.2', requestCert: true, rejectUnauthorized: false } as const

/** What may change while the service runs. */
export function secureContext({ cert, key, clientCa }: Tls) {
  return { cert, key: key.reveal(), ...(clientCa === null ? {} : { ca: clientCa }) }
}

/** Many clients name a content type with every request: an empty body is none, and whoever needs one says so. */
function takeEmptyJson(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body: string, done) => {
    if (body === '') done(null, undefined)
    else parse(request, body, done)
  })
}

/** Nothing of the API is a page; the pages bring their own policy. */
const API_CSP = { defaultSrc: ["'none'"], frameAncestors: ["'none'"] }

/** Taken over where it is harmless to log, else made. */
function requestIdOf(request: IncomingMessage): string {
  const given = request.headers['x-request-id']
  return typeof given === 'string' && /^[A-Za-z0-9._-]{1,128}$/.test(given) ? given : randomUUID()
}

/** Bodies are taken as they are; what comes as text by its nature (query, path) may become a number. */
function compileValidator() {
  const options = { allErrors: true, removeAdditional: false, useDefaults: true, strictTypes: false } as const
  const asIs = new Ajv({ ...options, coerceTypes: false })
  const fromText = new Ajv({ ...options, coerceTypes: true })
  return ({ schema, httpPart }: { schema: unknown; httpPart?: string }) => {
    return (httpPart === 'body' ? asIs : fromText).compile(schema as Schema)
  }
}
