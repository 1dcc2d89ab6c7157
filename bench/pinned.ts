/** Which process runs on which core: what is measured on the one, and on the other whoever asks it and what it asks. */
import { spawnSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'

export type Place = 'measured' | 'around'

const canPin =
  availableParallelism() > 1 && spawnSync('taskset', ['--version'], { stdio: 'ignore' }).error === undefined
const CORES: Readonly<Record<Place, string>> = { measured: '0', around: '1' }

export const howPinned = canPin
  ? 'what is measured has core 0; wrk or whoever asks, Redis, the sandbox and the benchmark itself share core 1'
  : 'nothing is pinned: this needs two cores and taskset'

/** The command that runs `command` in its place. It stays one process. */
export function pinned(place: Place, command: readonly string[]): readonly [string, ...string[]] {
  const [program = '', ...args] = command
  return canPin ? ['taskset', '-c', CORES[place], program, ...args] : [program, ...args]
}

/** This process, and what it starts without saying where. */
export function stayAround(): void {
  if (canPin) spawnSync('taskset', ['-a', '-p', '-c', CORES.around, String(process.pid)], { stdio: 'ignore' })
}

/** The command for a file of this project, named without its ending: compiled where this one is. */
export function nodeOf(file: string, ...args: readonly string[]): readonly string[] {
  const root = join(import.meta.dirname, '..')
  const isCompiled = import.meta.filename.endsWith('.js')
  const program = isCompiled ? [join(root, `${file}.js`)] : ['--import', 'tsx', join(root, `${file}.ts`)]
  return [process.execPath, ...program, ...args]
}
