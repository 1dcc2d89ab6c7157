/** One run in one mode: clients and faults for some minutes, then rest, then the judgement. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { Clients } from './clients.ts'
import { Door } from './door.ts'
import { strikeUntil } from './faults.ts'
import { Fleet, type FleetOptions } from './fleet.ts'
import type { AtRest, Setup } from './history.ts'
import type { Recorder } from './recorder.ts'

export interface RunOptions extends FleetOptions {
  readonly seed: number
  readonly minutes: number
}

/** Two leases of doubt, the longest backoff, and what a busy machine adds. */
const AT_REST_WITHIN_MS = 120_000
/** So long nothing may change at the provider before the pairs are counted. */
const QUIET_FOR_MS = 8_000
/** At rest tokens live long, so that no refresh comes between two looks. */
const LONG_LIFETIME_SECONDS = 7_200

/** Returns how late this process was at most, in milliseconds: the times in the history are no more precise than that. */
export async function run(recorder: Recorder, options: RunOptions): Promise<number> {
  const { rotation, passwordGrant, seed, minutes } = options
  recorder.record<Setup>({ kind: 'setup', rotation, passwordGrant, seed, minutes })
  const lag = monitorEventLoopDelay({ resolution: 10 })
  const fleet = await Fleet.start(recorder, options)
  try {
    lag.enable()
    const clients = new Clients(fleet, recorder, seed)
    const endsAt = Date.now() + minutes * 60_000
    clients.begin()
    await strikeUntil(fleet, seed, () => Date.now() >= endsAt)
    await clients.stop()
    await rest(fleet)
    await lookAtRest(fleet, recorder, clients.guids)
  } finally {
    await fleet.stop()
  }
  return Math.round(lag.max / 1e6)
}

/** Until nothing is in doubt, and nothing changes at the provider. */
async function rest(fleet: Fleet): Promise<void> {
  await fleet.sandbox.clearFaults()
  await fleet.ready()
  const authorization = fleet.sandbox.basicAuth()
  await fleet.sandbox.sendJson(
    '/sandbox/settings',
    { token_lifetime_seconds: LONG_LIFETIME_SECONDS },
    { authorization },
    'PUT',
  )
  const endsAt = Date.now() + AT_REST_WITHIN_MS
  while (Date.now() < endsAt && !(await isAtRest(fleet))) await sleep(500)
  let seen = ''
  for (let quietSince = Date.now(); Date.now() < quietSince + QUIET_FOR_MS && Date.now() < endsAt; await sleep(500)) {
    const { text } = await fleet.sandbox.send('/sandbox/counts')
    if (text !== seen) quietSince = Date.now()
    seen = text
  }
}

async function isAtRest(fleet: Fleet): Promise<boolean> {
  const grants = await listed(fleet)
  const soonMs = Date.now() + (LONG_LIFETIME_SECONDS / 2) * 1_000
  return grants.every(
    ({ status, access_token_expires_at: expiresAt }) =>
      status === 'reauthorization_required' || (status === 'active' && Date.parse(expiresAt) > soonMs),
  )
}

async function listed(fleet: Fleet): Promise<{ status: string; access_token_expires_at: string }[]> {
  const headers = { authorization: `Bearer ${fleet.apiKey}` }
  const response = await fetch(`${fleet.member(0).gateway.url}/v1/grants?limit=500`, { headers })
  return ((await response.json()) as { items: { status: string; access_token_expires_at: string }[] }).items
}

/** Reads every grant at every gateway, writes down what the provider has, and only then uses the tokens. */
async function lookAtRest(fleet: Fleet, recorder: Recorder, guids: readonly string[]): Promise<void> {
  const door = new Door(fleet, recorder, 'at rest')
  const answers = []
  for (const guid of guids) {
    const path = `/v1/grants/${guid}`
    const { call } = await door.ask(0, { operation: 'grant', path, guid })
    const [grant] = call.grants
    const reads = []
    for (const gateway of fleet.members.keys()) {
      reads.push(await door.ask(gateway, { operation: 'read', path: `${path}/token`, guid }))
    }
    answers.push(...reads)
    const { status = null, version = null, origin = null } = grant ?? {}
    const pair = reads[0]?.call.tokens[0]?.pair ?? null
    recorder.record<AtRest>({ kind: 'rest', guid, status, version, origin, pair })
  }
  await fleet.recordProvider()
  for (const answer of answers) await door.present(answer)
}
