/** Processes that a script starts, and ends again whatever happens. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const started = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of started) child.kill('SIGKILL')
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

export function start(
  command: string,
  args: readonly string[],
  environment: Record<string, string> = {},
  onLine: (line: string) => void = () => {},
): ChildProcess {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...environment } })
  started.add(child)
  child.once('exit', () => started.delete(child))
  let rest = ''
  child.stdout.on('data', chunk => {
    const lines = (rest + String(chunk)).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) onLine(line)
  })
  return child
}

/** Resolves when it is gone. Harmless on one that is. */
export async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill(signal)
  if (signal === 'SIGKILL') child.kill('SIGCONT')
  await gone
}

export async function endAll(): Promise<void> {
  for (const child of [...started].reverse()) await end(child, 'SIGTERM')
}

export async function ready(url: string): Promise<void> {
  let seen = ''
  for (let tries = 0; tries < 600; tries += 1) {
    const response = await fetch(`${url}/health/ready`).catch(() => null)
    if (response?.ok) return
    seen = (await response?.text().catch(() => undefined)) ?? 'no connection'
    await sleep(100)
  }
  throw new Error(`${url} does not become ready: ${seen}`)
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
