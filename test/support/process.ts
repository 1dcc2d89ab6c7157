/** The program as a process, in an environment of its own: settings of this machine, and tap's way of counting coverage, stay out. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { program } from './program.ts'

export interface Running {
  readonly pid: number
  /** Everything that it has said so far. */
  readonly stdout: () => string
  readonly stderr: () => string
  /** The first line of standard output that fits, once there is one. Rejects where the process ends without it. */
  line(pattern: RegExp): Promise<Readonly<Record<string, string>>>
  kill(signal: NodeJS.Signals): void
  /** Resolves with its exit code, or the signal that ended it. */
  ended(): Promise<number | string | null>
}

const POLL_EVERY_MS = 20
const POLLS = 3_000

/** `preload`: more of Node's own arguments. */
export function run(
  t: Test,
  command: readonly string[],
  environment: Readonly<Record<string, string>>,
  preload: readonly string[] = [],
): Running {
  const variables = Object.entries({ PATH: process.env.PATH ?? '', ...environment })
  const settings = variables.map(([name, value]) => `${name}=${value}`)
  const [node, main] = program()
  const loader = preload.length === 0 ? [] : ['--import', 'tsx']
  const argv = [node, ...loader, ...preload, main, ...command]
  const child = spawn('env', ['-i', ...settings, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] })
  const closed = once(child, 'close')
  let [stdout, stderr, isOver] = ['', '', false]
  child.stdout.on('data', chunk => {
    stdout += chunk
  })
  child.stderr.on('data', chunk => {
    stderr += chunk
  })
  child.on('close', () => {
    isOver = true
  })
  t.teardown(() => child.kill('SIGKILL'))

  return {
    pid: child.pid ?? 0,
    stdout: () => stdout,
    stderr: () => stderr,
    async line(pattern) {
      const found = () => stdout.split('\n').find((line, index, all) => index < all.length - 1 && pattern.test(line))
      await until(() => isOver || found() !== undefined)
      const line = found()
      if (line === undefined) throw new Error(`it has ended without saying ${pattern}: ${stderr}`)
      return JSON.parse(line)
    },
    kill: signal => void child.kill(signal),
    async ended() {
      const [code, signal] = await closed
      return code ?? signal
    },
  }
}

/** Looks again and again until it is so. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (let poll = 0; poll < POLLS; poll += 1) {
    if (await isSo()) return
    await sleep(POLL_EVERY_MS)
  }
  throw new Error('it has not come about')
}
