/** `list`, `show` and `due`: what the gateway holds. */
import type { GatewayApi, Grant, Status } from './api.ts'
import { fromNow, spoken } from './durations.ts'
import { type Column, clean, type Terminal, writeRows } from './terminal.ts'

export interface Shown {
  readonly json: boolean
  /** At most so many; undefined: all. */
  readonly limit?: number | undefined
}

export interface ListOptions extends Shown {
  readonly status?: Status | undefined
  readonly username?: string | undefined
}

/** Returns the exit code, as all of these. They throw `NotDone`. */
export async function list(api: GatewayApi, options: ListOptions, terminal: Terminal): Promise<number> {
  const found: Grant[] = []
  const limit = options.limit ?? Number.POSITIVE_INFINITY
  for await (const grant of api.grants(options)) {
    if (found.length >= limit) break
    // People want a table, whose columns are as wide as what comes last: programs need not wait for that.
    if (options.json) terminal.out.write(`${JSON.stringify(grant)}\n`)
    else if (terminal.out.isTTY !== true) writeRows(terminal.out, LISTED(0), [grant])
    found.push(grant)
  }
  if (!options.json && terminal.out.isTTY === true) writeRows(terminal.out, LISTED(terminal.now()), found)
  return 0
}

export async function show(api: GatewayApi, guid: string, { json }: Shown, terminal: Terminal): Promise<number> {
  const grant = await api.grant(guid)
  if (json) {
    terminal.out.write(`${JSON.stringify(grant)}\n`)
    return 0
  }
  const { last_error: lastError, ...others } = grant
  const fields: Readonly<Record<string, string | number | null>> = {
    ...others,
    last_error: lastError === null ? null : `${lastError.code} at ${lastError.at}, ${lastError.attempts} in a row`,
  }
  const isForPeople = terminal.out.isTTY === true
  for (const [name, value] of Object.entries(fields)) {
    const isTime = isForPeople && typeof value === 'string' && /_(at|due_at)$/.test(name)
    const text = `${value ?? (isForPeople ? '-' : '')}${isTime ? `  (${fromNow(value, terminal.now())})` : ''}`
    terminal.out.write(isForPeople ? `${name.padEnd(FIELD_WIDTH)}${clean(text)}\n` : `${name}\t${clean(text)}\n`)
  }
  return 0
}

const FIELD_WIDTH = 26

export interface DueOptions extends Shown {
  readonly within: number
  readonly status?: Status | undefined
}

export async function due(api: GatewayApi, options: DueOptions, terminal: Terminal): Promise<number> {
  const { json, limit, status, within } = options
  const untilMs = terminal.now() + within
  let looked = 0
  const found: Grant[] = []
  for await (const grant of api.grants({ status })) {
    looked += 1
    if (grant.refresh_due_at !== null && Date.parse(grant.refresh_due_at) <= untilMs) found.push(grant)
  }
  // RFC 3339 in UTC, all alike: as text they are in order of time.
  const soonest = found.sort((one, other) => ((one.refresh_due_at ?? '') < (other.refresh_due_at ?? '') ? -1 : 1))
  const rows = soonest.slice(0, limit)
  if (json) for (const grant of rows) terminal.out.write(`${JSON.stringify(grant)}\n`)
  else writeRows(terminal.out, DUE(terminal.now()), rows)
  if (!json && terminal.out.isTTY === true) {
    const more = rows.length < found.length ? `, the first ${rows.length} are shown` : ''
    terminal.out.write(`\n${found.length} of ${looked} are due within ${spoken(within)}${more}.\n`)
  }
  return 0
}

/** Columns that other tables have too. */
export const GUID: Column<Grant> = { title: 'GUID', value: ({ guid }) => guid }
export const USERNAME: Column<Grant> = { title: 'USERNAME', value: ({ username }) => username ?? '' }
export const STATUS: Column<Grant> = { title: 'STATUS', value: ({ status }) => status }

export function timeColumn(title: string, of: (grant: Grant) => string | null, nowMs: number): Column<Grant> {
  return { title, value: grant => of(grant) ?? '', shown: grant => fromNow(of(grant), nowMs) }
}

const LISTED = (nowMs: number): readonly Column<Grant>[] => [
  GUID,
  USERNAME,
  STATUS,
  { title: 'VERSION', value: ({ version }) => String(version) },
  timeColumn('EXPIRES', grant => grant.access_token_expires_at, nowMs),
  timeColumn('DUE', grant => grant.refresh_due_at, nowMs),
  { title: 'LAST ERROR', value: ({ last_error }) => last_error?.code ?? '' },
]

const DUE = (nowMs: number): readonly Column<Grant>[] => [
  timeColumn('DUE', grant => grant.refresh_due_at, nowMs),
  GUID,
  USERNAME,
  STATUS,
  timeColumn('EXPIRES', grant => grant.access_token_expires_at, nowMs),
  { title: 'LAST ERROR', value: ({ last_error }) => last_error?.code ?? '' },
]
