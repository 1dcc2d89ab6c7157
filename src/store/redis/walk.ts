/** Going through everything that lies in Redis, server by server, while others go on reading and writing. */
import { Redis } from 'ioredis'
import type { RedisClient } from './connection.ts'
import type { Keys } from './keys.ts'
import { orUnavailable } from './scripts.ts'

/** A script or a read each, in one pipeline: some milliseconds of a server's time. */
const SCAN_COUNT = 250

interface Walked {
  readonly client: RedisClient
  readonly keys: Keys
}

/**
 * Visits one master after the other. Answers whether the visits can have seen all that stood there throughout: not where a
 * server has gone or slots have moved meanwhile. Throws `StoreUnavailable`.
 */
export async function onEachMaster(
  { client, keys }: Walked,
  visit: (master: Redis) => Promise<void>,
): Promise<boolean> {
  // A cluster knows its masters once it has answered something.
  await orUnavailable(() => client.exists(keys.due(keys.shards[0] ?? '')))
  const masters = client instanceof Redis ? [client] : client.nodes('master')
  const before = await layoutOf(client)
  let isWhole = true
  // A cursor means something to the process that gave it out alone: to one that was restarted, or has taken over, it is a guess.
  const broken = () => {
    isWhole = false
  }
  for (const master of masters) master.on('close', broken)
  try {
    for (const master of masters) await visit(master)
    return isWhole && (await layoutOf(client)) === before
  } finally {
    for (const master of masters) master.off('close', broken)
  }
}

/** Which master has which slots; the answer comes from any node, in its own order. */
async function layoutOf(client: RedisClient): Promise<string> {
  if (client instanceof Redis) return ''
  const ranges = await orUnavailable(() => client.cluster('SLOTS'))
  return ranges
    .map(([first, last, master]) => `${first}-${last} ${master?.[2]}`)
    .sort()
    .join()
}

/**
 * The keys under which records of ours lie on one master, some at a time, in no order. Those that stay throughout come at
 * least once. Throws `StoreUnavailable`.
 */
export function recordKeysOn(master: Redis, keys: Keys): AsyncGenerator<readonly string[]> {
  return keysOn(master, keys, key => keys.recordUnder(key) !== null)
}

/** The same for other keys of ours. */
export async function* keysOn(
  master: Redis,
  keys: Keys,
  isWanted: (key: string) => boolean,
): AsyncGenerator<readonly string[]> {
  let cursor = '0'
  do {
    const [following, found] = await orUnavailable(() => {
      return master.scan(cursor, 'MATCH', keys.pattern, 'COUNT', SCAN_COUNT)
    })
    yield found.filter(isWanted)
    cursor = following
  } while (cursor !== '0')
}

/** The answers, in order. Throws `StoreUnavailable` where one of them is an error. */
export async function pipelined(
  master: Redis,
  commands: readonly (readonly (string | Buffer)[])[],
): Promise<readonly unknown[]> {
  if (commands.length === 0) return []
  return await orUnavailable(async () => {
    const answers = (await master.pipeline(commands as (string | Buffer)[][]).exec()) ?? []
    return answers.map(([error, answer]) => {
      if (error !== null) throw error
      return answer
    })
  })
}

/** What lies under these keys; null: nothing any more. */
export async function storedUnder(master: Redis, names: readonly string[]): Promise<readonly (Buffer | null)[]> {
  const found = await pipelined(
    master,
    names.map(key => ['getBuffer', key]),
  )
  return found.map(stored => (Buffer.isBuffer(stored) ? stored : null))
}
