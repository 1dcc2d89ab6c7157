/** Sends each request to the next of those replicas that were ready when last looked at, and never a second time. */
import { setTimeout as pause } from 'node:timers/promises'

export interface Balanced {
  readonly status: number
  // biome-ignore lint/suspicious/noExplicitAny: any route's answer.
  readonly body: any
}

/** What is answered where no answer came. */
const NONE: Balanced = { status: 0, body: {} }
const LOOKS_EVERY_MS = 50

export class Balancer {
  /** Each request that was not answered by a status of 2xx. */
  readonly failures: string[] = []
  answered = 0
  readonly #apiKey: string
  /** Addresses of those to look at. They may change. */
  readonly #replicas: () => readonly string[]
  #ready: readonly string[] = []
  #next = 0

  constructor(apiKey: string, replicas: () => readonly string[]) {
    this.#apiKey = apiKey
    this.#replicas = replicas
  }

  async look(): Promise<void> {
    const isReady = (url: string) =>
      fetch(`${url}/health/ready`)
        .then(answer => answer.ok)
        .catch(() => false)
    const seen = await Promise.all(this.#replicas().map(async url => ((await isReady(url)) ? [url] : [])))
    this.#ready = seen.flat()
  }

  async lookUntil(isOver: () => boolean): Promise<void> {
    for (; !isOver(); await pause(LOOKS_EVERY_MS)) await this.look()
  }

  get readyCount(): number {
    return this.#ready.length
  }

  async send(method: string, path: string, body?: object): Promise<Balanced> {
    const replica = this.#ready[this.#next++ % this.#ready.length]
    if (replica === undefined) throw new Error('no replica is ready')
    try {
      const response = await fetch(`${replica}${path}`, {
        method,
        headers: { authorization: `Bearer ${this.#apiKey}`, ...(body && { 'content-type': 'application/json' }) },
        ...(body && { body: JSON.stringify(body) }),
      })
      const text = await response.text()
      const answer = text === '' ? {} : JSON.parse(text)
      if (!response.ok) this.failures.push(`${method} ${path}: ${response.status} ${answer.code}`)
      this.answered += 1
      return { status: response.status, body: answer }
    } catch (error) {
      this.failures.push(`${method} ${path}: ${(error as Error).cause ?? error}`)
      return NONE
    }
  }
}
