/** What a program has done in a span of time, and what it has cost here and in Redis. */
import { setTimeout as sleep } from 'node:timers/promises'
import { cpuMicros } from '../usage.ts'

/** What one of the engine's programs is told, as its one argument, in JSON. */
export interface Task {
  readonly redisUrl: string
  readonly redisPid: number
  readonly grants: number
  /** How many of them are due, again and again; the others are in two hours. */
  readonly due: number
  readonly seconds: number
  /** How many are taken at once. */
  readonly batch: number
}

/** What it prints in the end. */
export interface Done {
  readonly bytes: number
  readonly perSecond: number
  /** For each, of the program and of Redis. */
  readonly cpuMicros: number
  readonly redisCpuMicros: number
}

export function readTask(): Task {
  return JSON.parse(process.argv[2] ?? '{}')
}

const WARM_UP_PART = 0.3

/** `done`: how many so far. The first third of a second or more is not counted. */
export async function observed({ redisPid, seconds }: Task, done: () => number): Promise<Omit<Done, 'bytes'>> {
  await sleep(WARM_UP_PART * seconds * 1000)
  const before = { done: done(), at: performance.now(), own: cpuMicros(process.pid), redis: cpuMicros(redisPid) }
  await sleep(seconds * 1000)
  const count = done() - before.done
  return {
    perSecond: count / ((performance.now() - before.at) / 1000),
    cpuMicros: (cpuMicros(process.pid) - before.own) / count,
    redisCpuMicros: (cpuMicros(redisPid) - before.redis) / count,
  }
}

export function tellDone(done: Done): void {
  process.stdout.write(`${JSON.stringify(done)}\n`)
}
