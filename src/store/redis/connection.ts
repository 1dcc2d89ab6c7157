import { Cluster, Redis } from 'ioredis'
import { Secret } from '../../ports/secret.ts'

export type RedisClient = Redis | Cluster

/** An address as in `REDIS_URL`: one server, the sentinels that know it, or nodes of a cluster. A `url` may hold a password. */
export type RedisAddress =
  | { readonly kind: 'single'; readonly url: Secret }
  | { readonly kind: 'sentinel'; readonly nodes: readonly Node[]; readonly name: string; readonly auth: Auth }
  | { readonly kind: 'cluster'; readonly nodes: readonly Node[]; readonly auth: Auth }

interface Node {
  readonly host: string
  readonly port: number
}

interface Auth {
  readonly username?: string
  readonly password?: Secret
}

const CONNECT_TIMEOUT_MS = 2_000
const RECONNECT_LONGEST_MS = 1_000
/** As long as a call waits at most: nobody is interested in a later answer. */
const SILENCE_MS = 2_000
/** So short that a command is gone before its caller is, also one that waits twice: for those before it, and by itself. */
const LONGEST_WAIT_MS = 900
/** How often a server that is still reading its file is asked whether it is done. */
const LOADING_RETRY_MS = 500
/** ioredis prints a line to stderr each time a sentinel is not there. */
const SENTINEL_RECONNECT_MS = 30_000

const SEVERAL =
  /^redis\+(sentinel|cluster):\/\/(?:(?<user>[^:@/]*):(?<password>[^@/]*)@)?(?<hosts>[^@/]+)(?:\/(?<name>.+))?$/

/** null: not an address we know. The forms are those of the contract. */
export function parseRedisAddress(text: string): RedisAddress | null {
  if (/^rediss?:\/\//.test(text)) {
    const isGood = URL.canParse(text) && new URL(text).hostname !== ''
    return isGood ? { kind: 'single', url: new Secret(text) } : null
  }
  const found = SEVERAL.exec(text)
  const { user, password, hosts, name } = found?.groups ?? {}
  const kind = found?.[1] === 'sentinel' ? 'sentinel' : 'cluster'
  const nodes = (hosts ?? '').split(',').map(host => nodeOf(host, DEFAULT_PORT[kind]))
  const known = nodes.filter(node => node !== null)
  if (found === null || known.length < nodes.length) return null
  const auth = authOf(user, password)
  if (auth === null) return null
  if (kind === 'cluster') return name === undefined ? { kind, nodes: known, auth } : null
  return name === undefined ? null : { kind, nodes: known, name, auth }
}

/** null: percent-encoding that cannot be undone. */
function authOf(user: string | undefined, password: string | undefined): Auth | null {
  try {
    return {
      ...(user ? { username: decodeURIComponent(user) } : {}),
      ...(password ? { password: new Secret(decodeURIComponent(password)) } : {}),
    }
  } catch {
    return null
  }
}

const DEFAULT_PORT = { sentinel: '26379', cluster: '6379' }

function nodeOf(text: string, defaultPort: string): Node | null {
  const [host = '', port = defaultPort, ...more] = text.split(':')
  const isGood = host !== '' && /^\d{1,5}$/.test(port) && Number(port) <= 65535 && more.length === 0
  return isGood ? { host, port: Number(port) } : null
}

/**
 * Connects in the background. Commands wait for the connection, but not longer than a call does: what was reported failed
 * is not carried out when the connection comes back. `connectionName`: as `CLIENT LIST` shows it; absent: none.
 */
