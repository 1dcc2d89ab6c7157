import { ConfigError, readConfig, type ServeConfig } from '../config.ts'
import { createHealthTap } from '../provider/healthtap.ts'
import { closeRedis, connectRedis } from '../store/redis/connection.ts'
import { inspectRedis } from '../store/redis/inspection.ts'

interface Check {
  readonly name: string
  /** null: cannot be checked. */
  readonly ok: boolean | null
  readonly text: string
}

/** Prints a line a check. Returns the exit code: 0, or 1 where a check failed; what cannot be checked has not failed. */
export async function doctor(print: (line: string) => void): Promise<number> {
  const checks = await allChecks()
  for (const { name, ok, text } of checks)
    print(`${MARKS[String(ok) as keyof typeof MARKS]}  ${name.padEnd(20)} ${text}`)
  return checks.every(check => check.ok !== false) ? 0 : 1
}

const MARKS = { true: 'ok  ', false: 'FAIL', null: '?   ' }

async function allChecks(): Promise<readonly Check[]> {
  try {
    const config = readConfig()
    const settings = { name: 'settings', ok: true, text: 'complete' }
    return [settings, ...(await redisChecks(config)), await providerCheck(config)]
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.problems.map(text => ({ name: 'settings', ok: false, text }))
  }
}

async function redisChecks(config: ServeConfig): Promise<readonly Check[]> {
  const client = connectRedis(config.redis)
  // Each check below says what it met.
  client.on('error', () => {})
  try {
    // A cluster knows its masters once it has answered something.
    await client.exists('healthtap-gateway-doctor')
    const findings = await inspectRedis(client)
    const reachable = { name: 'redis reachable', ok: true, text: 'answers' }
    return [reachable, ...findings.map(({ about, ok, text }) => ({ name: `redis ${about}`, ok, text }))]
  } catch {
    return [{ name: 'redis reachable', ok: false, text: 'no answer: check REDIS_URL, and that Redis runs' }]
  } finally {
    closeRedis(client)
  }
}

async function providerCheck(config: ServeConfig): Promise<Check> {
  const [redirectUri = ''] = config.redirectUris
  const provider = createHealthTap({ ...config, redirectUri, timeoutMs: config.providerTimeoutMs, connections: 1 })
  const outcome = await provider.probe()
  await provider.close()
  const name = 'provider'
  switch (outcome.kind) {
    case 'ok':
      return { name, ok: true, text: 'reachable, credentials accepted' }
    case 'client_refused':
      return { name, ok: false, text: 'credentials refused: check HEALTHTAP_APP_ID and HEALTHTAP_APP_SECRET' }
    case 'unavailable':
      return { name, ok: false, text: 'not reachable just now: check HEALTHTAP_API_URL and the network' }
    default:
      return { name, ok: false, text: 'answers in a way that no HealthTap does: check HEALTHTAP_API_URL' }
  }
}
