/** Redis as it is run in earnest: a master with replicas under sentinels, and a cluster, both of which fail over. */
import { answers, ask, type RedisServer, startRedis } from './redis.ts'

export interface Deployment {
  /** As `REDIS_URL` takes it. */
  readonly url: string
  /** Every server that keeps data, dead ones too. */
  readonly servers: readonly RedisServer[]
  /** Kills a master whose replicas have caught up; resolves when one of them has taken its place. */
  failOver(): Promise<void>
  stop(): Promise<void>
}

const NAME = 'healthtap'
const SENTINELS = 3
const QUICK_SENTINEL = [
  `sentinel down-after-milliseconds ${NAME} 500`,
  `sentinel failover-timeout ${NAME} 2000`,
  `sentinel parallel-syncs ${NAME} 1`,
]
/** How often it looks, in milliseconds; else it takes 10 seconds to see that a server has become a replica. */
const IMPATIENT_SENTINEL = 'SENTINEL DEBUG info-period 200 publish-period 200 ask-period 200'

export async function startSentinels(): Promise<Deployment & { readonly sentinels: readonly RedisServer[] }> {
  const first = await startRedis()
  const replicas = [await replicaOf(first), await replicaOf(first)]
  const servers = [first, ...replicas]
  const args = [`sentinel monitor ${NAME} 127.0.0.1 ${first.port} 2`, ...QUICK_SENTINEL]
  const sentinels = await Promise.all(Array.from({ length: SENTINELS }, () => startRedis({ sentinel: true, args })))
  for (const { port } of sentinels) await ask(port, IMPATIENT_SENTINEL)
  for (const { port } of sentinels) {
    await answers(port, `SENTINEL MASTER ${NAME}`, /num-slaves\r\n\$1\r\n2\r\n/)
    await answers(port, `SENTINEL MASTER ${NAME}`, /num-other-sentinels\r\n\$1\r\n2\r\n/)
  }
  const [sentinel] = sentinels as [RedisServer]

  async function masterPort(): Promise<number> {
    const answer = await ask(sentinel.port, `SENTINEL GET-MASTER-ADDR-BY-NAME ${NAME}`)
    return Number(/\r\n(\d+)\r\n\+PONG\r\n$/.exec(answer)?.[1])
  }

  return {
    url: `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/${NAME}`,
    servers,
    sentinels,
    async failOver() {
      const port = await masterPort()
      // On a machine that is busy the sentinels may have failed over by themselves a moment ago: an empty replica would take over.
      const living = servers.filter(({ pid }) => isRunning(pid))
      await answers(port, 'INFO replication', new RegExp(`(state=online[^]*){${living.length - 1}}`))
      await servers.find(server => server.port === port)?.kill('SIGKILL')
      while ((await masterPort()) === port) await shortly()
      await answers(await masterPort(), 'ROLE', /master/)
    },
    async stop() {
      for (const server of [...sentinels, ...servers]) await server.stop()
    },
  }
}

async function replicaOf(master: RedisServer): Promise<RedisServer> {
  const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(master.port)] })
  await answers(replica.port, 'INFO replication', /master_link_status:up/)
  return replica
}

const MASTERS = 3
const LAST_SLOT = 16_383
const CLUSTER_NODE = [
  '--cluster-enabled',
  'yes',
  '--cluster-announce-ip',
  '127.0.0.1',
  '--cluster-node-timeout',
  '1000',
]

export async function startCluster(): Promise<Deployment> {
  const servers: RedisServer[] = []
  for (let index = 0; index < 2 * MASTERS; index += 1) servers.push(await startRedis({ args: CLUSTER_NODE }))
  const masters = servers.slice(0, MASTERS)
  const size = Math.ceil((LAST_SLOT + 1) / MASTERS)
  for (const [index, { port }] of masters.entries()) {
    await ask(port, `CLUSTER ADDSLOTSRANGE ${index * size} ${Math.min((index + 1) * size - 1, LAST_SLOT)}`)
    await ask(port, `CLUSTER SET-CONFIG-EPOCH ${index + 1}`)
  }
  const [first] = servers as [RedisServer]
  for (const { port } of servers.slice(1)) await ask(first.port, `CLUSTER MEET 127.0.0.1 ${port}`)
  for (const { port } of servers) await answers(port, 'CLUSTER INFO', new RegExp(`cluster_known_nodes:${2 * MASTERS}`))
  for (const [index, master] of masters.entries()) {
    const id = /[0-9a-f]{40}/.exec(await ask(master.port, 'CLUSTER MYID'))?.[0]
    const replica = servers[MASTERS + index]
    if (replica === undefined) throw new Error('there are as many replicas as masters')
    await answers(replica.port, `CLUSTER REPLICATE ${id}`, /^\+OK/)
    await answers(replica.port, 'INFO replication', /master_link_status:up/)
  }
  for (const { port } of servers) await answers(port, 'CLUSTER INFO', /cluster_state:ok/)

  return {
    url: `redis+cluster://${servers.map(({ port }) => `127.0.0.1:${port}`).join(',')}`,
    servers,
    async failOver() {
      const living = servers.filter(({ pid }) => isRunning(pid))
      const victim = await firstMaster(living)
      await victim.kill('SIGKILL')
      for (const { port } of living.filter(server => server !== victim)) {
        await answers(port, 'CLUSTER NODES', new RegExp(`:${victim.port}@\\d+ master,fail`))
        await answers(port, 'CLUSTER INFO', /cluster_state:ok/)
      }
    },
    async stop() {
      for (const server of servers) await server.stop()
    },
  }
}

async function firstMaster(servers: readonly RedisServer[]): Promise<RedisServer> {
  for (const server of servers) if (/master/.test(await ask(server.port, 'ROLE'))) return server
  throw new Error('no master is left')
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

function shortly(): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, 20))
}
