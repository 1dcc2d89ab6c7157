import { Redis } from 'ioredis'
import { ConfigError, readConfig, type ServeConfig } from '../config.ts'
import { Secret } from '../ports/secret.ts'
import { createHealthTap } from '../provider/healthtap.ts'
import { connectRedis, type RedisClient } from '../store/redis/connection.ts'

interface Check {
  readonly name: string
  readonly ok: boolean
  readonly text: string
}

const OLDEST_REDIS_MAJOR = 6

/** Prints a line a check. Returns the exit code: 0, or 1 where a check failed. */
export async function doctor(print: (line: string) => void): Promise<number> {
  const checks = await allChecks()
  for (const { name, ok, text } of checks) print(`${ok ? 'ok  ' : 'FAIL'}  ${name.padEnd(20)} ${text}`)
  return checks.every(check => check.ok) ? 0 : 1
}

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
    const info = await infoOf(client)
    const major = Number.parseInt(info.get('redis_version') ?? '0', 10)
    const policy = info.get('maxmemory_policy') ?? 'unknown'
    const isPersistent = info.get('aof_enabled') === '1' || (await savesSnapshots(client))
    return [
      { name: 'redis reachable', ok: true, text: 'answers' },
      {
        name: 'redis version',
        ok: major >= OLDEST_REDIS_MAJOR,
        text: `${info.get('redis_version')} (at least ${OLDEST_REDIS_MAJOR} is needed)`,
      },
      {
        name: 'redis eviction',
        ok: policy === 'noeviction',
        text: policy === 'noeviction' ? 'noeviction' : `${policy}: set maxmemory-policy noeviction, or grants get lost`,
      },
      {
        name: 'redis persistence',
        ok: isPersistent,
        text: isPersistent ? 'on' : 'off: set appendonly yes, or a restart loses every grant',
      },
    ]
  } catch {
    return [{ name: 'redis reachable', ok: false, text: 'no answer: check REDIS_URL, and that Redis runs' }]
  } finally {
    client.disconnect()
  }
}

async function infoOf(client: RedisClient): Promise<ReadonlyMap<string, string>> {
  const text = await client.info()
  return new Map(
    text.split(/\r?\n/).flatMap(line => {
      const colon = line.indexOf(':')
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1)] as const]
    }),
  )
}

/** Managed servers may not let themselves be asked: then only the append-only file counts. */
async function savesSnapshots(client: RedisClient): Promise<boolean> {
  const node = client instanceof Redis ? client : client.nodes('master')[0]
  const answer = await node?.config('GET', 'save').catch(() => null)
  return Array.isArray(answer) && typeof answer[1] === 'string' && answer[1] !== ''
}

/** A refresh with a made-up token: `invalid_grant` says that the credentials were good, `invalid_client` that they were not. */
async function providerCheck(config: ServeConfig): Promise<Check> {
  const provider = createHealthTap({ ...config, timeoutMs: config.providerTimeoutMs, connections: 1 })
  const outcome = await provider.refresh(new Secret('healthtap-gateway-doctor'))
  await provider.close()
  const name = 'provider'
  switch (outcome.kind) {
    case 'rejected':
      return { name, ok: true, text: 'reachable, credentials accepted' }
    case 'client_refused':
      return { name, ok: false, text: 'credentials refused: check HEALTHTAP_APP_ID and HEALTHTAP_APP_SECRET' }
    case 'unavailable':
      return { name, ok: false, text: 'not reachable just now: check HEALTHTAP_API_URL and the network' }
    default:
      return { name, ok: false, text: 'answers in a way that no HealthTap does: check HEALTHTAP_API_URL' }
  }
}
