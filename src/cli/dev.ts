/** Everything in one process, for the first five minutes. */
import { randomBytes } from 'node:crypto'
import { startSandbox } from '../../sandbox/index.ts'
import { readEmbeddedConfig } from '../config.ts'
import { createEmbeddedGateway } from '../gateway.ts'
import { newCaller } from './keys.ts'
import { closeGracefully } from './serve.ts'

export interface DevArguments {
  readonly port: number
  readonly sandboxPort: number
  readonly rotation: 'instant' | 'on_use'
  readonly tokenLifetime: number
  readonly passwordGrant: boolean
}

const HOST = '127.0.0.1'
/** What the environment has a say in: how the gateway behaves, and not what it stands on. */
const BEHAVIOUR = [
  'DEFAULT_LIFETIME_SECONDS',
  'HEALTHTAP_PASSWORD_GRANT',
  'HEALTHTAP_PKCE',
  'HEALTHTAP_SCOPES',
  'HEALTHTAP_TIMEOUT_MS',
  'LOG_LEVEL',
  'MAX_CONCURRENT_PER_CALLER',
  'OTEL_EXPORTER_OTLP_ENDPOINT',
  'OTEL_EXPORTER_OTLP_HEADERS',
  'OTEL_EXPORTER_OTLP_PROTOCOL',
  'OTEL_RESOURCE_ATTRIBUTES',
  'OTEL_SDK_DISABLED',
  'OTEL_SERVICE_NAME',
  'OTEL_TRACES_SAMPLER',
  'OTEL_TRACES_SAMPLER_ARG',
  'RATE_LIMIT_PER_CALLER',
  'RATE_LIMIT_PER_GUID',
  'REFRESH_IDLE_AFTER_SECONDS',
  'REFRESH_MARGIN_RATIO',
  'REFRESH_MARGIN_SECONDS',
  'REQUIRE_STATE',
  'RETURN_TO_ORIGINS',
  'TOKEN_MIN_TTL_SECONDS',
]

export async function dev(options: DevArguments): Promise<void> {
  const appId = randomBytes(32).toString('hex')
  const appSecret = randomBytes(32).toString('hex')
  const gatewayUrl = `http://${HOST}:${options.port}`
  const callbackUri = `${gatewayUrl}/tap-in/callback`
  const sandboxUrl = `http://${HOST}:${options.sandboxPort}`
  const { apiKey, entry } = newCaller('development', ['*'])
  const config = readEmbeddedConfig({
    LOG_LEVEL: 'warn',
    HEALTHTAP_PASSWORD_GRANT: String(options.passwordGrant),
    ...Object.fromEntries(BEHAVIOUR.flatMap(name => (process.env[name] ? [[name, process.env[name]]] : []))),
    HOST,
    PORT: String(options.port),
    HEALTHTAP_APP_ID: appId,
    HEALTHTAP_APP_SECRET: appSecret,
    HEALTHTAP_AUTHORIZE_URL: `${sandboxUrl}/oauth/authorize`,
    HEALTHTAP_API_URL: sandboxUrl,
    HEALTHTAP_IDENTITY_URL: `${sandboxUrl}/api/v2.1/me.json`,
    HEALTHTAP_REDIRECT_URIS: callbackUri,
    CALLERS: JSON.stringify([entry]),
  })
  const sandbox = await startSandbox({
    port: options.sandboxPort,
    appId,
    appSecret,
    redirectUris: [callbackUri],
    rotation: options.rotation,
    tokenLifetimeSeconds: options.tokenLifetime,
    // A gateway that is told to use it, be it by the environment alone, should find it.
    passwordGrant: options.passwordGrant || config.passwordGrant,
  })
  const gateway = await createEmbeddedGateway(config)
  await gateway.listen()
  const close = async () => {
    await gateway.close()
    await sandbox.close()
  }
  closeGracefully({ ...gateway, close }, 5_000, 0)
  process.stdout.write(walkThrough({ gatewayUrl, sandboxUrl, apiKey, appId, callbackUri }))
  if (config.passwordGrant) process.stdout.write(comeBack(sandboxUrl))
  else if (options.passwordGrant) process.stdout.write(UNUSED)
}

interface Addresses {
  readonly gatewayUrl: string
  readonly sandboxUrl: string
  readonly apiKey: string
  readonly appId: string
  readonly callbackUri: string
}

function walkThrough({ gatewayUrl, sandboxUrl, apiKey, appId, callbackUri }: Addresses): string {
  return `
HealthTap auth gateway, for development: everything is in memory, and gone when you press Ctrl-C.

  Gateway          ${gatewayUrl}
  Docs             ${gatewayUrl}/docs        (press Authorize, enter the key, try it out)
  Console          ${gatewayUrl}/console     for operators: sign in with the key
  Sandbox          ${sandboxUrl}     a stand-in for HealthTap: ${sandboxUrl}/sandbox
  Development key  ${apiKey}

Paste these into another terminal, one after the other.

0. The key and the address, for the commands below

  export GATEWAY=${gatewayUrl} KEY=${apiKey}

1. Make a HealthTap user for your user 4711, and read a token for them

  GUID=$(curl -s $GATEWAY/v1/users -H "Authorization: Bearer $KEY" -H 'content-type: application/json' -d '{"username":"4711"}' | grep -o '"guid":"[^"]*"' | cut -d'"' -f4); echo $GUID
  curl -s $GATEWAY/v1/grants/$GUID/token -H "Authorization: Bearer $KEY"; echo

2. Tap-in: begin an authorization, open its authorization_url in a browser, press Allow

  STATE=$(curl -s $GATEWAY/v1/authorizations -H "Authorization: Bearer $KEY" -H 'content-type: application/json' -d '{}' | tee /dev/stderr | grep -o '"state":"[^"]*"' | head -1 | cut -d'"' -f4); echo
  curl -s $GATEWAY/v1/authorizations/$STATE -H "Authorization: Bearer $KEY"; echo

3. The same without a browser: ask the sandbox for a code as "ada", and exchange it yourself

  CODE=$(curl -si ${sandboxUrl}/oauth/authorize -d client_id=${appId} --data-urlencode redirect_uri=${callbackUri} -d scope=profile_read -d username=ada -d decision=allow | grep -i '^location:' | sed 's/.*code=\\([^&[:space:]]*\\).*/\\1/'); echo $CODE
  curl -s $GATEWAY/v1/grants -H "Authorization: Bearer $KEY" -H 'content-type: application/json' -d "{\\"code\\":\\"$CODE\\",\\"redirect_uri\\":\\"${callbackUri}\\"}"; echo

4. What the gateway holds (no secrets in it)

  curl -s $GATEWAY/v1/grants -H "Authorization: Bearer $KEY"; echo

`
}

const UNUSED =
  'The environment has HEALTHTAP_PASSWORD_GRANT=false: the sandbox offers the password grant, the gateway does not use it.\n\n'

/** The step that shows what the password grant is good for. */
function comeBack(sandboxUrl: string): string {
  return `5. The password grant: the sandbox ends all tokens of your user 4711, you report the dead one, the gateway gets a new one

  curl -s -X POST ${sandboxUrl}/sandbox/revoke-user/$GUID; echo
  curl -s $GATEWAY/v1/grants/$GUID/refresh -H "Authorization: Bearer $KEY" -H 'content-type: application/json' -d '{"version":1}'; echo

`
}
