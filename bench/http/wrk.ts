/** Load, by wrk: one thread, beside what is measured. */
import { join } from 'node:path'
import { output } from '../children.ts'

export interface Load {
  readonly url: string
  /** A file with a path a line: they are asked for in turn. */
  readonly paths: string
  readonly apiKey: string
  readonly connections: number
  readonly seconds: number
}

export interface Answered {
  readonly requests: number
  readonly perSecond: number
  /** Microseconds, as are the others. */
  readonly p50: number
  readonly p99: number
  readonly p999: number
}

const SCRIPT = join('bench', 'http', 'wrk.lua')

/** Throws where anything but 2xx came, or nothing. */
export async function wrk({ url, paths, apiKey, connections, seconds }: Load): Promise<Answered> {
  const how = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', '-H', `Authorization: Bearer ${apiKey}`]
  const text = await output('around', ['wrk', ...how, '-s', SCRIPT, url, '--', paths])
  const { failures, micros, requests, ...latency } = JSON.parse(/^JSON (.*)$/m.exec(text)?.[1] ?? '{}')
  if (failures !== 0 || requests === 0) throw new Error(`${url}: ${failures} of ${requests} requests failed`)
  return { requests, perSecond: requests / (micros / 1e6), ...latency }
}
