/** An hour without the provider, 20,000 grants, one replica: what the recovery is like. */
import t from 'tap'
import { createBroker } from '../../src/broker/broker.ts'
import { type Clock, sleepBy } from '../../src/ports/clock.ts'
import type { Outcome, Provider, TokenAnswer } from '../../src/ports/provider.ts'
import { Secret } from '../../src/ports/secret.ts'
import { noTracing } from '../../src/ports/tracing.ts'
import { createMemoryStores } from '../../src/store/memory.ts'
import { noJournal } from '../../src/system/journal.ts'
import { createSlots } from '../../src/system/slots.ts'
import { silentMeter } from '../support/meter.ts'
import { SeededRandom } from './random.ts'
import { Schedule } from './schedule.ts'

const GRANTS = 20_000
const CONCURRENCY = 32
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const ANSWERS_AFTER_MS = 50
const down = { kind: 'unavailable', upstream: {}, retryAfterSeconds: null } as const

t.test('after an hour without the provider: no storm, the soonest first, everybody renewed', async t => {
  const schedule = new Schedule()
  const seeded = new SeededRandom(1)
  const clock: Clock = {
    now: () => schedule.nowMs,
    sleep: (ms, signal) => sleepBy(clock, ms, signal),
    after: (ms, act) => schedule.after(ms, act),
  }
  const stores = createMemoryStores(clock)
  const asked: { guid: string; atMs: number; isUp: boolean }[] = []
  let probes = 0
  let underWay = 0
  let most = 0
  let isUp = true

  async function refresh(token: Secret): Promise<Outcome<TokenAnswer>> {
    const guid = token.reveal().split(' ')[0] ?? ''
    asked.push({ guid, atMs: schedule.nowMs, isUp })
    underWay += 1
    most = Math.max(most, underWay)
    await schedule.sleep(ANSWERS_AFTER_MS)
    underWay -= 1
    return isUp ? { kind: 'ok', value: answerFor(guid, 'second') } : down
  }

  const provider: Provider = {
    authorizationUrl: () => '',
    exchange: async () => down,
    createUser: async () => down,
    revoke: async () => (isUp ? { kind: 'ok', value: null } : down),
    identify: async () => down,
    authenticate: async () => down,
    present: async () => (isUp ? { kind: 'ok', value: true } : down),
    refresh,
    async probe() {
      probes += 1
      await schedule.sleep(ANSWERS_AFTER_MS)
      return isUp ? { kind: 'ok', value: null } : down
    },
  }
  const policy = {
    marginMs: 10 * MINUTE_MS,
    marginRatio: 0.2,
    minTtlMs: 30_000,
    defaultLifetimeMs: HOUR_MS,
    leaseMs: 15_000,
    sendWithinMs: 2_500,
    idleAfterMs: 0,
  }
  const broker = createBroker(
    {
      policy,
      client: {
        redirectUris: [],
        scopes: ['s'],
        returnToOrigins: [],
        pkce: false,
        requireState: false,
        passwordGrant: false,
      },
      backgroundConcurrency: CONCURRENCY,
    },
    {
      clock,
      stores,
      provider,
      random: { token: () => 'owner', fraction: () => seeded.next() },
      slots: createSlots(CONCURRENCY),
      events: { emit() {} },
      meter: silentMeter,
      tracing: noTracing,
      journal: noJournal,
    },
  )
  const dueAt = new Map<string, number>()
  for (let index = 0; index < GRANTS; index += 1) {
    const guid = `person${index}`
    // As they stand on an ordinary day: two-hour tokens, at any point of their lives.
    const answer = { ...answerFor(guid, 'first'), expiresInSeconds: seeded.between(15 * 60, 7_200) }
    const { grant } = await broker.grants.import({ guid, answer, username: null })
    dueAt.set(guid, grant.refreshDueAtMs)
  }
  await broker.start()
  isUp = false
  const goOn = () => true
  await schedule.run(schedule.nowMs + HOUR_MS, goOn)
  const upAtMs = schedule.nowMs
  t.ok(asked.length <= 2 * CONCURRENCY, `${asked.length} refresh tokens were put at risk in the outage`)
  t.ok(probes > 600 && probes < 2_000, `${probes} probes in an hour`)

  isUp = true
  await schedule.run(upAtMs + 5 * MINUTE_MS, goOn)
  const recovery = asked.filter(({ atMs }) => atMs >= upAtMs)
  const firstSecond = recovery.filter(({ atMs }) => atMs < (recovery[0]?.atMs ?? 0) + 1_000).length
  t.ok(firstSecond < 400, `${firstSecond} requests in the first second`)
  t.equal(most, CONCURRENCY, 'never more at once than are allowed')
  const waiting = [...dueAt.values()].filter(atMs => atMs <= upAtMs).length
  t.ok(waiting > GRANTS / 3, `${waiting} were waiting`)
  t.ok(recovery.length >= waiting, 'and all of them were renewed within five minutes')

  const triedBefore = new Set(asked.filter(({ atMs }) => atMs < upAtMs).map(({ guid }) => guid))
  const order = recovery.flatMap(({ guid }) => (triedBefore.has(guid) ? [] : [dueAt.get(guid) ?? 0]))
  const outOfOrder = order.filter((atMs, index) => atMs < (order[index - 2 * CONCURRENCY] ?? 0)).length
  t.equal(outOfOrder, 0, 'in the order in which they became due')

  await schedule.run(upAtMs + HOUR_MS, goOn)
  t.equal(new Set(asked.filter(each => each.isUp).map(({ guid }) => guid)).size, GRANTS, 'nobody was forgotten')
})

function answerFor(guid: string, which: string): TokenAnswer {
  return {
    pair: { accessToken: new Secret(`${guid} ${which} access`), refreshToken: new Secret(`${guid} ${which} refresh`) },
    expiresInSeconds: 7_200,
    refreshTokenExpiresInSeconds: null,
    scope: null,
    guid: null,
  }
}
