import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import { Counts } from './control/counts.ts'
import { Faults } from './control/faults.ts'
import { PairBook } from './control/pair-book.ts'
import { empty, railsFailure, send } from './http/answer.ts'
import { acceptAnyBody } from './http/parameters.ts'
import { type Perform, performer } from './http/perform.ts'
import { noLedger, openLedger } from './provider/ledger.ts'
import { Provider } from './provider/provider.ts'
import { authorizeRoutes } from './routes/authorize.ts'
import { controlRoutes } from './routes/control.ts'
import { pairRoutes } from './routes/pairs.ts'
import { resourceRoutes } from './routes/resources.ts'
import { revokeRoutes } from './routes/revoke.ts'
import { tokenRoutes } from './routes/token.ts'
import { userRoutes } from './routes/users.ts'
import { resolveSettings, type SandboxOptions } from './settings.ts'

export type { SandboxOptions } from './settings.ts'

/** What the routes share. */
export interface Sandbox {
  readonly provider: Provider
  readonly faults: Faults
  readonly counts: Counts
  readonly perform: Perform
}

/**
 * A stand-in for HealthTap Cloud: a Doorkeeper-shaped authorization server that keeps everything in memory (and
 * what a restart must not lose in a file, if it is given one) and fails on demand. The app does not listen yet. Throws for
 * options that make no sense.
 */
export function buildSandbox(options: SandboxOptions): FastifyInstance {
  const settings = resolveSettings(options)
  const ledger = options.dataFile === undefined ? noLedger : openLedger(options.dataFile)
  const book = options.keepsPairBook === true ? new PairBook() : null
  const provider = new Provider(settings, options.now ?? Date.now, book?.watchingLedger(ledger) ?? ledger)
  const faults = new Faults()
  const counts = new Counts()
  const unwatched = performer({ settings, faults, counts })
  const perform = book?.watchingRequests(unwatched) ?? unwatched
  const sandbox = { provider, faults, counts, perform }

  const app = Fastify({
    logger: withoutQueries(options.logger),
    bodyLimit: 64 * 1024,
    // A HEAD on the authorize page would issue codes, and Doorkeeper answers 404 to one on the token endpoint.
    exposeHeadRoutes: false,
    // Connections kept alive by a client must not hold up close().
    forceCloseConnections: true,
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false, allErrors: true } },
  })
  // Closing waits for nobody who waits for a fault's latency.
  app.addHook('preClose', async () => faults.replace([]))
  acceptAnyBody(app)
  app.setNotFoundHandler((request, reply) => send(reply, railsFailure(404, request)))
  app.setErrorHandler<Error & { statusCode?: number }>((error, request, reply) => {
    const status = error.statusCode ?? 500
    if (status >= 500) request.log.error(error)
    return send(reply, status === 400 ? empty(400) : railsFailure(status, request))
  })

  tokenRoutes(app, sandbox)
  revokeRoutes(app, sandbox)
  userRoutes(app, sandbox)
  resourceRoutes(app, sandbox)
  // These two word their errors in their own way, which takes a scope of their own.
  app.register(async scope => authorizeRoutes(scope, sandbox))
  app.register(async scope => controlRoutes(scope, sandbox), { prefix: '/sandbox' })
  if (book !== null) app.register(async scope => pairRoutes(scope, book), { prefix: '/sandbox' })
  return app
}

/** Queries carry codes, states and sometimes tokens: requests are logged by their path alone. */
function withoutQueries(logger: SandboxOptions['logger'] = false): NonNullable<FastifyServerOptions['logger']> {
  if (logger === false) return false
  const given = logger === true ? {} : logger
  const req = ({ method, url }: { method: string; url: string }) => ({ method, path: url.split('?', 1)[0] })
  return { ...given, serializers: { ...given.serializers, req } }
}
