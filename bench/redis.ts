/** A Redis of its own, beside what is measured. */
import { Redis } from 'ioredis'
import { freePort } from '../scripts/processes.ts'
import { launch } from './children.ts'

export interface RedisServer {
  readonly url: string
  readonly pid: number
  stop(): Promise<void>
}

/** Appended to as in docker-compose.yml, so that a write costs what it costs in production. */
const APPENDED = ['--appendonly', 'yes', '--appendfsync', 'everysec']

/** Ready when this resolves. `isKept`: whether what is written goes to the disk too. */
export async function startRedis(directory: string, { isKept }: { readonly isKept: boolean }): Promise<RedisServer> {
  const port = await freePort()
  const usual = ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, '--save', '']
  const more = ['--maxmemory-policy', 'noeviction', ...(isKept ? APPENDED : ['--appendonly', 'no'])]
  const child = await launch('around', ['redis-server', ...usual, ...more])
  const url = `redis://127.0.0.1:${port}`
  await withRedis(url, client => client.ping())
  return { url, pid: child.pid, stop: child.stop }
}

/** Bytes that it holds now, by its own account. */
export async function usedBytes(url: string): Promise<number> {
  const memory = await withRedis(url, client => client.info('memory'))
  return Number(/^used_memory:(\d+)/m.exec(memory)?.[1] ?? Number.NaN)
}

export async function withRedis<T>(url: string, use: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url, { retryStrategy: () => 20, maxRetriesPerRequest: null })
  // One that is still starting refuses connections.
  client.on('error', () => {})
  try {
    return await use(client)
  } finally {
    client.disconnect()
  }
}
