import type { AuditHead, AuditHeads } from '../../ports/audit-heads.ts'
import type { RedisClient } from './connection.ts'
import { ask } from './scripts.ts'

/** Longer than most have to keep their audit files. Every write begins it anew. */
const KEPT_FOR_SECONDS = 400 * 86_400

/** One hash, a field for each stream: so that streams can also be listed whose files are gone. */
export function createRedisAuditHeads(client: RedisClient, key: string): AuditHeads {
  async function all(): Promise<readonly AuditHead[]> {
    const fields = await ask(client, 'hgetall', () => client.hgetall(key))
    return Object.entries(fields).flatMap(([stream, text]) => parseHead(stream, text) ?? [])
  }

  return {
    all,

    async put({ stream, seq, mac, at }) {
      await ask(client, 'hset', () => client.hset(key, stream, JSON.stringify({ seq, mac, at })))
      await ask(client, 'expire', () => client.expire(key, KEPT_FOR_SECONDS))
    },

    async forgetBefore(at) {
      const old = (await all()).filter(head => head.at < at).map(head => head.stream)
      if (old.length > 0) await ask(client, 'hdel', () => client.hdel(key, ...old))
    },
  }
}

/** null: nothing that a gateway has written. */
function parseHead(stream: string, text: string): AuditHead | null {
  try {
    const { seq, mac, at } = JSON.parse(text)
    const isGood = Number.isSafeInteger(seq) && typeof mac === 'string' && typeof at === 'string'
    return isGood ? { stream, seq, mac, at } : null
  } catch {
    return null
  }
}
