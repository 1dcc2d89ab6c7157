import { readFileSync } from 'node:fs'
import { StoreUnavailable } from '../../ports/store.ts'
import type { RedisClient } from './connection.ts'

/** The files of `lua/`, without their ending. */
const SCRIPTS = ['write_record', 'claim_due', 'exchange_counts', 'sketch_grants'] as const

/** The scripts of `lua/`, as functions. What each expects and answers is written on top of it. */
export interface Scripts {
  writeRecord(keys: readonly string[], args: readonly string[]): Promise<readonly [1] | readonly [0, string]>
  claimDue(keys: readonly string[], args: readonly string[]): Promise<string[]>
  exchangeCounts(keys: readonly string[], args: readonly string[]): Promise<number[]>
  sketchGrants(keys: readonly string[], args: readonly string[]): Promise<string[]>
}

/** The texts of all scripts, by name. */
export function scriptTexts(): Readonly<Record<string, string>> {
  return Object.fromEntries(SCRIPTS.map(name => [name, textOf(name)]))
}

export function defineScripts(client: RedisClient): Scripts {
  return {
    writeRecord: define(client, 'write_record'),
    claimDue: define(client, 'claim_due'),
    exchangeCounts: define(client, 'exchange_counts'),
    sketchGrants: define(client, 'sketch_grants'),
  }
}

type Command = (numberOfKeys: number, ...keysAndArgs: string[]) => Promise<unknown>

function define<Answer>(client: RedisClient, name: (typeof SCRIPTS)[number]) {
  client.defineCommand(name, { lua: textOf(name) })
  return async (keys: readonly string[], args: readonly string[]): Promise<Answer> => {
    const command = (client as unknown as Record<string, Command>)[name]
    if (command === undefined) throw new Error(`The script ${name} is not defined.`)
    return await orUnavailable(() => command.call(client, keys.length, ...keys, ...args) as Promise<Answer>)
  }
}

function textOf(name: (typeof SCRIPTS)[number]): string {
  return readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8')
}

/** A cluster without a master would let a command wait for ever. */
const DEADLINE_MS = 2_000

async function withinDeadline<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const tooLate = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(Object.assign(new Error(), { code: 'DEADLINE' })), DEADLINE_MS)
  })
  try {
    return await Promise.race([work, tooLate])
  } finally {
    clearTimeout(timer)
  }
}

/** Whatever keeps Redis from saying that it is done (no connection, a deadline, LOADING, READONLY, CLUSTERDOWN …): it may or may not be. */
export async function orUnavailable<T>(command: () => Promise<T>): Promise<T> {
  try {
    return await withinDeadline(command())
  } catch (error) {
    throw new StoreUnavailable(`Redis did not say that it is done: ${reasonOf(error)}`)
  }
}

/** The first word of Redis's answer, or the kind of the failure: the text may quote keys and values. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown'
  return /^[A-Z]{3,}(?= )/.exec(error.message)?.[0] ?? (error as NodeJS.ErrnoException).code ?? error.name
}
