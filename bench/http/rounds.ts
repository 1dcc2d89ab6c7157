/** One turn of one rival, and what it has cost. */
import { cpuMicros, residentMib } from '../usage.ts'
import { type Answered, type Load, wrk } from './wrk.ts'

export interface Turn extends Answered {
  /** Of the process that answers, for each request. */
  readonly cpuMicros: number
  readonly residentMib: number
}

export async function turn(server: { readonly pid: number; readonly url: string }, load: Omit<Load, 'url'>) {
  const before = cpuMicros(server.pid)
  const answered = await wrk({ ...load, url: server.url })
  const spent = cpuMicros(server.pid) - before
  return { ...answered, cpuMicros: spent / answered.requests, residentMib: residentMib(server.pid) } satisfies Turn
}

/** The turns of each, in the order of the rounds. */
export class Turns<Name extends string> {
  readonly #turns = new Map<string, Turn[]>()

  add(name: Name, connections: number, turn: Turn): void {
    const key = `${name} ${connections}`
    this.#turns.set(key, [...(this.#turns.get(key) ?? []), turn])
  }

  all(name: Name, connections: number, what: keyof Turn): readonly number[] {
    return (this.#turns.get(`${name} ${connections}`) ?? []).map(turn => turn[what])
  }

  toJSON(): unknown {
    return Object.fromEntries(this.#turns)
  }
}
