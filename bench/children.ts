/** Processes of a run, each in its place. They end with the benchmark: `scripts/processes.ts` sees to that. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { end, start } from '../scripts/processes.ts'
import { type Place, pinned } from './pinned.ts'

export interface Child {
  readonly pid: number
  /** The first line that it printed: where it listens, or that it is ready. */
  readonly said: string
  stop(): Promise<void>
}

/** Resolves when it has printed its first line. */
export async function launch(
  place: Place,
  command: readonly string[],
  environment: Record<string, string> = {},
): Promise<Child> {
  const [program, ...args] = pinned(place, command)
  let heard: (line: string) => void = () => {}
  const first = new Promise<string>(resolve => {
    heard = resolve
  })
  const child = start(program, args, environment, line => heard(line))
  const said = await Promise.race([first, endOf(child, command)])
  return { pid: child.pid ?? 0, said, stop: () => end(child, 'SIGTERM') }
}

/** Runs to its end, and resolves with what it has printed. */
export async function output(place: Place, command: readonly string[], environment: Record<string, string> = {}) {
  const [program, ...args] = pinned(place, command)
  const lines: string[] = []
  const child = start(program, args, environment, line => lines.push(line))
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${command.join(' ')} has ended with ${code}`)
  return lines.join('\n')
}

async function endOf(child: ChildProcess, command: readonly string[]): Promise<never> {
  const [code] = await once(child, 'exit')
  throw new Error(`${command.join(' ')} has ended with ${code}`)
}
