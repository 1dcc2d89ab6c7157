/** Renewals in the background, through the whole engine, against a loop that does nothing but ask the provider. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { tokensOf } from '../../sandbox/driver.ts'
import { print } from '../../scripts/processes.ts'
import { output } from '../children.ts'
import { provision } from '../http/people.ts'
import type { Options } from '../options.ts'
import { nodeOf } from '../pinned.ts'
import { atLeast, type Findings, inDigits } from '../report.ts'
import { median, ratio } from '../statistics.ts'
import { withDirectory } from '../temporary.ts'
import { cpuMicros } from '../usage.ts'
import { type Gateway, startWorld, type World } from '../world.ts'
import type { BareTask } from './bare-loop.ts'
import { dueTogether, secondsUntilRenewed } from './schedule.ts'

export interface Refreshed {
  readonly perSecond: number
  readonly cpuMicros: number
}

/** Refreshed for each whose token is read elsewhere. */
const PEOPLE_FOR_ONE = 10
/** PROVIDER_MAX_CONCURRENCY's default. */
const CONNECTIONS = 32

export async function refreshes({ people: few, rounds }: Options): Promise<Findings> {
  const people = few * PEOPLE_FOR_ONE
  const engine: Refreshed[] = []
  const bare: Refreshed[] = []
  await withDirectory(async directory => {
    const world = await startWorld()
    const gateway = await world.gateway()
    const guids = await provision(world, gateway.url, people)
    const file = join(directory, 'tokens')
    writeFileSync(file, JSON.stringify(await strangers(world, people)))
    for (let round = 1; round <= rounds; round += 1) {
      bare.push(await bareLoop(world, file))
      engine.push(await throughEngine(world, gateway, guids))
      print(`  refreshes: round ${round} of ${rounds}`)
    }
    await world.close()
  })
  const all = (of: readonly Refreshed[], what: keyof Refreshed) => of.map(one => one[what])
  const part = ratio(all(engine, 'perSecond'), all(bare, 'perSecond'))
  const row = (title: string, of: readonly Refreshed[], times: number) => [
    title,
    inDigits(median(all(of, 'perSecond'))),
    times.toFixed(2),
    inDigits(median(all(of, 'cpuMicros'))),
  ]
  return {
    tables: [
      {
        title: `Refreshes, ${inDigits(people)} due at once, ${CONNECTIONS} connections`,
        columns: ['', 'refreshes/s', 'of the loop', 'CPU µs'],
        rows: [row('bare undici loop', bare, 1), row('the engine', engine, part)],
        notes: [
          'CPU: of a refresh, without Redis and the sandbox. Those two share a core: they set the limit for both.',
        ],
      },
    ],
    goals: [atLeast('refreshes through the engine, of a bare undici loop', 0.7, part)],
    figures: { engine, bare },
  }
}

async function throughEngine(world: World, gateway: Gateway, guids: readonly string[]): Promise<Refreshed> {
  const dueAtMs = await dueTogether(world, guids)
  const before = cpuMicros(gateway.pid)
  const seconds = await secondsUntilRenewed(world, guids.length, dueAtMs)
  return { perSecond: guids.length / seconds, cpuMicros: (cpuMicros(gateway.pid) - before) / guids.length }
}

async function bareLoop({ sandbox }: World, file: string): Promise<Refreshed> {
  const task: BareTask = {
    url: sandbox.options.url,
    authorization: sandbox.basicAuth(),
    file,
    connections: CONNECTIONS,
  }
  return JSON.parse(await output('measured', nodeOf('bench/provider/bare-loop', JSON.stringify(task))))
}

/** Refresh tokens of people whom the gateway does not know. */
async function strangers({ sandbox }: World, count: number): Promise<readonly string[]> {
  const tokens: string[] = []
  for (let index = 0; index < count; index += 1) {
    tokens.push(tokensOf(await sandbox.createUser(`stranger-${index}`)).refresh_token)
  }
  return tokens
}
