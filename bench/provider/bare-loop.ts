/** Refreshes every token that it is given once, as fast as undici can, and keeps nothing but the new ones. */
import { readFileSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'undici'
import { cpuMicros } from '../usage.ts'
import type { Refreshed } from './refreshes.ts'

/** What it is told, as its one argument, in JSON. */
export interface BareTask {
  readonly url: string
  readonly authorization: string
  /** A JSON list of refresh tokens; those that take their place are written there. */
  readonly file: string
  readonly connections: number
}

const { authorization, connections, file, url }: BareTask = JSON.parse(process.argv[2] ?? '{}')
const tokens: string[] = JSON.parse(readFileSync(file, 'utf8'))
const dispatcher = new Agent({ connections })
const headers = { authorization, 'content-type': 'application/json' }
let next = 0

const [begun, before] = [performance.now(), cpuMicros(process.pid)]
await Promise.all(Array.from({ length: connections }, worker))
const done: Refreshed = {
  perSecond: tokens.length / ((performance.now() - begun) / 1000),
  cpuMicros: (cpuMicros(process.pid) - before) / tokens.length,
}
writeFileSync(file, JSON.stringify(tokens))
await dispatcher.close()
process.stdout.write(`${JSON.stringify(done)}\n`)

async function worker(): Promise<void> {
  for (let index = next++; index < tokens.length; index = next++) {
    const body = JSON.stringify({ grant_type: 'refresh_token', refresh_token: tokens[index] })
    const answer = await request(`${url}/oauth/token`, { method: 'POST', headers, body, dispatcher })
    const { refresh_token: token } = (await answer.body.json()) as { refresh_token?: string }
    if (token === undefined) throw new Error(`no token: status ${answer.statusCode}`)
    tokens[index] = token
  }
}
