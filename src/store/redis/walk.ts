/** Going through everything that lies in Redis, server by server, while others go on reading and writing. */
import { Redis } from 'ioredis'
import type { RedisClient } from './connection.ts'
import type { Keys } from './keys.ts'
import { orUnavailable } from './scripts.ts'

/** A script or a read each, in one pipeline: some milliseconds of a server's time. */
const SCAN_COUNT = 250

/** Throws `StoreUnavailable`. */
export async function mastersOf(client: RedisClient, keys: Keys): Promise<readonly Redis[]> {
  // A cluster knows its masters once it has answered something.
  await orUnavailable(() => client.exists(keys.due(keys.shards[0] ?? '')))
  return client instanceof Redis ? [client] : client.nodes('master')
}

/**
 * The keys under which records of ours lie on one master, some at a time, in no order. Those that stay throughout come at
 * least once. Throws `StoreUnavailable`.
 */
export async function* recordKeysOn(master: Redis, keys: Keys): AsyncGenerator<readonly string[]> {
  let cursor = '0'
  do {
    const [following, found] = await orUnavailable(() => {
      return master.scan(cursor, 'MATCH', keys.pattern, 'COUNT', SCAN_COUNT)
    })
    yield found.filter(key => keys.recordUnder(key) !== null)
    cursor = following
  } while (cursor !== '0')
}

/** The answers, in order. Throws `StoreUnavailable` where one of them is an error. */
export async function pipelined(master: Redis, commands: readonly (readonly string[])[]): Promise<readonly unknown[]> {
  if (commands.length === 0) return []
  return await orUnavailable(async () => {
    const answers = (await master.pipeline(commands as string[][]).exec()) ?? []
    return answers.map(([error, answer]) => {
      if (error !== null) throw error
      return answer
    })
  })
}

/** What lies under these keys; null: nothing any more. */
export async function textsOf(master: Redis, names: readonly string[]): Promise<readonly (string | null)[]> {
  const texts = await pipelined(
    master,
    names.map(key => ['get', key]),
  )
  return texts.map(text => (typeof text === 'string' ? text : null))
}
