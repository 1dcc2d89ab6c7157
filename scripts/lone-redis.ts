/** A Redis for scripts that kill it: it writes every command to disk before it answers, so that a restart loses nothing. */
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ask } from '../test/support/redis.ts'
import { end, freePort, start } from './processes.ts'

export class LoneRedis {
  readonly port: number
  readonly #dir = mkdtempSync(join(tmpdir(), 'htgw-lone-redis-'))
  #child: ChildProcess | null = null

  private constructor(port: number) {
    this.port = port
  }

  static async start(): Promise<LoneRedis> {
    const redis = new LoneRedis(await freePort())
    await redis.start()
    return redis
  }

  /** Resolves when it answers. */
  async start(): Promise<void> {
    const always = ['--appendonly', 'yes', '--appendfsync', 'always', '--save', '', '--dir', this.#dir]
    this.#child = start('redis-server', ['--port', String(this.port), '--bind', '127.0.0.1', ...always])
    while ((await ask(this.port, 'PING').catch(() => '')) !== '+PONG\r\n') await sleep(20)
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child?.kill(signal)
  }

  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    if (this.#child !== null) await end(this.#child, signal)
  }
}
