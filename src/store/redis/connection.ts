import { Cluster, Redis } from 'ioredis'
import { SCRIPTS } from './scripts.ts'

export type RedisClient = Redis | Cluster

/** An address as in `REDIS_URL`: one server, the sentinels that know it, or nodes of a cluster. */
export type RedisAddress =
  | { readonly kind: 'single'; readonly url: string }
  | { readonly kind: 'sentinel'; readonly nodes: readonly Node[]; readonly name: string; readonly auth: Auth }
  | { readonly kind: 'cluster'; readonly nodes: readonly Node[]; readonly auth: Auth }

interface Node {
  readonly host: string
  readonly port: number
}

interface Auth {
  readonly username?: string
  readonly password?: string
}

const CONNECT_TIMEOUT_MS = 2_000
const RECONNECT_LONGEST_MS = 1_000

const SEVERAL =
  /^redis\+(sentinel|cluster):\/\/(?:(?<user>[^:@/]*):(?<password>[^@/]*)@)?(?<hosts>[^@/]+)(?:\/(?<name>.+))?$/

/** null: not an address we know. The forms are those of the contract. */
export function parseRedisAddress(text: string): RedisAddress | null {
  if (/^rediss?:\/\//.test(text))
    return URL.canParse(text) && new URL(text).hostname !== '' ? { kind: 'single', url: text } : null
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
      ...(password ? { password: decodeURIComponent(password) } : {}),
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

/** Connects in the background; commands wait for the connection, up to their own deadline. */
export function connectRedis(address: RedisAddress): RedisClient {
  const options = {
    connectTimeout: CONNECT_TIMEOUT_MS,
    maxRetriesPerRequest: 1,
    enableAutoPipelining: true,
    retryStrategy: (times: number) => Math.min(times * 50, RECONNECT_LONGEST_MS),
    // A replica that was a master until just now: connect anew, and send the command again.
    reconnectOnError: (error: Error) => (error.message.startsWith('READONLY') ? (2 as const) : false),
  }
  switch (address.kind) {
    case 'single':
      return new Redis(address.url, options)
    case 'sentinel':
      return new Redis({ ...options, ...address.auth, sentinels: [...address.nodes], name: address.name })
    case 'cluster':
      return new Cluster([...address.nodes], {
        redisOptions: { ...options, ...address.auth },
        clusterRetryStrategy: times => Math.min(times * 50, RECONNECT_LONGEST_MS),
        enableAutoPipelining: true,
        // ioredis takes the number of a script's keys for its first key, and would send it along with another slot's.
        autoPipeliningIgnoredCommands: [...SCRIPTS],
      })
  }
}
