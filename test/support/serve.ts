/** `serve` as a process, its settings in the environment, and what it says. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { program } from './program.ts'

/** An environment of its own: settings of this machine, and tap's way of counting coverage, stay out. */
const COMMAND = ['-i', `PATH=${process.env.PATH}`]

export interface Served {
  readonly process: ChildProcess
  /** Where it listens. */
  readonly url: string
  readonly doors: Readonly<{ public?: string; metrics?: string }>
  /** Sends SIGHUP; resolves with the next line that says this. */
  reload(message: RegExp): Promise<Record<string, string>>
}

/** Resolves when it is ready. */
export async function startServe(t: Test, environment: Record<string, string>): Promise<Served> {
  const settings = Object.entries(environment).map(([name, value]) => `${name}=${value}`)
  const serve = spawn('env', [...COMMAND, ...settings, ...program(), 'serve'], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => serve.kill('SIGKILL'))
  const lines = createInterface({ input: serve.stdout })

  /** The next line with this message. All are read, awaited or not: a full pipe would keep the process from ending. */
  function logged(message: RegExp): Promise<Record<string, string>> {
    return new Promise((resolve, reject) => {
      const look = (line: string) => {
        if (!message.test(line)) return
        lines.off('line', look)
        resolve(JSON.parse(line))
      }
      lines.on('line', look)
      lines.once('close', () => reject(new Error(`serve has ended without saying ${message}`)))
    })
  }

  const { address = '', ...doors } = await logged(/"ready"/)
  return {
    process: serve,
    url: address,
    doors,
    reload(message) {
      const said = logged(message)
      serve.kill('SIGHUP')
      return said
    },
  }
}
