/**
 * How long a replica may still answer a token that another has replaced. Two gateways, readers who never stop at the second, and
 * new pairs at the first: renewals, of which the others are told before the provider is asked; and imports, which come without a
 * warning. Counted from Redis's word of the write, as this process hears it, to the last answer that still has the old token.
 */
import { randomBytes } from 'node:crypto'
import { print } from '../../scripts/processes.ts'
import { provision } from '../http/people.ts'
import type { Options } from '../options.ts'
import { atMost, type Findings, inDigits } from '../report.ts'
import { percentile } from '../statistics.ts'
import { type Gateway, startWorld, type World } from '../world.ts'
import { hearWords, type Words } from './words.ts'

const KINDS = { renewal: 'renewed', import: 'imported anew' } as const
type Kind = keyof typeof KINDS

const READERS = 8
/** Longer than any word takes, or a connection that is lost. */
const HOPELESS_MS = 5_000

interface Versioned {
  readonly version: number
}

export async function staleness({ rounds, times }: Options): Promise<Findings> {
  const world = await startWorld()
  const [first, second] = [await world.gateway(), await world.gateway()]
  const words = await hearWords(world.redisUrl, 'htgw')
  const [renewed = '', imported = ''] = await provision(world, first.url, Object.keys(KINDS).length)
  const staleMs: Record<Kind, number[]> = { renewal: [], import: [] }
  const ask = asker(world)
  let version = 1
  for (let time = 0; time < times * rounds; time += 1) {
    const tokenAt = (guid: string) => ask(second, 'GET', `${guid}/token`)
    const renew = () => ask(first, 'POST', `${renewed}/refresh`, { version })
    staleMs.renewal.push(await staleAfter(words, renewed, version, renew, () => tokenAt(renewed)))
    staleMs.import.push(
      await staleAfter(
        words,
        imported,
        version,
        () => ask(first, 'PUT', imported, newPair()),
        () => tokenAt(imported),
      ),
    )
    version += 1
  }
  words.close()
  await world.close()
  print(`  staleness: ${staleMs.renewal.length} times each`)
  const all = Object.values(staleMs).flat()
  return {
    tables: [
      {
        title: 'How long a second replica still answered a replaced token',
        columns: ['', 'times', 'p50 ms', 'p99 ms', 'longest ms', 'not at all'],
        rows: (Object.keys(KINDS) as Kind[]).map(kind => {
          const found = staleMs[kind]
          const none = found.filter(ms => ms === 0).length / found.length
          const figures = [percentile(found, 50), percentile(found, 99), Math.max(...found)]
          return [KINDS[kind], inDigits(found.length), ...figures.map(inDigits), `${Math.round(100 * none)} %`]
        }),
        notes: ['Both gateways share a core. An answer counts when it has come: its way back is in the figures.'],
      },
    ],
    goals: [atMost('a replaced token is still answered for, p99', 20, percentile(all, 99), ' ms')],
    figures: { staleMs },
  }
}

/** Replaces the token of `version`; milliseconds for which it was still answered after that. */
async function staleAfter(
  words: Words,
  guid: string,
  version: number,
  replace: () => Promise<Versioned>,
  read: () => Promise<Versioned>,
): Promise<number> {
  let answeredAt = Number.POSITIVE_INFINITY
  let lastStaleAt = 0
  async function reader(): Promise<void> {
    for (;;) {
      const seen = await read()
      const nowMs = performance.now()
      if (seen.version === version) lastStaleAt = nowMs
      else if (nowMs > answeredAt) return
      if (nowMs > answeredAt + HOPELESS_MS) throw new Error('a replaced token is answered for good')
    }
  }
  // It lies in the memory of the second when this begins.
  await read()
  await read()
  const readers = Array.from({ length: READERS }, reader)
  const after = await replace()
  answeredAt = performance.now()
  if (after.version !== version + 1) throw new Error(`version ${version} was followed by ${after.version}`)
  const writtenAt = Math.min(answeredAt, words.last(guid))
  await Promise.all(readers)
  return Math.max(0, lastStaleAt - writtenAt)
}

function asker({ apiKey }: World) {
  const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' }
  return async ({ url }: Gateway, method: string, path: string, body?: object): Promise<Versioned> => {
    const init = body === undefined ? { method, headers } : { method, headers, body: JSON.stringify(body) }
    const answer = await fetch(`${url}/v1/grants/${path}`, init)
    if (!answer.ok) throw new Error(`${method}: ${answer.status} ${await answer.text()}`)
    return (await answer.json()) as Versioned
  }
}

function newPair() {
  const [access_token, refresh_token] = [randomBytes(32).toString('hex'), randomBytes(32).toString('hex')]
  return { access_token, refresh_token, expires_in: 7200 }
}
