import { Redis } from 'ioredis'
import type { RedisClient } from './connection.ts'

/** One thing about the servers that decides whether grants are safe in them. */
export interface Finding {
  readonly about: 'version' | 'eviction' | 'persistence'
  readonly ok: boolean
  /** What was found, and, where it is not ok, what to do about it. */
  readonly text: string
}

const OLDEST_MAJOR = 6

/** Asks every master. Throws where none answers; what a server does not let itself be asked is said in the findings. */
export async function inspectRedis(client: RedisClient): Promise<readonly Finding[]> {
  const masters = client instanceof Redis ? [client] : client.nodes('master')
  const findings = await Promise.all(masters.map(inspectOne))
  // One line for each thing: the first server that is not as it should be, else any.
  return (['version', 'eviction', 'persistence'] as const).flatMap(about => {
    const all = findings.flat().filter(finding => finding.about === about)
    return all.find(finding => !finding.ok) ?? all[0] ?? []
  })
}

async function inspectOne(server: Redis): Promise<readonly Finding[]> {
  const info = parseInfo(await server.info())
  const version = info.get('redis_version') ?? 'unknown'
  const policy = info.get('maxmemory_policy')
  const isPersistent = info.get('aof_enabled') === '1' || (await savesSnapshots(server))
  return [
    {
      about: 'version',
      ok: Number.parseInt(version, 10) >= OLDEST_MAJOR,
      text: `${version} (at least ${OLDEST_MAJOR} is needed)`,
    },
    {
      about: 'eviction',
      ok: policy === 'noeviction',
      text:
        policy === 'noeviction'
          ? policy
          : `${policy ?? 'unknown'}: set maxmemory-policy noeviction, or grants get lost when memory runs short`,
    },
    {
      about: 'persistence',
      ok: isPersistent,
      text: isPersistent ? 'on' : 'off: set appendonly yes, or a restart of Redis loses every grant',
    },
  ]
}

function parseInfo(text: string): ReadonlyMap<string, string> {
  return new Map(
    text.split(/\r?\n/).flatMap(line => {
      const colon = line.indexOf(':')
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1)] as const]
    }),
  )
}

/** Managed servers may not let themselves be asked: then only the append-only file counts. */
async function savesSnapshots(server: Redis): Promise<boolean> {
  const answer = await server.config('GET', 'save').catch(() => null)
  return Array.isArray(answer) && typeof answer[1] === 'string' && answer[1] !== ''
}
