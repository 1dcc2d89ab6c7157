/** When Redis told of writes to a grant, as a replica hears it. */
import { Redis } from 'ioredis'
import { createKeys } from '../../src/store/redis/keys.ts'

export interface Words {
  /** When the last word of this grant came, in milliseconds of `performance.now`; 0: none came yet. */
  last(guid: string): number
  close(): void
}

export async function hearWords(redisUrl: string, prefix: string): Promise<Words> {
  const keys = createKeys(prefix)
  const last = new Map<string, number>()
  const client = new Redis(redisUrl)
  client.on('message', (_channel, key: string) => last.set(key, performance.now()))
  await client.subscribe(keys.channel)
  return { last: guid => last.get(keys.grant(guid)) ?? 0, close: () => client.disconnect() }
}
