/** Gateways as scripts run them: the built program, with times short enough for tokens that live for seconds. */
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DriverOptions } from '../sandbox/driver.ts'
import { freePort, start } from './processes.ts'

export interface GatewayProcess {
  readonly url: string
  readonly environment: Record<string, string>
  child: ChildProcess
}

/** What all gateways of a run have in common. */
export interface Shared {
  readonly sandbox: DriverOptions
  readonly keys: string
  readonly callers: string
  /** The built program. */
  readonly program: string
  readonly environment?: Readonly<Record<string, string>>
}

/** The provider's deadline; the lease is five seconds longer. */
export const TIMEOUT_MS = 1_000
export const LEASE_MS = TIMEOUT_MS + 5_000

/** Starts a gateway on a free port, with a journal of its own. */
export async function startGateway(
  shared: Shared,
  urls: { readonly redis: string; readonly api: string },
  onLine: (line: string) => void,
): Promise<GatewayProcess> {
  const { sandbox, keys, callers } = shared
  const port = String(await freePort())
  const environment = {
    PORT: port,
    HEALTHTAP_APP_ID: sandbox.appId,
    HEALTHTAP_APP_SECRET: sandbox.appSecret,
    HEALTHTAP_AUTHORIZE_URL: `${sandbox.url}/oauth/authorize`,
    HEALTHTAP_API_URL: urls.api,
    HEALTHTAP_REDIRECT_URIS: sandbox.redirectUri,
    HEALTHTAP_TIMEOUT_MS: String(TIMEOUT_MS),
    TOKEN_MIN_TTL_SECONDS: '1',
    REFRESH_MARGIN_RATIO: '0.4',
    REDIS_URL: urls.redis,
    ENCRYPTION_KEYS: keys,
    CALLERS: callers,
    JOURNAL_DIR: mkdtempSync(join(tmpdir(), 'htgw-journal-')),
    ...shared.environment,
  }
  return {
    url: `http://127.0.0.1:${port}`,
    environment,
    child: startAgain(shared.program, environment, onLine),
  }
}

/** The same gateway again, after it has ended. */
export function startAgain(
  program: string,
  environment: Record<string, string>,
  onLine: (line: string) => void,
): ChildProcess {
  return start(process.execPath, [program, 'serve'], environment, onLine)
}
