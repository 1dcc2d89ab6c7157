/** Where it was measured: figures of another machine are others. */
import { execFileSync } from 'node:child_process'
import { arch, cpus, loadavg, release, totalmem } from 'node:os'
import { howPinned } from './pinned.ts'

export interface Machine {
  readonly cores: number
  readonly cpu: string
  readonly memoryGib: number
  readonly kernel: string
  readonly node: string
  readonly redis: string
  readonly wrk: string
  readonly pinned: string
  /** Of the last minute, before anything began: what others were doing here. */
  readonly loadAtStart: number
}

export function machine(): Machine {
  return {
    cores: cpus().length,
    cpu: cpus()[0]?.model ?? 'unknown',
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: `${release()} ${arch()}`,
    node: process.version,
    redis: versionOf('redis-server', '--version', /v=(\S+)/),
    wrk: versionOf('wrk', '--version', /wrk (?:debian\/)?(\S+)/),
    pinned: howPinned,
    loadAtStart: loadavg()[0] ?? Number.NaN,
  }
}

/** wrk answers such a question with exit code 1. */
function versionOf(command: string, option: string, pattern: RegExp): string {
  try {
    return (
      pattern.exec(execFileSync(command, [option], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }))?.[1] ??
      'unknown'
    )
  } catch (error) {
    const { stdout = '', code } = error as { stdout?: string; code?: string }
    if (code === 'ENOENT')
      throw new Error(`${command} is missing. Debian, Ubuntu: sudo apt-get install redis-server wrk`)
    return pattern.exec(stdout)?.[1] ?? 'unknown'
  }
}
