import { createHash } from 'node:crypto'
import type { RedisClient } from './connection.ts'

/** How a command ended, and after how long. `refusal` null: it was answered. The names of commands and refusals are few. */
export type OnCommand = (command: string, seconds: number, refusal: string | null) => void

/** As far as we read it. */
interface Command {
  readonly name: string
  readonly args: readonly unknown[]
  readonly promise: Promise<unknown>
}

type Send = (command: Command, ...more: unknown[]) => unknown

/** What Redis may say first of a refusal (`-LOADING Redis is loading …`), and we have seen it say. */
const REFUSALS = new Set([
  'BUSY',
  'CLUSTERDOWN',
  'ERR',
  'LOADING',
  'MASTERDOWN',
  'MISCONF',
  'MOVED',
  'NOAUTH',
  'NOPERM',
  'NOREPLICAS',
  'OOM',
  'READONLY',
  'TRYAGAIN',
  'WRONGPASS',
])

/**
 * Tells of each command that goes through `client`, from when it was asked for until its answer, waits for a connection
 * included. `scripts`: their texts by name, since all of them are one command to Redis.
 */
export function observeCommands(
  client: RedisClient,
  scripts: Readonly<Record<string, string>>,
  onCommand: OnCommand,
): void {
  const scriptNames = new Map(
    Object.entries(scripts).map(([name, lua]) => [createHash('sha1').update(lua).digest('hex'), name]),
  )
  /** One that waits for a connection is sent again by ioredis when there is one. */
  const known = new WeakSet<Command>()
  const observed = client as unknown as { sendCommand: Send }
  const send = observed.sendCommand

  observed.sendCommand = function (command, ...more) {
    if (!known.has(command)) {
      known.add(command)
      const { name } = command
      // Later it may be sent as its whole text.
      const label = name === 'evalsha' ? (scriptNames.get(String(command.args[0])) ?? name) : name
      const startedAt = performance.now()
      const end = (refusal: string | null) => onCommand(label, (performance.now() - startedAt) / 1000, refusal)
      command.promise.then(
        () => end(null),
        error => end(refusalOf(error)),
      )
    }
    return send.call(this, command, ...more)
  }
}

function refusalOf(error: unknown): string {
  if (!(error instanceof Error) || error.name !== 'ReplyError') return 'connection'
  const word = error.message.split(' ', 1)[0] ?? ''
  return REFUSALS.has(word) ? word : 'other'
}
