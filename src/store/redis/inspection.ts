import { Redis } from 'ioredis'
import type { RedisClient } from './connection.ts'

/** One thing about the servers that decides whether grants are safe in them. */
export interface Finding {
  readonly about: 'version' | 'eviction' | 'persistence'
  /** null: the server does not let us see. */
  readonly ok: boolean | null
  /** What was found, and, where it is not ok, what to do about it. */
  readonly text: string
}

const OLDEST_MAJOR = 6

/** Asks every master. Throws where one does not answer; what a server does not let itself be asked is said in the findings. */
export async function inspectRedis(client: RedisClient): Promise<readonly Finding[]> {
  const masters = client instanceof Redis ? [client] : client.nodes('master')
  const findings = await Promise.all(masters.map(inspectOne))
  // One line for each thing: the first server that is not as it should be, or may not be, else any.
  return (['version', 'eviction', 'persistence'] as const).flatMap(about => {
    const all = findings.flat().filter(finding => finding.about === about)
    return all.find(({ ok }) => ok === false) ?? all.find(({ ok }) => ok === null) ?? all[0] ?? []
  })
}

async function inspectOne(server: Redis): Promise<readonly Finding[]> {
  const info = parseInfo((await unlessRefused(server.info())) ?? '')
  const version = info.get('redis_version')
  const policy = info.get('maxmemory_policy')
  const isPersistent = info.get('aof_enabled') === '1' || (await savesSnapshots(server))
  return [
    {
      about: 'version',
      ok: version === undefined ? null : Number.parseInt(version, 10) >= OLDEST_MAJOR,
      text: `${version ?? 'not told'} (at least ${OLDEST_MAJOR} is needed)`,
    },
    {
      about: 'eviction',
      ok: policy === undefined ? null : policy === 'noeviction',
      text:
        policy === 'noeviction'
          ? policy
          : `${policy ?? 'not told'}: set maxmemory-policy noeviction, or grants get lost when memory runs short`,
    },
    { about: 'persistence', ok: isPersistent, text: PERSISTENCE[String(isPersistent) as keyof typeof PERSISTENCE] },
  ]
}

const PERSISTENCE = {
  true: 'on',
  false: 'off: set appendonly yes, or a restart of Redis loses every grant',
  null: 'cannot be checked, since the server refuses CONFIG: make sure that it keeps its data on disk',
}

export function parseInfo(text: string): ReadonlyMap<string, string> {
  return new Map(
    text.split(/\r?\n/).flatMap(line => {
      const colon = line.indexOf(':')
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1)] as const]
    }),
  )
}

/** null: the server does not let us see. */
async function savesSnapshots(server: Redis): Promise<boolean | null> {
  const answer = await unlessRefused(server.config('GET', 'save'))
  return Array.isArray(answer) && typeof answer[1] === 'string' ? answer[1] !== '' : null
}

/** null: refused, as managed servers do (no such command), and others by their access lists (NOPERM). */
export async function unlessRefused<T>(asked: Promise<T>): Promise<T | null> {
  try {
    return await asked
  } catch (error) {
    if (error instanceof Error && /^NOPERM|unknown command/i.test(error.message)) return null
    throw error
  }
}
