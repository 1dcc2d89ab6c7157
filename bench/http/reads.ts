/** Reading a token over HTTP, against those who do less. */
import { print } from '../../scripts/processes.ts'
import type { Options } from '../options.ts'
import { atLeast, atMost, type Findings, type Goal, inDigits, type Table } from '../report.ts'
import { median, ratio } from '../statistics.ts'
import { withDirectory } from '../temporary.ts'
import { startWorld } from '../world.ts'
import { pathsFile } from './people.ts'
import { type RivalName, startRivals, TITLES } from './rivals.ts'
import { Turns, turn } from './rounds.ts'

/** Where the goals are set. */
const USUAL = 32
const WARM_UP_SECONDS = 2

export async function reads({ connections: levels, people, rounds, seconds }: Options): Promise<Findings> {
  const turns = new Turns<RivalName>()
  await withDirectory(async directory => {
    const world = await startWorld()
    const rivals = await startRivals(world, people)
    const load = { paths: pathsFile(directory, 'people', rivals.guids), apiKey: world.apiKey }
    const warmUp = { ...load, connections: USUAL, seconds: Math.min(WARM_UP_SECONDS, seconds) }
    for (const rival of rivals.all) await turn(rival, warmUp)
    for (let round = 1; round <= rounds; round += 1) {
      for (const connections of levels) {
        for (const rival of rivals.all) {
          turns.add(rival.name, connections, await turn(rival, { ...load, connections, seconds }))
        }
      }
      print(`  reads: round ${round} of ${rounds}`)
    }
    await rivals.stop()
    await world.close()
  })
  return {
    tables: levels.map(connections => table(turns, connections)),
    goals: levels.includes(USUAL) ? goals(turns) : [],
    figures: { reads: turns },
  }
}

function table(turns: Turns<RivalName>, connections: number): Table {
  const names = Object.keys(TITLES) as RivalName[]
  /** How many requests the one answers in the CPU time in which the other answers one. */
  const cheaper = (name: RivalName, than: RivalName) =>
    ratio(turns.all(than, connections, 'cpuMicros'), turns.all(name, connections, 'cpuMicros')).toFixed(2)
  return {
    title: `Reading a token, ${connections} connection${connections === 1 ? '' : 's'}`,
    columns: ['', 'requests/s', 'of (a)', 'of (b)', 'of (c)', 'p50 ms', 'p99 ms', 'p99.9 ms', 'CPU µs', 'RSS MiB'],
    rows: names.map(name => {
      const middle = (what: Parameters<typeof turns.all>[2]) => median(turns.all(name, connections, what))
      const of = (other: RivalName) =>
        ratio(turns.all(name, connections, 'perSecond'), turns.all(other, connections, 'perSecond')).toFixed(2)
      return [
        TITLES[name],
        inDigits(middle('perSecond')),
        of('constant'),
        of('bareFastify'),
        of('handWritten'),
        ...(['p50', 'p99', 'p999'] as const).map(what => inDigits(middle(what) / 1000)),
        inDigits(middle('cpuMicros')),
        inDigits(middle('residentMib')),
      ]
    }),
    notes: [
      `By CPU time, which a busy machine disturbs less: in memory ${cheaper('memory', 'constant')} of (a), ${cheaper('memory', 'bareFastify')} of (b), ${cheaper('memory', 'handWritten')} of (c); in Redis only ${cheaper('redis', 'handWritten')} of (c).`,
    ],
  }
}

function goals(turns: Turns<RivalName>): readonly Goal[] {
  const of = (what: 'perSecond' | 'p99', name: RivalName, other: RivalName) =>
    ratio(turns.all(name, USUAL, what), turns.all(other, USUAL, what))
  return [
    atLeast('token in memory, of bare Fastify (b)', 0.9, of('perSecond', 'memory', 'bareFastify')),
    atLeast('token in memory, of the hand-written broker (c)', 2, of('perSecond', 'memory', 'handWritten')),
    atMost("token in memory, its p99 of node:http's (a)", 1.5, of('p99', 'memory', 'constant')),
    atLeast('token in memory, of node:http (a): the goal beyond', 0.8, of('perSecond', 'memory', 'constant')),
    atLeast('token in Redis only, of the hand-written broker (c)', 0.9, of('perSecond', 'redis', 'handWritten')),
  ]
}
