/** The HTTP service, as a function: production, development and tests build this very app. */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage, Server } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyServerOptions,
  LogController,
} from 'fastify'
import audit from '../plugins/audit.ts'
import auth from '../plugins/auth.ts'
import operatorsConsole from '../plugins/console.ts'
import doors from '../plugins/doors.ts'
import health from '../plugins/health.ts'
import leaving from '../plugins/leaving.ts'
import metrics from '../plugins/metrics.ts'
import problem, { sendProblem } from '../plugins/problem.ts'
import rateLimit from '../plugins/rate-limit.ts'
import reach from '../plugins/reach.ts'
import requestTarget from '../plugins/request-target.ts'
import securityHeaders from '../plugins/security-headers.ts'
import swagger from '../plugins/swagger.ts'
import underWay from '../plugins/under-way.ts'
import authorizations from '../routes/authorizations.ts'
import grants from '../routes/grants.ts'
import overview from '../routes/overview.ts'
import tapIn from '../routes/tap-in.ts'
import tokenBatches from '../routes/token-batches.ts'
import tokens from '../routes/tokens.ts'
import users from '../routes/users.ts'
import type { AuditLog } from './audit/log.ts'
import { createBroker } from './broker/broker.ts'
import { createCensus } from './broker/census.ts'
import type { BrokerPorts } from './broker/context.ts'
import { createOverviews } from './broker/overview.ts'
import type { Callers } from './callers/callers.ts'
import type { Config } from './config.ts'
import { createDoors } from './doors.ts'
import { Problem } from './errors.ts'
import { createLimitedServer, type HttpLimits, httpLimits, refuseUnreadable } from './http-limits.ts'
import { isDeeperThan, MAX_JSON_DEPTH } from './json-depth.ts'
import { createRateLimits } from './limits/rate-limits.ts'
import type { Metrics } from './metrics.ts'
import type { SharedCounts } from './ports/counts.ts'
import { type OutputState, otherOutput } from './ports/output.ts'
import { noTracing } from './ports/tracing.ts'
import { sharedSchemas } from './schemas/index.ts'
import { Overview } from './schemas/overview.ts'
import { compileValidator } from './schemas/validator.ts'
import { tlsForCallers } from './tls.ts'
import type { Traces } from './tracing/traces.ts'
import { VERSION } from './version.ts'

export interface AppPorts extends Omit<BrokerPorts, 'meter' | 'tracing'> {
  readonly logger: FastifyBaseLogger
  readonly callers: Callers
  readonly audit: Pick<AuditLog, 'record' | 'trouble' | 'lost'>
  readonly metrics: Metrics
  /** Where replicas count requests together; null: there is one replica. */
  readonly counts: SharedCounts | null
  /** null: nothing is traced. */
  readonly traces: Traces | null
  /** Absent: the log does not go to standard output. */
  readonly output?: OutputState
}

/** No request of the contract is larger; tokens, attributes and all. */
const BODY_LIMIT_BYTES = 64 * 1024
/** How long requests under way may take, once the service is told to stop. */
export const DRAIN_MS = 5_000
/** The broker's lease is this much longer than the provider's deadline: time to commit. */
const LEASE_BEYOND_DEADLINE_MS = 5_000

/**
 * The app renews in the background from when it is ready until it is closed. Ports are closed by who opened them. Its doors
 * are opened by who listens. `limits` absent: as in production.
 */
