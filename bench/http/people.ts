/** The people whose tokens are asked for: made at the sandbox, given to the gateway, and kept by the hand-written brokers too. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import PQueue from 'p-queue'
import type { World } from '../world.ts'

/** As many at once as the gateway asks the sandbox by itself. */
const AT_ONCE = 32

/** Provisions so many through the gateway, and returns their guids. */
export async function provision({ apiKey }: World, url: string, count: number): Promise<readonly string[]> {
  const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' }
  const one = async (index: number) => {
    const body = JSON.stringify({ username: `person-${index}` })
    const response = await fetch(`${url}/v1/users`, { method: 'POST', headers, body })
    if (!response.ok) throw new Error(`provisioning: ${response.status} ${await response.text()}`)
    return ((await response.json()) as { guid: string }).guid
  }
  return await new PQueue({ concurrency: AT_ONCE }).addAll(
    Array.from({ length: count }, (_, index) => () => one(index)),
  )
}

/** What the gateway answers for this person. */
export async function answerFor({ apiKey }: World, url: string, guid: string): Promise<string> {
  const response = await fetch(`${url}/v1/grants/${guid}/token`, { headers: { authorization: `Bearer ${apiKey}` } })
  return await response.text()
}

/** Gives the hand-written brokers what they look up. */
export async function copyToRivals(world: World, url: string, guids: readonly string[]): Promise<void> {
  const redis = new Redis(world.redisUrl)
  for (const guid of guids) {
    const { expires_in: _, token_type: __, ...kept } = JSON.parse(await answerFor(world, url, guid))
    await redis.set(`token:${guid}`, JSON.stringify(kept))
  }
  redis.disconnect()
}

/** A file with a path a line, for wrk. */
export function pathsFile(directory: string, name: string, guids: readonly string[], query = ''): string {
  const file = join(directory, name)
  writeFileSync(file, guids.map(guid => `/v1/grants/${guid}/token${query}\n`).join(''))
  return file
}
