/** Reading a token that has to be renewed first: each read asks for more life than is left, and gets a new pair. */
import { print } from '../../scripts/processes.ts'
import type { Options } from '../options.ts'
import { type Findings, inDigits } from '../report.ts'
import { median } from '../statistics.ts'
import { withDirectory } from '../temporary.ts'
import { type Gateway, startWorld } from '../world.ts'
import { pathsFile, provision } from './people.ts'
import { Turns, turn } from './rounds.ts'

/**
 * A wish is granted up to nine tenths of a lifetime: two seconds after a renewal the next read renews again. Everybody's turn
 * comes more seldom than that, as long as fewer are read a second than there are people in two seconds.
 */
const LIFETIME_SECONDS = 20
const WISHED_SECONDS = 18
const PEOPLE_FOR_ONE = 40

export async function renewed({ connections: levels, people, rounds, seconds }: Options): Promise<Findings> {
  const turns = new Turns<'renewed'>()
  const parts: number[] = []
  await withDirectory(async directory => {
    const world = await startWorld({ tokenLifetimeSeconds: LIFETIME_SECONDS })
    // None of them is renewed ahead of time: they are read before.
    const gateway = await world.gateway({ REFRESH_MARGIN_SECONDS: '0' })
    const guids = await provision(world, gateway.url, people * PEOPLE_FOR_ONE)
    const paths = pathsFile(directory, 'renewed', guids, `?min_ttl=${WISHED_SECONDS}`)
    for (let round = 1; round <= rounds; round += 1) {
      for (const connections of levels) {
        const before = await served(gateway)
        turns.add('renewed', connections, await turn(gateway, { paths, apiKey: world.apiKey, connections, seconds }))
        const after = await served(gateway)
        parts.push((after.renewed - before.renewed) / (after.all - before.all))
      }
      print(`  renewed: round ${round} of ${rounds}`)
    }
    await world.close()
  })
  return {
    tables: [
      {
        title: 'Reading a token that is renewed for it',
        columns: ['connections', 'requests/s', 'p50 ms', 'p99 ms', 'p99.9 ms', 'CPU µs', 'RSS MiB'],
        rows: levels.map(connections => {
          const middle = (what: Parameters<typeof turns.all>[2]) => median(turns.all('renewed', connections, what))
          return [
            String(connections),
            inDigits(middle('perSecond')),
            ...(['p50', 'p99', 'p999'] as const).map(what => inDigits(middle(what) / 1000)),
            inDigits(middle('cpuMicros')),
            inDigits(middle('residentMib')),
          ]
        }),
        notes: [`Renewed: ${(100 * median(parts)).toFixed(1)} % of the answers, in the median turn.`],
      },
    ],
    goals: [],
    figures: { renewed: turns, renewedParts: parts },
  }
}

async function served({ url }: Gateway): Promise<{ all: number; renewed: number }> {
  const text = await (await fetch(`${url}/metrics`)).text()
  const counts = [...text.matchAll(/^htgw_tokens_served_total\{source="(\w+)"\} (\d+)/gm)]
  const renewed = counts.find(([, source]) => source === 'renewed')?.[2]
  return { all: counts.reduce((sum, [, , count]) => sum + Number(count), 0), renewed: Number(renewed) }
}
