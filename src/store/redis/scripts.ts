import { readFileSync } from 'node:fs'
import { StoreUnavailable } from '../../ports/store.ts'
import type { Tracing } from '../../ports/tracing.ts'
import type { RedisClient } from './connection.ts'

/** The files of `lua/`, without their ending. */
const SCRIPTS = ['write_record', 'claim_due', 'exchange_counts', 'sketch_grants'] as const

/** The scripts of `lua/`, as functions. What each expects and answers is written on top of it. */
export interface Scripts {
  /** null: it is written; else what stands there, and whether a retired pair is the reason. */
  writeRecord(keys: readonly string[], args: readonly Argument[]): Promise<Refused | null>
  claimDue(keys: readonly string[], args: readonly string[]): Promise<Buffer[]>
  exchangeCounts(keys: readonly string[], args: readonly string[]): Promise<number[]>
  sketchGrants(keys: readonly string[], args: readonly string[]): Promise<string[]>
}

export interface Refused {
  readonly current: Buffer
  readonly isRetired: boolean
}

type Argument = string | Buffer

export function defineScripts(client: RedisClient): Scripts {
  const writeRecord = define<readonly [1] | readonly [0 | 2, Buffer]>(client, 'write_record', 'bytes')
  return {
    async writeRecord(keys, args) {
      const [result, current = Buffer.alloc(0)] = await writeRecord(keys, args)
      return result === 1 ? null : { current, isRetired: result === 2 }
    },
    claimDue: define(client, 'claim_due', 'bytes'),
    exchangeCounts: define(client, 'exchange_counts'),
    sketchGrants: define(client, 'sketch_grants'),
  }
}

type Command = (numberOfKeys: number, ...keysAndArgs: Argument[]) => Promise<unknown>

/** `answers`: what becomes of strings in them. */
function define<Answer>(client: RedisClient, name: (typeof SCRIPTS)[number], answers: 'text' | 'bytes' = 'text') {
  const lua = readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8')
  client.defineCommand(name, { lua })
  return async (keys: readonly string[], args: readonly Argument[]): Promise<Answer> => {
    const command = (client as unknown as Record<string, Command>)[answers === 'bytes' ? `${name}Buffer` : name]
    if (command === undefined) throw new Error(`The script ${name} is not defined.`)
    return await ask(client, name, () => command.call(client, keys.length, ...keys, ...args) as Promise<Answer>)
  }
}

/**
 * How something that Redis was asked for ended, and after how long, waits for a connection included. `refusal` null: it was
 * answered. The names of what is asked for and of refusals are few.
 */
export type OnCommand = (command: string, seconds: number, refusal: string | null) => void

/** Who is told of what `ask` asks a client for. */
export interface Observer {
  readonly onCommand: OnCommand
  /** null: nothing is traced. */
  readonly tracing: Tracing | null
}

const observers = new WeakMap<RedisClient, Observer>()

export function observeCommands(client: RedisClient, observer: Observer): void {
  observers.set(client, observer)
}

/** As `orUnavailable`, and whoever watches the client is told. */
export async function ask<T>(client: RedisClient, name: string, command: () => Promise<T>): Promise<T> {
  const observer = observers.get(client)
  if (observer === undefined) return await orUnavailable(command)
  const { onCommand, tracing } = observer
  const span = tracing?.isKept() === true ? tracing.ask(`redis ${name}`, commandFacts(name)) : null
  const startedAt = performance.now()
  const onEnd = (refusal: string | null) => {
    onCommand(name, (performance.now() - startedAt) / 1000, refusal)
    if (refusal !== null) span?.fail(refusal)
  }
  return await (span === null ? orUnavailable(command, onEnd) : span.run(() => orUnavailable(command, onEnd)))
}

/** Its name, and nothing of what it is called with. */
function commandFacts(name: string) {
  return { 'db.system.name': 'redis', 'db.operation.name': name }
}

/** A cluster without a master would let a command wait for ever. */
const DEADLINE_MS = 2_000

function withinDeadline<T>(work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(Object.assign(new Error(), { code: 'DEADLINE' })), DEADLINE_MS)
    const stop = () => clearTimeout(timer)
    work.then(stop, stop)
    work.then(resolve, reject)
  })
}

/**
 * Whatever keeps Redis from saying that it is done (no connection, a deadline, LOADING, READONLY, CLUSTERDOWN …): it may or may
 * not be. `onEnd` is told what kept it; null: nothing.
 */
export async function orUnavailable<T>(
  command: () => Promise<T>,
  onEnd: (refusal: string | null) => void = () => {},
): Promise<T> {
  try {
    const answer = await withinDeadline(command())
    onEnd(null)
    return answer
  } catch (error) {
    onEnd(refusalOf(error))
    throw new StoreUnavailable(`Redis did not say that it is done: ${reasonOf(error)}`)
  }
}

/** The first word of Redis's answer, or the kind of the failure: the text may quote keys and values. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown'
  return /^[A-Z]{3,}(?= )/.exec(error.message)?.[0] ?? (error as NodeJS.ErrnoException).code ?? error.name
}

/** What Redis may say first (`-LOADING Redis is loading …`), as far as it is of interest; there are others without number. */
const REFUSALS = new Set([
  'CLUSTERDOWN',
  'LOADING',
  'MASTERDOWN',
  'MISCONF',
  'NOAUTH',
  'NOPERM',
  'NOREPLICAS',
  'OOM',
  'READONLY',
  'TRYAGAIN',
  'WRONGPASS',
])

/** `deadline`, `connection`, the word of a refusal, or `other`. */
function refusalOf(error: unknown): string {
  const reason = reasonOf(error)
  if (REFUSALS.has(reason)) return reason
  if (reason === 'DEADLINE') return 'deadline'
  return error instanceof Error && error.name === 'ReplyError' ? 'other' : 'connection'
}
