import { Redis } from 'ioredis'
import type { RedisClient } from './connection.ts'
import { parseInfo, unlessRefused } from './inspection.ts'
import type { Keys } from './keys.ts'

/** What is true of one master just now, as far as it lets itself be asked: null is what it does not tell. */
export interface ServerFacts {
  /** `host:port`. */
  readonly address: string
  readonly role: string | null
  readonly replicas: number | null
  /** How many replicas have to keep up for it to take writes; 0: none. */
  readonly minReplicas: number | null
  readonly usedBytes: number | null
  /** `maxmemory`; 0: none. */
  readonly limitBytes: number | null
  readonly machineBytes: number | null
  readonly isAppendOnly: boolean | null
  /** `always`, `everysec` or `no`. */
  readonly fsync: string | null
  /** Its last write to disk went wrong. */
  readonly failsToSave: boolean
  /** The middle one of several. */
  readonly roundTripMs: number
  /** How far its clock is ahead of ours, as it was known to within `uncertaintyMs`. */
  readonly clockOffsetMs: number
  readonly clockUncertaintyMs: number
}

const ROUNDS = 9

/** Asks every master. Throws where one does not answer. */
export async function serverFacts(client: RedisClient, now: () => number): Promise<readonly ServerFacts[]> {
  const masters = client instanceof Redis ? [client] : client.nodes('master')
  return await Promise.all(masters.map(master => factsOf(master, now)))
}

async function factsOf(server: Redis, now: () => number): Promise<ServerFacts> {
  const info = parseInfo((await unlessRefused(server.info())) ?? '')
  const numberOf = (name: string) => (info.has(name) ? Number(info.get(name)) : null)
  const { host, port } = server.options
  const minReplicas = await configured(server, 'min-replicas-to-write')
  const aof = info.get('aof_enabled')
  return {
    address: `${host}:${port}`,
    role: info.get('role') ?? null,
    replicas: numberOf('connected_slaves'),
    minReplicas: minReplicas === null ? null : Number(minReplicas),
    usedBytes: numberOf('used_memory'),
    limitBytes: numberOf('maxmemory'),
    machineBytes: numberOf('total_system_memory'),
    isAppendOnly: aof === undefined ? null : aof === '1',
    fsync: await configured(server, 'appendfsync'),
    failsToSave: info.get('aof_last_write_status') === 'err' || info.get('rdb_last_bgsave_status') === 'err',
    ...(await clockOf(server, now)),
  }
}

async function configured(server: Redis, name: string): Promise<string | null> {
  const answer = await unlessRefused(server.config('GET', name))
  return Array.isArray(answer) && typeof answer[1] === 'string' ? answer[1] : null
}

/** Asked for its time, and not pinged: a server that cannot write to its disk refuses that. */
async function clockOf(server: Redis, now: () => number) {
  const rounds = []
  for (let turn = 0; turn < ROUNDS; turn += 1) {
    const [sentAtMs, beganAtMs] = [now(), performance.now()]
    const [seconds = 0, microseconds = 0] = (await server.time()).map(Number)
    const tookMs = performance.now() - beganAtMs
    // Somewhere between the request and its answer.
    const offsetMs = seconds * 1000 + microseconds / 1000 - (sentAtMs + tookMs / 2)
    rounds.push({ tookMs, offsetMs })
  }
  rounds.sort((first, second) => first.tookMs - second.tookMs)
  const [quickest, middle] = [rounds[0], rounds[(ROUNDS - 1) / 2]]
  return {
    roundTripMs: middle?.tookMs ?? 0,
    clockOffsetMs: quickest?.offsetMs ?? 0,
    clockUncertaintyMs: (quickest?.tookMs ?? 0) / 2,
  }
}

/** A cluster's own view: whether each slot has a master. null: there is no cluster. */
export async function clusterState(client: RedisClient): Promise<string | null> {
  if (client instanceof Redis) return null
  return parseInfo(String(await client.cluster('INFO'))).get('cluster_state') ?? 'unknown'
}

/**
 * How many gateways listen to each other there; at least one where some are connected that do not, as when they may not
 * subscribe. null: the servers do not let us see.
 */
export async function connectedGateways(
  client: RedisClient,
  { channel, connectionName }: Pick<Keys, 'channel' | 'connectionName'>,
): Promise<number | null> {
  const servers = client instanceof Redis ? [client] : client.nodes('all')
  const counts = await Promise.all(
    servers.map(async server => {
      const [listeners, clients] = await Promise.all([
        unlessRefused(server.call('PUBSUB', 'NUMSUB', channel)),
        unlessRefused(server.call('CLIENT', 'LIST')),
      ])
      if (listeners === null) return null
      const isNamed = String(clients).includes(` name=${connectionName} `)
      return { listening: Number((listeners as unknown[])[1] ?? 0), isNamed }
    }),
  )
  const seen = counts.filter(count => count !== null)
  if (seen.length < counts.length) return null
  const listening = seen.reduce((sum, count) => sum + count.listening, 0)
  return Math.max(listening, seen.some(({ isNamed }) => isNamed) ? 1 : 0)
}
