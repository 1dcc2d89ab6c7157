/** The OpenAPI document, from the routes' own schemas, and a page to read and try it, which needs no internet. */
import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

export default fp(
  async (app: FastifyInstance, options: { version: string }) => {
    await app.register(swagger, {
      openapi: {
        openapi: '3.1.0',
        info: {
          title: 'HealthTap auth gateway',
          version: options.version,
          description: DESCRIPTION,
          license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
        },
        servers: [{ url: '/', description: 'This gateway' }],
        tags: TAGS,
        components: {
          securitySchemes: {
            apiKey: {
              type: 'http',
              scheme: 'bearer',
              description:
                'The API key of your service, or a JWT of an issuer that the gateway knows, as `Authorization: Bearer …` (RFC 6750). A client certificate will do as well, where the gateway speaks TLS.',
            },
          },
        },
        security: [{ apiKey: [] }],
      },
      // Shared schemas keep their names in the document.
      refResolver: { buildLocalReference: (json, _baseUri, _fragment, index) => String(json.$id ?? `def-${index}`) },
    })
    await app.register(swaggerUi, {
      routePrefix: '/docs',
      staticCSP: true,
      transformStaticCSP: () => DOCS_CSP,
      uiConfig: { deepLinking: true, persistAuthorization: false, displayRequestDuration: true },
      logLevel: 'silent',
    })
    app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
  },
  { name: 'swagger' },
)

/** The page styles itself inline; everything else comes from here, and goes here. */
const DOCS_CSP =
  "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"

const DESCRIPTION = `The one place that holds your app's secret and people's refresh tokens. Ask it for a valid access token whenever you
need one; it renews them before they lapse.

Times are RFC 3339 in UTC, durations are whole seconds, errors are problem+json (RFC 9457). Press **Authorize** and
enter your API key to try the routes from here.`

const TAGS = [
  { name: 'Tap-in', description: 'A person connects their HealthTap account.' },
  { name: 'Provisioning', description: 'HealthTap users made for users of yours.' },
  { name: 'Tokens', description: 'What your services ask for all day.' },
  { name: 'Grants', description: 'What the gateway holds, without its secrets.' },
  { name: 'Running it', description: 'For load balancers and operators.' },
]
