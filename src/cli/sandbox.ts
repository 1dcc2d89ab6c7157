import { readFileSync } from 'node:fs'
import closeWithGrace from 'close-with-grace'
import { startSandbox } from '../../sandbox/index.ts'

export interface SandboxArguments {
  readonly host: string
  readonly port: number
  readonly tlsPort?: number
  readonly tlsCert?: string
  readonly tlsKey?: string
  readonly data?: string
  readonly appId: string
  readonly appSecret: string
  readonly redirectUri: readonly string[]
  readonly rotation: 'instant' | 'on_use'
  readonly legacy: boolean
  readonly tokenLifetime: number
  readonly guid: boolean
  readonly pkce: boolean
  readonly passwordGrant: boolean
  readonly reuseTokens: boolean
}

export async function sandbox(options: SandboxArguments): Promise<void> {
  const { data, tlsPort, tlsCert, tlsKey } = options
  const hasTls = tlsPort !== undefined && tlsCert !== undefined && tlsKey !== undefined
  const running = await startSandbox({
    host: options.host,
    beyondThisMachine: true,
    port: options.port,
    ...(hasTls
      ? { tls: { port: tlsPort, cert: readFileSync(tlsCert, 'utf8'), key: readFileSync(tlsKey, 'utf8') } }
      : {}),
    ...(data === undefined ? {} : { dataFile: data }),
    appId: options.appId,
    appSecret: options.appSecret,
    redirectUris: options.redirectUri,
    rotation: options.rotation,
    legacy: options.legacy,
    tokenLifetimeSeconds: options.tokenLifetime,
    guidInExchange: options.guid,
    pkce: options.pkce,
    passwordGrant: options.passwordGrant,
    reuseTokens: options.reuseTokens,
  })
  closeWithGrace({ delay: 2_000 }, () => running.close())
  process.stdout.write(
    `HealthTap sandbox on ${running.url}: a stand-in, not HealthTap. It believes any name${data === undefined ? ' and forgets everything' : ''}.\nHow to use it: curl -s ${running.url}/sandbox\n`,
  )
}
