/** What `npm run bench` takes. */
import { parseArgs } from 'node:util'

export const PARTS = ['http', 'engine', 'provider', 'growth', 'staleness'] as const
export type PartName = (typeof PARTS)[number]

export interface Options {
  readonly parts: readonly PartName[]
  /** How often each is measured, in turn with its rivals. */
  readonly rounds: number
  /** How long one turn takes. */
  readonly seconds: number
  /** How many people's tokens are read; where each read or refresh takes a person of its own, there are more by a fixed factor. */
  readonly people: number
  /** How often, in a round, what is done one by one. */
  readonly times: number
  /** Over how many connections tokens are read. */
  readonly connections: readonly number[]
  /** How many grants the engine works on. */
  readonly grants: number
  /** Up to how many grants the store grows. */
  readonly growth: number
}

export const USAGE = `npm run bench -- [--only ${PARTS.join('|')}] [--rounds 5] [--seconds 2] [--growth 100000] [--full]
       [--people 100] [--connections 1,32,256] [--grants 20000] [--times 50]`

/** Throws where something else was asked for. `--full`: growth up to a million. */
export function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string' },
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '2' },
      people: { type: 'string', default: '100' },
      times: { type: 'string', default: '50' },
      connections: { type: 'string', default: '1,32,256' },
      grants: { type: 'string', default: '20000' },
      growth: { type: 'string', default: '100000' },
      full: { type: 'boolean', default: false },
    },
  })
  const parts = PARTS.filter(part => values.only === undefined || values.only === part)
  if (parts.length === 0) throw new RangeError(`there is no part ${values.only}`)
  return {
    parts,
    rounds: whole('rounds', values.rounds),
    seconds: whole('seconds', values.seconds),
    people: whole('people', values.people),
    times: whole('times', values.times),
    connections: values.connections.split(',').map(text => whole('connections', text)),
    grants: whole('grants', values.grants),
    growth: values.full ? 1_000_000 : whole('growth', values.growth),
  }
}

function whole(name: string, text: string): number {
  const number = Number(text)
  if (!Number.isInteger(number) || number < 1) throw new RangeError(`--${name} takes a whole number of at least 1`)
  return number
}
