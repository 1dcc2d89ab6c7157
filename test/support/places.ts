/** Where a secret may come to light: gathered, to be searched. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { open } from './raw.ts'

interface Server {
  readonly port: number
  readonly password: string
  readonly dir: string
}

/** All files below, names and contents; '' where there is no such directory. */
export function filesIn(dir: string): string {
  if (!existsSync(dir)) return ''
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
  return files
    .map(file => join(file.parentPath, file.name))
    .map(path => `${path}\n${readFileSync(path, 'latin1')}\n`)
    .join('')
}

/** What a process is called with, as everybody on its machine can see. */
export function commandLine(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, 'latin1')
}

/** Every command that comes from now on, until the server ends. */
export async function overhear(
  t: Test,
  { port, password }: Pick<Server, 'port'> & Partial<Server>,
): Promise<() => string> {
  const socket = open(`http://127.0.0.1:${port}`)
  t.teardown(() => socket.destroy())
  let text = ''
  const begun = new Promise<void>(resolve => {
    const commands = password === undefined ? ['MONITOR'] : [`AUTH ${password}`, 'MONITOR']
    socket.on('data', chunk => {
      text += chunk.toString('latin1')
      if (text.startsWith('+OK\r\n'.repeat(commands.length))) resolve()
    })
    socket.write(`${commands.join('\r\n')}\r\n`)
  })
  await begun
  return () => text
}

/** Keys and values of every type, and the files that the server keeps them in. */
export async function everythingInRedis({ port, password, dir }: Server): Promise<Record<string, string>> {
  const client = new Redis({ port, password })
  try {
    const keys = await client.keys('*')
    const values = await Promise.all(keys.map(key => client.dumpBuffer(key)))
    const stored = keys.map((key, index) => `${key}\n${values[index]?.toString('latin1')}\n`)
    await client.save()
    return {
      redis: stored.join(''),
      'dump.rdb': readFileSync(join(dir, 'dump.rdb'), 'latin1'),
      'append-only file': filesIn(join(dir, 'appendonlydir')),
    }
  } finally {
    client.disconnect()
  }
}
