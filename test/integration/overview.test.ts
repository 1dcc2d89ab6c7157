/** `GET /v1/overview`: from the last count, whoever counted, and a few reads. */
import t, { type Test } from 'tap'
import { COUNT_EVERY_MS } from '../../src/broker/census.ts'
import { change } from '../../src/broker/context.ts'
import { newCaller } from '../../src/cli/keys.ts'
import type { Census, Grant } from '../../src/ports/records.ts'
import { GRANTS, RecordUnreadable, StoreUnavailable } from '../../src/ports/store.ts'
import { VERSION } from '../../src/version.ts'
import { grantOf } from '../contract/records.ts'
import { startApp } from '../support/app.ts'

const MINUTE_MS = 60_000
const CALM = { attempt: null, lastError: null, lastRefreshedAtMs: null }

async function start(t: Test) {
  const [all, ofAda] = [newCaller('all', ['*']), newCaller('of-ada', ['grant:read'])]
  const entries = [all.entry, { ...ofAda.entry, guids: ['ada'] }]
  const app = await startApp(t, { CALLERS: JSON.stringify(entries) })
  const { clock, stores } = app
  const overview = async (apiKey = all.apiKey) => {
    const answer = await app.send('GET', '/v1/overview', undefined, apiKey)
    t.equal(answer.statusCode, 200)
    return answer.json()
  }
  /** `expiresIn`, `dueIn`: minutes from now. */
  const put = async (guid: string, expiresIn: number, dueIn: number | null, more: Partial<Grant> = {}) => {
    const nowMs = clock.now()
    const dueAtMs = dueIn === null ? null : nowMs + dueIn * MINUTE_MS
    const grant = grantOf(guid, nowMs, { ...CALM, accessTokenExpiresAtMs: nowMs + expiresIn * MINUTE_MS, dueAtMs })
    await stores.grants.write(guid, (await stores.grants.read(guid))?.revision ?? 0, { ...grant, ...more })
  }
  const putCensus = (census: Census | null) => change(stores.censuses, GRANTS, () => census)
  return { ...app, overview, put, putCensus, allKey: all.apiKey, ofAda: ofAda.apiKey }
}

t.test('where nobody has counted, and where a replica of an earlier version has', async t => {
  const { clock, overview, putCensus } = await start(t)
  await clock.advance(0)
  await putCensus(null)
  const uncounted = {
    counted_at: null,
    grants: null,
    lapsing: null,
    renewed: null,
    due: null,
    soonest: null,
    needs_reauthorization: null,
    needs_attention: null,
    backlog: { due: 0, oldest_age_seconds: 0 },
    version: VERSION,
  }
  t.match(await overview(), uncounted)

  const byStatus = { active: 7, in_doubt: 1, reauthorization_required: 2, revoking: 0 }
  const counts = { atMs: clock.now() - 1_500, byStatus, lapsing: { '0': 1, '60': 2, '300': 3 } }
  await putCensus({ owner: null, leaseUntilMs: 0, counts })
  t.match(await overview(), {
    ...uncounted,
    counted_at: new Date(clock.now() - 2_000).toISOString().replace('.000', ''),
    grants: byStatus,
    lapsing: { lapsed: 1, within_60_seconds: 2, within_300_seconds: 3 },
  })
})

