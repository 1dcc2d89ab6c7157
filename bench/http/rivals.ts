/** Who is measured side by side, each a process of its own. */
import { hashApiKey } from '../../src/callers/api-keys.ts'
import { type Child, launch } from '../children.ts'
import { nodeOf } from '../pinned.ts'
import type { World } from '../world.ts'
import { answerFor, copyToRivals, provision } from './people.ts'
import type { Setup } from './servers/setup.ts'

export type RivalName = 'constant' | 'bareFastify' | 'handWritten' | 'handWrittenCached' | 'memory' | 'redis'

export const TITLES: Readonly<Record<RivalName, string>> = {
  constant: '(a) node:http, a constant',
  bareFastify: '(b) bare Fastify, same schema',
  handWritten: '(c) hand-written broker',
  handWrittenCached: '(c2) the same, own cache',
  memory: '(d) gateway, token in memory',
  redis: '(d) gateway, token in Redis only',
}

export interface Rival {
  readonly name: RivalName
  readonly pid: number
  readonly url: string
}

/** As long as teams dare. */
const OWN_CACHE_MS = 5_000

export interface Rivals {
  readonly all: readonly Rival[]
  readonly guids: readonly string[]
  stop(): Promise<void>
}

/** All of them, and so many people whom they know. */
export async function startRivals(world: World, people: number): Promise<Rivals> {
  const memory = await world.gateway()
  const redis = await world.gateway({ TOKEN_CACHE_SIZE: '0' })
  const guids = await provision(world, memory.url, people)
  await copyToRivals(world, memory.url, guids)
  const setup: Setup = {
    redisUrl: world.redisUrl,
    keySha256: hashApiKey(world.apiKey),
    cacheMs: 0,
    sample: await answerFor(world, memory.url, guids[0] ?? ''),
  }
  const children: Child[] = []
  async function own(name: RivalName, file: string, more: Partial<Setup> = {}): Promise<Rival> {
    const command = nodeOf(`bench/http/servers/${file}`, JSON.stringify({ ...setup, ...more }))
    const child = await launch('measured', command, { NODE_ENV: 'production' })
    children.push(child)
    return { name, pid: child.pid, url: child.said }
  }

  const all: Rival[] = [
    await own('constant', 'constant'),
    await own('bareFastify', 'bare-fastify'),
    await own('handWritten', 'hand-written'),
    await own('handWrittenCached', 'hand-written', { cacheMs: OWN_CACHE_MS }),
    { name: 'memory', ...memory },
    { name: 'redis', ...redis },
  ]
  return {
    all,
    guids,
    async stop() {
      for (const child of children) await child.stop()
    },
  }
}
