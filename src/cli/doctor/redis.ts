import type { ServeConfig } from '../../config.ts'
import { closeRedis, connectRedis, type RedisAddress, type RedisClient } from '../../store/redis/connection.ts'
import { inspectRedis } from '../../store/redis/inspection.ts'
import { createKeys } from '../../store/redis/keys.ts'
import { sampleRecords } from '../../store/redis/sample.ts'
import { orUnavailable } from '../../store/redis/scripts.ts'
import { clusterState, connectedGateways, type ServerFacts, serverFacts } from '../../store/redis/server-facts.ts'
import { createSealer } from '../../store/sealing.ts'
import { createStoredForm } from '../../store/stored-form.ts'
import { reasonOf } from '../reason.ts'
import { type Check, failed, named, ok, unknown, warning } from './check.ts'
import { clockLine } from './clock.ts'
import { ATTENTION, attentionChecks } from './failing-grants.ts'
import { recordLines } from './keys.ts'

/** On each master: enough to meet every key that is in use. */
const SAMPLED = 1_000

/** Redis, as the gateway is going to meet it: nothing is written. */
export async function redisChecks(config: ServeConfig, now: () => number): Promise<readonly Check[]> {
  const client = connectRedis(config.redis)
  let met: Error | null = null
  client.on('error', error => {
    met = error
  })
  try {
    // A cluster knows its masters once it has answered something.
    await orUnavailable(() => client.exists('healthtap-gateway-doctor'))
    const checks: Check[] = []
    // One after the other: the round trips are measured among them.
    for (const look of sections(client, config, now)) checks.push(...(await look()))
    return checks
  } catch (error) {
    return named('redis reachable', [failed(whyNoAnswer(met ?? error))], ok(''))
  } finally {
    closeRedis(client)
  }
}

/** One that is refused, or breaks off, leaves the others standing. */
function sections(
  client: RedisClient,
  config: ServeConfig,
  now: () => number,
): readonly (() => Promise<readonly Check[]>)[] {
  const keys = createKeys(config.redisPrefix)
  const form = createStoredForm(createSealer(config.encryptionKeys))
  return [
    section('redis reachable', async () => {
      const state = await clusterState(client)
      return named('redis reachable', state === null || state === 'ok' ? [] : [failed(CLUSTER_DOWN)], ok('answers'))
    }),
    section('redis settings', async () =>
      (await inspectRedis(client)).map(({ about, ok: isOk, text }) => ({
        name: `redis ${about}`,
        ...(isOk === null ? unknown(text) : isOk ? ok(text) : failed(text)),
      })),
    ),
    section('redis state', async () => {
      const facts = await serverFacts(client, now)
      const { kind } = config.redis
      return [
        ...named('redis durability', [], worst(facts, durability)),
        ...named(
          'redis replicas',
          [],
          worst(facts, each => replicas(each, kind)),
        ),
        ...named('redis memory', [], worst(facts, memory)),
        ...named('redis latency', [], worst(facts, latency)),
        ...named(
          'redis clock',
          [],
          worst(facts, each => clockLine(each.clockOffsetMs, each.clockUncertaintyMs)),
        ),
      ]
    }),
    section('redis gateways', async () => {
      const count = await connectedGateways(client, keys)
      return named(
        'redis gateways',
        [],
        count === null ? unknown('it does not let us count them') : ok(`${count} connected`),
      )
    }),
    section('redis records', async () => {
      const sample = await sampleRecords({ client, keys, form }, SAMPLED)
      return named('redis records', recordLines(sample, config.encryptionKeys), ok(opened(sample.opened)))
    }),
    section(ATTENTION, () => attentionChecks(client, keys)),
  ]
}

function section(name: string, look: () => Promise<readonly Check[]>): () => Promise<readonly Check[]> {
  return () => look().catch(error => named(name, [failed(whyNoAnswer(error))], ok('')))
}

const CLUSTER_DOWN = 'the cluster is down: some slots have no master; see CLUSTER INFO and CLUSTER NODES'

function opened(count: number): string {
  return count === 0 ? 'none there yet' : `all of a sample of ${count} can be opened`
}