t.test('what was counted, and how the soonest stand now', async t => {
  const { clock, overview, put, ofAda } = await start(t)
  const lastError = { code: 'reauthorization_required', atMs: clock.now(), attempts: 3 } as const
  await put('ada', 100, 80, { lastRefreshedAtMs: clock.now() - 20 * MINUTE_MS })
  await put('bob', 90, 70)
  await put('eve', 95, 75, { status: 'in_doubt' })
  await put('ended', 1, null, { status: 'reauthorization_required', lastError })
  for (let index = 0; index < 30; index += 1) await put(`other-${index}`, 200 + index, 180)
  const countedAtMs = clock.now() + COUNT_EVERY_MS
  await clock.advance(COUNT_EVERY_MS + 1_000)

  const told = await overview()
  t.match(told, {
    counted_at: new Date(countedAtMs).toISOString().replace('.000', ''),
    grants: { active: 32, in_doubt: 1, reauthorization_required: 1, revoking: 0 },
    lapsing: { lapsed: 0, within_60_seconds: 0, within_300_seconds: 0 },
    needs_reauthorization: [{ code: 'reauthorization_required', after_failures: true, count: 1 }],
    caller: {
      name: 'all',
      narrowed: false,
      permissions: ['authorize', 'provision', 'token:read', 'token:refresh', 'grant:read', 'grant:write'],
    },
    checks: ['store', 'provider', 'client', 'audit', 'output', 'process'].map(name => ({ name, status: 'ok' })),
  })
  const guidsOf = ({ soonest }: { soonest: { guid: string }[] }) => soonest.map(({ guid }) => guid)
  t.equal(told.soonest.length, 20)
  t.strictSame(guidsOf(told).slice(0, 4), ['bob', 'eve', 'ada', 'other-0'])
  t.notMatch(JSON.stringify(told), /access_token"|refresh_token"|password/)

  t.equal(told.renewed.length, 24)
  const at = (stretch: { from: string; to: string }, atMs: number) =>
    Date.parse(stretch.from) <= atMs && atMs < Date.parse(stretch.to)
  const renewed = told.renewed.filter(({ count }: { count: number }) => count > 0)
  t.equal(renewed.length, 1)
  t.ok(at(renewed[0], clock.now() - 21 * MINUTE_MS - 1_000))
  t.equal(told.renewed.at(-1).to, told.counted_at)
  t.match(told.due[0], { from: null, to: told.counted_at, count: 0 })
  t.equal(told.due[1].from, told.counted_at)
  t.strictSame(
    told.due.map(({ count }: { count: number }) => count).filter((count: number) => count > 0),
    [1, 2, 30],
  )

  // Since then one was renewed, one has ended, and one has gone.
  await put('bob', 120, 100)
  await put('eve', 94, null, { status: 'reauthorization_required' })
  const mine = await overview(ofAda)
  t.strictSame(guidsOf(mine), ['ada'], 'a caller that is narrowed sees its own alone')
  t.match(mine.caller, { name: 'of-ada', narrowed: true, permissions: ['grant:read'] })
  t.strictSame(guidsOf(await overview()).slice(0, 3), ['ada', 'other-0', 'other-1'])
})

t.test('a record that does not open is left out, and a store that is away is told', async t => {
  const { allKey, app, clock, overview, put, send, stores } = await start(t)
  await put('ada', 100, 80)
  await put('bob', 100, 80)
  await clock.advance(COUNT_EVERY_MS + 1_000)
  const { read } = stores.grants
  stores.grants.read = async guid => {
    if (guid === 'ada') throw new RecordUnreadable('altered', null, guid)
    return await read(guid)
  }
  t.match(await overview(), { soonest: [{ guid: 'bob' }], grants: { active: 2 } })
  await put('late', 1, -3)
  t.match(await overview(), { backlog: { due: 1, oldest_age_seconds: 180 } })
  t.equal((await send('GET', '/v1/overview', undefined, 'nobody')).statusCode, 401)
  t.equal((await app.inject('/v1/overview')).statusCode, 401)
  stores.inventory.backlog = async () => {
    throw new StoreUnavailable('away')
  }
  const answer = await send('GET', '/v1/overview', undefined, allKey)
  t.match([answer.statusCode, answer.json()], [503, { code: 'store_unavailable' }])
})

t.test('grants that need attention: how many, and which, as they stand now', async t => {
  const { clock, overview, put, ofAda } = await start(t)
  const failing = (attempts: number): Partial<Grant> => ({
    lastError: { code: 'provider_response_invalid', atMs: clock.now(), attempts },
  })
  for (let index = 0; index < 25; index += 1) await put(`failing-${index}`, 100, 80, failing(5))
  await put('ada', 100, 80, { ...failing(7), status: 'in_doubt' })
  await put('calm', 100, 80, failing(4))
  await put('ended', 100, null, { ...failing(9), status: 'reauthorization_required' })
  await clock.advance(COUNT_EVERY_MS + 1_000)
  const { needs_attention: told } = await overview()
  t.equal(told.count, 26)
  t.equal(told.grants.length, 20)
  for (const grant of told.grants) t.match(grant, { guid: /^(failing-|ada)/, last_error: { attempts: /[57]/ } })
  t.match((await overview(ofAda)).needs_attention, {
    count: 26,
    grants: [{ guid: 'ada', status: 'in_doubt', last_error: { code: 'provider_response_invalid', attempts: 7 } }],
  })
  t.equal((await overview(ofAda)).needs_attention.grants.length, 1, 'a narrowed caller sees only its own')

  await put('ada', 120, 100)
  t.strictSame((await overview(ofAda)).needs_attention, { count: 26, grants: [] }, 'it was refreshed since the count')
  await clock.advance(COUNT_EVERY_MS + 16_000)
  t.strictSame((await overview(ofAda)).needs_attention, { count: 25, grants: [] })
})