export function connectRedis(address: RedisAddress, connectionName?: string): RedisClient {
  const options = {
    ...(connectionName === undefined ? {} : { connectionName }),
    connectTimeout: CONNECT_TIMEOUT_MS,
    // A server that is there and says nothing, or is gone without a farewell: TCP alone would wait for it for minutes.
    socketTimeout: SILENCE_MS,
    maxLoadingRetryTime: LOADING_RETRY_MS,
    maxRetriesPerRequest: 1,
    retryStrategy: (times: number) => Math.min(times * 50, RECONNECT_LONGEST_MS),
    // Where a master has become a replica, a new connection may find the new master. The caller sends the command again:
    // ioredis would do so for ever, and carry it out long after it was reported failed.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
  }
  switch (address.kind) {
    case 'single':
      return givesUpWaiting(new Redis(address.url.reveal(), { ...options, enableAutoPipelining: true }))
    case 'sentinel':
      return neverStops(
        givesUpWaiting(
          new Redis({
            ...options,
            ...credentialsOf(address.auth),
            sentinels: [...address.nodes],
            name: address.name,
            enableAutoPipelining: true,
            sentinelCommandTimeout: CONNECT_TIMEOUT_MS,
            sentinelRetryStrategy: options.retryStrategy,
            // Tells of a fail-over where the old master still answers us: what is written there would be lost.
            failoverDetector: true,
            sentinelReconnectStrategy: () => SENTINEL_RECONNECT_MS,
          }),
        ),
      )
    case 'cluster': {
      // No automatic pipelines: they throw past all callers where a slot has no master, and mix the slots of scripts.
      const cluster = new Cluster([...address.nodes], {
        redisOptions: { ...options, ...credentialsOf(address.auth) },
        clusterRetryStrategy: options.retryStrategy,
      })
      cluster.on('+node', givesUpWaiting)
      return givesUpWaiting(cluster)
    }
  }
}

/** As ioredis takes them. */
function credentialsOf({ username, password }: Auth): { username?: string; password?: string } {
  return {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password: password.reveal() }),
  }
}

/** What ioredis has of commands that nobody has answered yet. */
interface Queues {
  /** Those that came while there was no connection. */
  flushQueue(error: Error, which: { commandQueue: boolean }): void
  /** Those that the connection before was asked for: it would ask the next one for them, however long that takes. */
  prevCommandQueue?: { shift(): { command: { reject(error: Error): void } } | undefined } | null
}

/**
 * ioredis keeps commands for as long as there is no connection; here they fail while their callers still wait. Those that have gone
 * out already too: what came after them in a pipeline waits for them.
 */
function givesUpWaiting<Client extends RedisClient>(client: Client): Client {
  const queues = client as unknown as Queues
  const giveUp = () => {
    if (client.status === 'ready') return
    const error = Object.assign(new Error(), { code: 'NO_CONNECTION' })
    for (let sent = queues.prevCommandQueue?.shift(); sent !== undefined; sent = queues.prevCommandQueue?.shift()) {
      sent.command.reject(error)
    }
    queues.flushQueue(error, { commandQueue: false })
  }
  let timer: NodeJS.Timeout | undefined
  client.on('connecting', () => {
    timer ??= setInterval(giveUp, LONGEST_WAIT_MS).unref()
  })
  client.on('end', () => {
    clearInterval(timer)
    timer = undefined
  })
  return client
}

const closed = new WeakSet<RedisClient>()

/**
 * A client of ioredis that hears of a fail-over while it is still asking who the master is stops for good; this one goes
 * on until it is closed by `closeRedis`.
 */
function neverStops(client: Redis): Redis {
  client.on('end', () => {
    if (closed.has(client)) return
    // Where it fails, it says so as an `error` and ends again.
    setTimeout(() => void (closed.has(client) || client.connect().catch(() => {})), RECONNECT_LONGEST_MS).unref()
  })
  return client
}

/** A second connection to the same servers, for what blocks the first. Whoever listens on it subscribes each time it is ready. */
export function anotherConnection(client: RedisClient): RedisClient {
  if (client instanceof Cluster) return client.duplicate()
  // Of what ioredis subscribes to by itself nobody hears the failure: a process that closes meanwhile would end by it.
  return neverStops(client.duplicate({ autoResubscribe: false }))
}

/** What still waits for an answer fails. */
export function closeRedis(client: RedisClient): void {
  closed.add(client)
  client.disconnect()
}