const BY_WEIGHT = ['failed', 'unknown', 'warning', 'ok']

/** One line for all masters: that of the one that is worst off, by its address where there are several. */
function worst(facts: readonly ServerFacts[], judge: (facts: ServerFacts) => ReturnType<typeof ok>) {
  const [line = unknown('no master was found')] = facts
    .map(each => {
      const judged = judge(each)
      return facts.length > 1 && judged.status !== 'ok'
        ? { ...judged, text: `${each.address}: ${judged.text}` }
        : judged
    })
    .sort((first, second) => BY_WEIGHT.indexOf(first.status) - BY_WEIGHT.indexOf(second.status))
  return line
}

function durability({ failsToSave, isAppendOnly, fsync }: ServerFacts) {
  if (failsToSave) {
    return failed('its last write to disk failed, and it may refuse writes for that: look at its log, and at the disk')
  }
  if (isAppendOnly === null) return unknown('not told')
  const rest = 'a rotation that was not saved is a person lost; set appendonly yes'
  if (!isAppendOnly) return warning(`snapshots at most, which are minutes old after a crash: ${rest}`)
  return fsync === 'no'
    ? warning('appendfsync no: the system decides when; set appendfsync everysec, or always')
    : ok(`append-only, appendfsync ${fsync ?? 'not told'}`)
}

function replicas({ minReplicas, replicas: count, role }: ServerFacts, kind: RedisAddress['kind']) {
  if (role !== null && role !== 'master') {
    return failed('REDIS_URL names a replica, which takes no writes: name its master, or use redis+sentinel://')
  }
  if (count === null) return unknown('not told')
  if (minReplicas !== null && count < minReplicas) {
    return failed(`${count}, and min-replicas-to-write is ${minReplicas}: writes are refused until more have come back`)
  }
  if (kind === 'single') return ok(count === 0 ? 'none: a restart is what to rely on' : String(count))
  if (count === 0) return failed('none: nobody takes over when this master dies; add a replica')
  return minReplicas === 0
    ? warning(`${count}; a master that is cut off goes on taking writes that get lost: set min-replicas-to-write 1`)
    : ok(String(count))
}

const MOST_USED_PART = 0.9
const MUCH_USED_PART = 0.75
const MEGABYTE = 1024 * 1024

function memory({ limitBytes, machineBytes, usedBytes }: ServerFacts) {
  const mostBytes = limitBytes === 0 ? machineBytes : limitBytes
  if (usedBytes === null || mostBytes === null || mostBytes === 0) return unknown('not told')
  const of = limitBytes === 0 ? "the machine's" : 'maxmemory'
  const text = `${Math.ceil(usedBytes / MEGABYTE)} of ${of} ${Math.floor(mostBytes / MEGABYTE)} MB`
  const part = usedBytes / mostBytes
  if (part > MOST_USED_PART) return failed(`${text}: writes are about to be refused; give Redis more memory`)
  return part > MUCH_USED_PART ? warning(`${text}: give Redis more memory before it is full`) : ok(text)
}

const MOST_ROUND_TRIP_MS = 50
const LONG_ROUND_TRIP_MS = 5

function latency({ roundTripMs }: ServerFacts) {
  const text = `${roundTripMs.toFixed(1)} ms there and back`
  if (roundTripMs > MOST_ROUND_TRIP_MS) {
    return failed(`${text}: every write waits for it; bring Redis nearer, and see its SLOWLOG`)
  }
  return roundTripMs > LONG_ROUND_TRIP_MS ? warning(`${text}: is it in the same place?`) : ok(text)
}

function whyNoAnswer(error: unknown): string {
  // Redis's own word, also where the store has put it into a sentence.
  const said = error instanceof Error ? (/\b[A-Z]{4,}\b/.exec(error.message)?.[0] ?? reasonOf(error)) : 'unknown'
  switch (said) {
    case 'WRONGPASS':
    case 'NOAUTH':
      return `refuses us (${said}): check user and password in REDIS_URL`
    case 'NOPERM':
      return 'does not let this user do what a gateway has to (NOPERM): check its access list'
    default:
      return `no answer (${said}): check REDIS_URL, and that Redis runs`
  }
}
