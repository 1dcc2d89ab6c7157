/** A stack in a project of its own, as `docker compose` runs it. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)
const ONE_FILE = ['docker-compose.yml']
const THREE_GATEWAYS = [...ONE_FILE, 'compose.scale.yml']
/** Any free port of this machine: a stack that runs already is not in the way, nor is it disturbed. */
const PORTS = { GATEWAY_PORT: '0', TAP_IN_PORT: '0', SANDBOX_PORT: '0', PROMETHEUS_PORT: '0' }
const HEALTHY_WITHIN_SECONDS = 120
const COMMAND_TIMEOUT_MS = 15 * 60_000

export interface Answer {
  /** 0: no answer came. */
  readonly status: number
  readonly location: string | null
  readonly text: string
}

export interface Ask {
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

interface Container {
  readonly ID: string
  readonly Service: string
  readonly State: string
  readonly Health: string
  readonly ExitCode: number
  /** `name=value`, comma-separated. */
  readonly Labels: string
}

export class Stack {
  readonly #project: string
  #files: readonly string[] = ONE_FILE
  #agent: ChildProcess | undefined
  #asked = 0
  readonly #waiting = new Map<number, (answer: Answer) => void>()

  constructor(project: string) {
    this.#project = project
  }

  /** From now on commands mean three gateways and a balancer. */
  scale(): void {
    this.#files = THREE_GATEWAYS
  }

  /** Standard output. Rejects with what was said where a command fails. */
  async compose(...args: readonly string[]): Promise<string> {
    return this.#docker(['compose', ...this.#options(this.#files), ...args])
  }

  async engine(...args: readonly string[]): Promise<string> {
    return this.#docker(args)
  }

  /** Shell commands in which `docker compose` means this stack, from the top folder. */
  async shell(commands: string, variables: Readonly<Record<string, string>>): Promise<void> {
    const stack = { COMPOSE_PROJECT_NAME: this.#project, COMPOSE_FILE: this.#files.join(':') }
    const env = { ...process.env, ...PORTS, ...stack, ...variables }
    await run('bash', ['-euo', 'pipefail', '-c', commands], { env, timeout: COMMAND_TIMEOUT_MS })
  }

  /** Whatever any of the checks may need. */
  async build(): Promise<void> {
    await this.#docker(['compose', ...this.#options(THREE_GATEWAYS), 'build'])
  }

  /** Resolves when everything is healthy. */
  async up(...args: readonly string[]): Promise<void> {
    const wait = ['--wait', '--wait-timeout', String(HEALTHY_WITHIN_SECONDS)]
    await this.compose('up', '-d', '--no-build', ...wait, ...args)
  }

  async containers(service?: string): Promise<readonly Container[]> {
    const lines = (await this.compose('ps', '-a', '--format', 'json', ...(service ? [service] : []))).trim().split('\n')
    // Older versions of Compose print one array, newer ones a line for each.
    const all = lines.filter(line => line !== '').flatMap(line => JSON.parse(line) as Container | Container[])
    return all.filter(({ Labels }) => !Labels.includes('com.docker.compose.oneoff=True'))
  }

  /** Kills what runs in a container as a crash would, so that the engine starts it again, and waits until it is well. */
  async crash(service: string, which = 0): Promise<void> {
    const { ID: id } = (await this.containers(service))[which] ?? {}
    if (id === undefined) throw new Error(`there is no container of ${service}`)
    const before = await this.engine('inspect', '-f', '{{.State.StartedAt}}', id)
    // Everybody but the first process, which ends with the same status; the shell dies of it, too.
    await this.engine('exec', id, 'sh', '-c', 'kill -9 -1').catch(() => {})
    await this.until(`${service} is back`, async () => {
      const [startedAt, health] = (
        await this.engine('inspect', '-f', '{{.State.StartedAt}} {{.State.Health.Status}}', id)
      )
        .trim()
        .split(' ')
      return startedAt !== before.trim() && health === 'healthy'
    })
  }

  async removeVolume(name: string): Promise<void> {
    await this.engine('volume', 'rm', `${this.#project}_${name}`)
  }

  async until(what: string, isSo: () => Promise<boolean>): Promise<void> {
    for (let seconds = 0; seconds < HEALTHY_WITHIN_SECONDS; seconds += 0.5) {
      if (await isSo()) return
      await sleep(500)
    }
    throw new Error(`not within ${HEALTHY_WITHIN_SECONDS} s: ${what}`)
  }

  /** A request from inside the stack's network. */
  async ask(method: string, url: string, { headers = {}, body }: Ask = {}): Promise<Answer> {
    const { stdin } = this.#startAgent()
    this.#asked += 1
    const id = this.#asked
    return new Promise(resolve => {
      this.#waiting.set(id, resolve)
      stdin?.write(`${JSON.stringify({ id, method, url, headers, body })}\n`)
    })
  }

  /** Takes everything away, volumes too. */
  async down(): Promise<void> {
    this.#agent?.stdin?.end()
    if (this.#agent?.exitCode === null) await once(this.#agent, 'exit')
    this.#agent = undefined
    const all = this.#options(THREE_GATEWAYS)
    await this.#docker(['compose', ...all, 'down', '--volumes', '--remove-orphans', '--timeout', '30'])
  }

  #options(files: readonly string[]): readonly string[] {
    return ['--project-name', this.#project, ...files.flatMap(file => ['--file', file])]
  }

  async #docker(args: readonly string[]): Promise<string> {
    const options = { env: { ...process.env, ...PORTS }, maxBuffer: 256 * 1024 * 1024, timeout: COMMAND_TIMEOUT_MS }
    const { stdout } = await run('docker', [...args], options)
    return stdout
  }

  /** A container beside the gateways, with their network and their image, that no balancer knows. */
  #startAgent(): ChildProcess {
    if (this.#agent !== undefined) return this.#agent
    const code = readFileSync(new URL('agent.js', import.meta.url), 'utf8')
    const args = [
      'compose',
      ...this.#options(ONE_FILE),
      'run',
      '--rm',
      '--no-deps',
      '-T',
      '--entrypoint',
      'node',
      'gateway',
    ]
    const agent = spawn('docker', [...args, '--input-type=module', '-e', code], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { ...process.env, ...PORTS },
    })
    createInterface(agent.stdout).on('line', line => {
      const { id, ...answer } = JSON.parse(line)
      this.#waiting.get(id)?.(answer)
      this.#waiting.delete(id)
    })
    this.#agent = agent
    return agent
  }
}
