/** `simulate-outage`: what would become of the grants if HealthTap were away from now on. Nothing is asked of it, and nothing changes. */
import type { GatewayApi, Grant } from './api.ts'
import { spoken } from './durations.ts'
import { GUID, type Shown, STATUS, timeColumn, USERNAME } from './look.ts'
import { type Column, type Terminal, writeRows } from './terminal.ts'

export interface Outage {
  /** Those whose token is answered today. */
  readonly looked: number
  /** Their tokens end before HealthTap is back: whoever asks is told 503 until then. Soonest first. */
  readonly lapsing: readonly Grant[]
  /** Of all: their refresh tokens end before HealthTap is back. These people have to authorize again. */
  readonly lost: readonly Grant[]
  /** They are renewed late, and nobody notices. */
  readonly late: number
  /** Nobody reads them, so they are not renewed ahead of time; their tokens end meanwhile, or have ended. */
  readonly resting: number
  /** Their tokens have ended already, although they should have been renewed. */
  readonly lapsed: number
  /** From now on, an outage up to this long lets nobody's token lapse; null: there is nobody. */
  readonly harmlessNowMs: number | null
  /** The same for one that begins at the worst moment: just before somebody is due; null: nobody is. */
  readonly harmlessEverMs: number | null
}

export function simulateOutage(grants: readonly Grant[], nowMs: number, lastsMs: number): Outage {
  const untilMs = nowMs + lastsMs
  const served = grants.filter(({ status }) => status === 'active' || status === 'in_doubt').map(timesOf)
  const lost = served.filter(({ refreshEndsMs }) => refreshEndsMs <= untilMs)
  const kept = served.filter(({ isResting }) => !isResting)
  const living = kept.filter(({ endsMs }) => endsMs > nowMs)
  const lapsing = living.filter(({ endsMs }) => endsMs < untilMs).sort((one, other) => one.endsMs - other.endsMs)
  const margins = living.filter(({ dueMs, grant }) => dueMs > nowMs && grant.last_error === null)
  return {
    looked: served.length,
    lapsing: lapsing.map(({ grant }) => grant),
    lost: lost.map(({ grant }) => grant),
    late: living.filter(({ dueMs, endsMs }) => dueMs < untilMs && endsMs >= untilMs).length,
    resting: served.filter(({ isResting, endsMs }) => isResting && endsMs < untilMs).length,
    lapsed: kept.length - living.length,
    harmlessNowMs: least(living.map(({ endsMs }) => endsMs - nowMs)),
    harmlessEverMs: least(margins.map(({ dueMs, endsMs }) => endsMs - dueMs)),
  }
}

function timesOf(grant: Grant) {
  const endsMs = Date.parse(grant.access_token_expires_at)
  const dueMs = grant.refresh_due_at === null ? Infinity : Date.parse(grant.refresh_due_at)
  const refreshEndsMs = grant.refresh_token_expires_at === null ? Infinity : Date.parse(grant.refresh_token_expires_at)
  return { grant, endsMs, dueMs, refreshEndsMs, isResting: dueMs > endsMs && grant.last_error === null }
}

function least(durations: readonly number[]): number | null {
  return durations.length === 0 ? null : durations.reduce((one, other) => Math.min(one, other))
}

/** Returns the exit code; throws `NotDone`. */
export async function outage(
  api: GatewayApi,
  lastsMs: number,
  { json, limit }: Shown,
  terminal: Terminal,
): Promise<number> {
  const grants: Grant[] = []
  for await (const grant of api.grants({})) grants.push(grant)
  const nowMs = terminal.now()
  const found = simulateOutage(grants, nowMs, lastsMs)
  if (json) {
    terminal.out.write(`${JSON.stringify(asJson(found, nowMs, lastsMs, limit))}\n`)
    return 0
  }
  // Whoever reads rows from here gets rows.
  const summary = terminal.out.isTTY === true ? terminal.out : terminal.err
  for (const line of told(found, lastsMs)) summary.write(`${line}\n`)
  const rows = found.lapsing.slice(0, limit)
  if (terminal.out.isTTY === true && rows.length > 0) terminal.out.write('\n')
  if (rows.length > 0) writeRows(terminal.out, lapsingColumns(nowMs, nowMs + lastsMs), rows)
  return 0
}

function told(outage: Outage, lastsMs: number): readonly string[] {
  const { harmlessEverMs, harmlessNowMs, lapsed, lapsing, late, looked, lost, resting } = outage
  const lines = [
    `If HealthTap were away for ${spoken(lastsMs)} from now on, of ${looked} grants`,
    `  ${lapsing.length} would lapse: whoever asks for their tokens is told 503 until HealthTap is back`,
    `  ${late} would be renewed late, and nobody would notice`,
    `  ${lost.length} would be lost: their refresh tokens expire, and these people have to authorize again`,
  ]
  if (resting > 0) lines.push(`  ${resting} are read by nobody, and could not be renewed for a reader`)
  if (lapsed > 0) lines.push(`  ${lapsed} have lapsed already: see last_error of grants show`)
  if (harmlessNowMs !== null) lines.push(`From now on, up to ${spoken(harmlessNowMs)} would let nobody lapse.`)
  if (harmlessEverMs !== null) {
    lines.push(
      `Whenever it begins, up to ${spoken(harmlessEverMs)} would let nobody lapse (REFRESH_MARGIN_SECONDS, REFRESH_MARGIN_RATIO).`,
    )
  }
  return lines
}

function asJson(outage: Outage, nowMs: number, lastsMs: number, limit: number | undefined) {
  const { harmlessEverMs, harmlessNowMs, lapsing, lost, ...counts } = outage
  return {
    from: new Date(nowMs).toISOString(),
    seconds: lastsMs / 1000,
    ...counts,
    lapsing: lapsing.length,
    lost: lost.length,
    harmless_seconds_now: secondsOf(harmlessNowMs),
    harmless_seconds_ever: secondsOf(harmlessEverMs),
    lapsing_grants: lapsing.slice(0, limit),
    lost_grants: lost.slice(0, limit),
  }
}

function secondsOf(durationMs: number | null): number | null {
  return durationMs === null ? null : Math.floor(durationMs / 1000)
}

function lapsingColumns(nowMs: number, untilMs: number): readonly Column<Grant>[] {
  const lapsesForMs = ({ access_token_expires_at: time }: Grant) => untilMs - Date.parse(time)
  return [
    timeColumn('EXPIRES', grant => grant.access_token_expires_at, nowMs),
    {
      title: 'LAPSES FOR',
      value: grant => String(Math.ceil(lapsesForMs(grant) / 1000)),
      shown: grant => spoken(lapsesForMs(grant)),
    },
    GUID,
    USERNAME,
    STATUS,
  ]
}