export async function buildApp(config: Config, ports: AppPorts, limits: HttpLimits = limitsOf(config)) {
  const tls = config.tls === null ? null : tlsForCallers(config.tls)
  const app = Fastify<Server>({
    serverFactory: handler => createLimitedServer(limits, tls, handler),
    // What comes on an open connection while the service closes is answered; the connection ends with the answer.
    return503OnClosing: false,
    clientErrorHandler: refuseUnreadable(ports.clock),
    frameworkErrors: (_error, request, reply) => {
      // Before any hook: an address that is not percent-encoded, or a part of it that is too long.
      const errors = [{ path: 'path', message: 'cannot be read' }]
      reply.headers({
        'x-request-id': request.id,
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
        ...(request.server.isLeaving() ? { connection: 'close' } : {}),
      })
      return sendProblem(request, reply, new Problem('validation_failed', 'The address cannot be read.', { errors }))
    },
    loggerInstance: ports.logger,
    bodyLimit: BODY_LIMIT_BYTES,
    requestIdHeader: false,
    genReqId: requestIdOf,
    routerOptions: { maxParamLength: 256 },
    logController: new LogController({ disableRequestLogging: true }),
  } as FastifyServerOptions).withTypeProvider<TypeBoxTypeProvider>()

  app.setValidatorCompiler(compileValidator())
  takeJson(app)
  await app.register(problem)
  // Before the hooks that take time, or say something.
  if (ports.traces !== null) {
    const { default: tracing } = await import('../plugins/tracing.ts')
    await app.register(tracing, { traces: ports.traces })
  }
  app.addHook('onRequest', (request, reply, done) => {
    reply.header('x-request-id', request.id)
    done()
  })
  app.addHook('onResponse', (request, reply, done) => {
    const { method, routeOptions, caller } = request
    const took = { status: reply.statusCode, ms: Math.round(reply.elapsedTime) }
    request.log.info({ method, route: routeOptions.url ?? null, caller: caller?.name, ...took }, 'request')
    done()
  })

  // Before all that may refuse a request: a connection ends with that answer, too.
  await app.register(leaving, { onLeave: () => broker.retire() })
  await app.register(securityHeaders)
  await app.register(requestTarget)
  await app.register(doors, { doors: createDoors(limits, config.tls, ports.clock) })
  await app.register(audit, { audit: ports.audit })
  await app.register(auth, { callers: ports.callers })
  await app.register(underWay, { maxPerCaller: config.maxConcurrentPerCaller })
  const rateLimits = createRateLimits({
    clock: ports.clock,
    shared: ports.counts,
    perCaller: config.rateLimitPerCaller,
    perGuid: config.rateLimitPerGuid,
  })
  await app.register(rateLimit, { limits: rateLimits })
  await app.register(swagger, { version: VERSION })
  await app.register(operatorsConsole)
  for (const schema of [...sharedSchemas, Overview]) app.addSchema(schema)

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
    { ...ports, meter: ports.metrics.meter, tracing: ports.traces ?? noTracing },
  )
  const census = createCensus(ports)
  const options = { broker, clock: ports.clock }
  const { inventory } = ports.stores
  const { output = otherOutput } = ports
  const needs = {
    pingStore: () => ports.stores.ping(),
    sightings: ports.stores.sightings.count,
    trouble: broker.trouble,
    auditTrouble: ports.audit.trouble,
    output,
  }
  await app.register(health, needs)
  ports.metrics.watch({ ...ports, inventory, census, output, trouble: broker.trouble })
  await app.register(metrics, { metrics: ports.metrics })
  await app.register(reach, { broker })
  await app.register(authorizations, options)
  await app.register(grants, options)
  await app.register(overview, {
    overviews: createOverviews({ clock: ports.clock, inventory, census, grants: broker.grants }),
    needs,
    version: VERSION,
  })
  await app.register(tapIn, options)
  await app.register(tokens, options)
  await app.register(tokenBatches, { ...options, limits: rateLimits })
  await app.register(users, options)

  app.addHook('onReady', () => broker.start())
  app.addHook('onReady', async () => census.start())
  app.addHook('preClose', async () => {
    // A request that does not end, as one whose body never comes, must not use up the time that renewals need to end in.
    const cutOff = () => {
      app.server.closeAllConnections()
      app.doors.cutOff()
    }
    setTimeout(cutOff, DRAIN_MS).unref()
  })
  app.addHook('onClose', () => census.stop())
  app.addHook('onClose', () => broker.stop())
  return app
}

/** An exchange takes longest: it may wait for a code that somebody else has sent, and then ask whose tokens these are. */
function limitsOf(config: Config): HttpLimits {
  return httpLimits(config.maxConnections, 2 * (config.providerTimeoutMs + LEASE_BEYOND_DEADLINE_MS))
}

/** Many clients name a content type with every request: an empty body is none, and whoever needs one says so. */
function takeJson(app: FastifyInstance): void {
  app.removeContentTypeParser('text/plain')
  const parse = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body: string, done) => {
    if (body === '') done(null, undefined)
    else if (isDeeperThan(MAX_JSON_DEPTH, body)) done(tooDeep())
    else parse(request, body, done)
  })
}

function tooDeep(): Problem {
  const errors = [{ path: '', message: `is nested more than ${MAX_JSON_DEPTH} deep` }]
  return new Problem('validation_failed', 'The body is nested deeper than this service looks.', { errors })
}

/** Taken over where it is harmless to log, else made. */
function requestIdOf(request: IncomingMessage): string {
  const given = request.headers['x-request-id']
  return typeof given === 'string' && /^[A-Za-z0-9._-]{1,128}$/.test(given) ? given : randomUUID()
}
