import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface RedisOptions {
  readonly port?: number
  /** One node that holds all slots. */
  readonly cluster?: boolean
  readonly args?: readonly string[]
  /** A sentinel that watches; `args` name whom. */
  readonly sentinel?: boolean
}

export interface RedisServer {
  readonly port: number
  /** As `REDIS_URL` takes it. */
  readonly url: string
  readonly pid: number
  /** Ends it and removes its directory. Harmless on one that is gone. */
  stop(): Promise<void>
  /** Sends a signal; resolves when the process is gone, where the signal is one that ends it. */
  kill(signal: NodeJS.Signals): Promise<void>
}

const HOW_TO_INSTALL =
  'redis-server was not found. These tests need a real one: apt-get install redis-server (Debian, Ubuntu), ' +
  'dnf install redis (Fedora), brew install redis (macOS).'

/** The bus of a cluster node listens 10000 above its port. */
const HIGHEST_PORT = 55_535
const POLL_EVERY_MS = 20
const READY_WITHIN_POLLS = 1_500
const OPEN_SIGNALS: readonly NodeJS.Signals[] = ['SIGSTOP', 'SIGCONT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2']

/** A `redis-server` of its own on 127.0.0.1 that keeps nothing, ready when this resolves. */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const port = options.port ?? (await freePort())
  const dir = await mkdtemp(join(tmpdir(), 'htgw-redis-'))
  const child = spawn('redis-server', argumentsFor(port, dir, options), { stdio: ['ignore', 'pipe', 'pipe'] })
  const log = collect(child)
  const gone = once(child, 'exit')
  gone.catch(() => undefined)
  const guard = child.pid === undefined ? null : endWithUs(child.pid, dir)

  async function stop(): Promise<void> {
    guard?.kill('SIGKILL')
    if (isRunning(child)) {
      child.kill('SIGKILL')
      await gone
    }
    await rm(dir, { recursive: true, force: true })
  }

  try {
    await Promise.race([once(child, 'spawn'), gone])
    await answers(port, 'PING', /^(\+PONG|-NOAUTH)/, child)
    if (options.cluster === true) {
      await ask(port, 'CLUSTER ADDSLOTSRANGE 0 16383')
      await answers(port, 'CLUSTER INFO', /cluster_state:ok/, child)
    }
  } catch (error) {
    await stop()
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw new Error(HOW_TO_INSTALL, { cause: error })
    throw new Error(`redis-server did not get ready on port ${port}:\n${log()}`, { cause: error })
  }

  return {
    port,
    url: `${options.cluster === true ? 'redis+cluster' : 'redis'}://127.0.0.1:${port}`,
    pid: child.pid ?? 0,
    stop,
    async kill(signal) {
      child.kill(signal)
      if (!OPEN_SIGNALS.includes(signal)) await gone
    },
  }
}

/** Ends the server and removes its directory when this process is gone, however it went: then the pipe is closed. */
function endWithUs(pid: number, dir: string): ChildProcess {
  const script = 'read -r _; kill -9 "$1"; rm -rf "$2"'
  const guard = spawn('sh', ['-c', script, 'guard', String(pid), dir], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  guard.unref()
  ;(guard.stdin as Socket | null)?.unref()
  return guard
}

function argumentsFor(port: number, dir: string, options: RedisOptions): string[] {
  if (options.sentinel === true) {
    // A sentinel keeps what it learns in its configuration, so it needs a file.
    const file = join(dir, 'sentinel.conf')
    const lines = ['bind 127.0.0.1', `port ${port}`, `dir ${dir}`, ...(options.args ?? [])]
    writeFileSync(file, `${lines.join('\n')}\n`)
    return [file, '--sentinel']
  }
  const usual = ['--bind', '127.0.0.1', '--port', String(port), '--save', '', '--appendonly', 'no', '--dir', dir]
  // Else a replica waits five seconds for others to copy along with.
  usual.push('--repl-diskless-sync-delay', '0')
  const cluster = ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1']
  return [...usual, ...(options.cluster === true ? cluster : []), ...(options.args ?? [])]
}

function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null
}

/** What it prints, for the error of one that does not start. */
function collect(child: ChildProcess): () => string {
  let text = ''
  const add = (chunk: Buffer) => {
    text = (text + chunk.toString()).slice(-4_000)
  }
  child.stdout?.on('data', add)
  child.stderr?.on('data', add)
  return () => text
}

export async function freePort(): Promise<number> {
  for (;;) {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    server.close()
    await once(server, 'close')
    if (address !== null && typeof address === 'object' && address.port <= HIGHEST_PORT) return address.port
  }
}

/** Asks again and again until the answer is the one that is waited for. */
export async function answers(port: number, command: string, expected: RegExp, child?: ChildProcess): Promise<void> {
  for (let poll = 0; poll < READY_WITHIN_POLLS; poll += 1) {
    if (child !== undefined && !isRunning(child)) throw new Error('redis-server has ended')
    const answer = await ask(port, command).catch(() => '')
    if (expected.test(answer)) return
    await new Promise(resolve => setTimeout(resolve, POLL_EVERY_MS))
  }
  throw new Error(`no good answer to ${command}`)
}

/** Ends with the PONG; or with a refusal of it, by a server that is loading, or wants a password. */
const IS_COMPLETE = /(\+PONG|-(LOADING|NOAUTH) [^\n]*)\r\n$/

/** One inline command on a connection of its own. A sentinel knows no QUIT: the end of the answer is a PONG after it. */
export async function ask(port: number, command: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let answer = ''
  socket.on('data', chunk => {
    answer += chunk.toString()
    if (IS_COMPLETE.test(answer)) socket.destroy()
  })
  socket.write(`${command}\r\n${command === 'PING' ? '' : 'PING\r\n'}`)
  await once(socket, 'close')
  return answer
}
