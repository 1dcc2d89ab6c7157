import closeWithGrace from 'close-with-grace'
import { startSandbox } from '../../sandbox/index.ts'

export interface SandboxArguments {
  readonly port: number
  readonly appId: string
  readonly appSecret: string
  readonly redirectUri: readonly string[]
  readonly rotation: 'instant' | 'on_use'
  readonly legacy: boolean
  readonly tokenLifetime: number
  readonly guid: boolean
  readonly pkce: boolean
}

export async function sandbox(options: SandboxArguments): Promise<void> {
  const running = await startSandbox({
    port: options.port,
    appId: options.appId,
    appSecret: options.appSecret,
    redirectUris: options.redirectUri,
    rotation: options.rotation,
    legacy: options.legacy,
    tokenLifetimeSeconds: options.tokenLifetime,
    guidInExchange: options.guid,
    pkce: options.pkce,
  })
  closeWithGrace({ delay: 2_000 }, () => running.close())
  process.stdout.write(
    `HealthTap sandbox on ${running.url}: a stand-in, not HealthTap. It believes any name and forgets everything.\nHow to use it: curl -s ${running.url}/sandbox\n`,
  )
}
