/** What going through the gateway adds to an exchange and to a provisioning: one after the other, on one connection. */
import { print } from '../../scripts/processes.ts'
import type { Options } from '../options.ts'
import { atMost, type Findings, inDigits } from '../report.ts'
import { median, percentile } from '../statistics.ts'
import { type Gateway, startWorld, type World } from '../world.ts'

type Way = 'direct' | 'gateway'
type Operation = 'exchange' | 'provisioning'

/** For each that is counted so many come before: nobody waits for a gateway that has just started, and whose code is not compiled. */
const WARM_UP = 4

export async function addedTime({ rounds, times }: Options): Promise<Findings> {
  const took: Record<Operation, Record<Way, number[]>> = {
    exchange: { direct: [], gateway: [] },
    provisioning: { direct: [], gateway: [] },
  }
  const world = await startWorld()
  const ways = waysThrough(world, await world.gateway())
  const counted = times * rounds
  const before = WARM_UP * counted
  for (let index = -before; index < counted; index += 1) {
    for (const operation of ['exchange', 'provisioning'] as const) {
      for (const way of ['direct', 'gateway'] as const) {
        const ms = await ways[operation](way, `${way}-${index + before}`)
        if (index >= 0) took[operation][way].push(ms)
      }
    }
  }
  await world.close()
  print(`  added time: ${counted} times each`)
  const added = (operation: Operation) => median(took[operation].gateway) - median(took[operation].direct)
  return {
    tables: [
      {
        title: 'Exchange and provisioning, one after the other',
        columns: ['', 'sandbox alone, p50 ms', 'p99 ms', 'through the gateway, p50 ms', 'p99 ms', 'added, p50 ms'],
        rows: (['exchange', 'provisioning'] as const).map(operation => [
          operation,
          ...(['direct', 'gateway'] as const).flatMap(way =>
            [50, 99].map(percent => inDigits(percentile(took[operation][way], percent))),
          ),
          inDigits(added(operation)),
        ]),
      },
    ],
    goals: [
      atMost('added to an exchange, median', 2, added('exchange'), ' ms'),
      atMost('added to a provisioning, median', 2, added('provisioning'), ' ms'),
    ],
    figures: { addedTime: took },
  }
}

/** Each resolves with the milliseconds that it took. */
function waysThrough({ apiKey, sandbox }: World, { url }: Gateway) {
  const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' }
  async function ask(path: string, body: object): Promise<number> {
    const answer = await fetch(`${url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
    await answer.text()
    return answer.status
  }
  async function timed(expected: number, run: () => Promise<number>): Promise<number> {
    const begun = performance.now()
    const status = await run()
    if (status !== expected) throw new Error(`answered ${status} instead of ${expected}`)
    return performance.now() - begun
  }
  return {
    async exchange(way: Way, name: string): Promise<number> {
      const code = await sandbox.code({ username: name })
      const { redirectUri: redirect_uri } = sandbox.options
      return way === 'direct'
        ? await timed(200, async () => (await sandbox.exchange(code)).status)
        : await timed(201, () => ask('/v1/grants', { code, redirect_uri }))
    },
    async provisioning(way: Way, name: string): Promise<number> {
      return way === 'direct'
        ? await timed(201, async () => (await sandbox.createUser(`user-${name}`)).status)
        : await timed(201, () => ask('/v1/users', { username: `user-${name}` }))
    },
  }
}
