/** One line of the audit stream: how it is written, chained to the line before it, and read again. */
import { createHmac, type KeyObject } from 'node:crypto'
import type { ProblemCode } from '../errors.ts'

/** What a caller, or a browser, asked for. Whether they got it is the line's `outcome`. */
export type RequestEvent =
  | 'token.read'
  | 'token.refresh'
  | 'authorization.begin'
  | 'authorization.read'
  | 'grant.exchange'
  | 'grant.import'
  | 'grant.list'
  | 'grant.read'
  | 'grant.revoke'
  | 'overview.read'
  | 'user.provision'
  | 'tap_in.callback'

/** What the gateway did by itself. */
export type GatewayEvent =
  | 'grant.renewed'
  | 'grant.needs_attention'
  | 'grant.ended'
  | 'grant.restored'
  | 'grant.revoked'

/** What the stream tells of itself. */
export type StreamEvent = 'audit.opened' | 'audit.rotated' | 'audit.continued' | 'audit.lost' | 'audit.closed'

/** The line's own fields, in the order in which they stand in it. null: there is none. */
export interface LineFields {
  readonly event: RequestEvent | GatewayEvent | StreamEvent
  readonly by: 'caller' | 'browser' | 'gateway'
  readonly caller: string | null
  readonly guid: string | null
  readonly version: number | null
  /** A fingerprint, never the token. */
  readonly token: string | null
  readonly request_id: string | null
  readonly outcome: 'ok' | ProblemCode
  /** The answer's HTTP status. */
  readonly status: number | null
  /** The address that the request came from. */
  readonly remote: string | null
}

/** Where a line stands: enough to go on from. */
export interface Mark {
  readonly stream: string
  readonly seq: number
  readonly mac: string
}

/** What lines that begin a stream, or a file, have besides. */
export interface Beginning {
  /** The version of the gateway. */
  readonly gateway: string
  /** Which key chains what follows. */
  readonly key: string
  /** The line that stands, or stood, before this one: it is chained to that. null: there was none. */
  readonly previous: Mark | null
}

export type MoreFields = Beginning | { readonly lost: number } | Readonly<Record<string, never>>

/** As it stands in the stream, with its end of line; and the mark to chain the next one to. */
export interface WrittenLine {
  readonly text: string
  readonly mark: Mark
}

/** How each line begins: so that it can be told apart in an output that others write to as well. */
export const LINE_START = '{"audit":1,'
/** No gateway writes a longer one: what is longer is not kept in memory to be looked at. */
export const LONGEST_LINE = 8_192

const LONGEST_FIELD = 256

export function writeLine(
  chain: KeyObject,
  previousMac: string,
  place: { readonly stream: string; readonly seq: number; readonly at: string },
  fields: LineFields,
  more: MoreFields,
): WrittenLine {
  const { stream, seq, at } = place
  const content = JSON.stringify({
    audit: 1,
    stream,
    seq,
    at,
    event: fields.event,
    by: fields.by,
    caller: bounded(fields.caller),
    guid: bounded(fields.guid),
    version: fields.version,
    token: fields.token,
    request_id: bounded(fields.request_id),
    outcome: fields.outcome,
    status: fields.status,
    remote: bounded(fields.remote),
    ...more,
  }).slice(0, -1)
  const mac = macOf(chain, previousMac, content)
  return { text: `${content},"mac":"${mac}"}\n`, mark: { stream, seq, mac } }
}

/** HMAC-SHA-256 over the mac of the line before ('' where there is none) and this line, byte by byte, up to its own mac. */
export function macOf(chain: KeyObject, previousMac: string, content: string): string {
  return createHmac('sha256', chain).update(previousMac).update(content).digest('base64url')
}

function bounded(text: string | null): string | null {
  return text === null || text.length <= LONGEST_FIELD ? text : text.slice(0, LONGEST_FIELD)
}

export interface ReadLine {
  readonly stream: string
  readonly seq: number
  readonly at: string
  readonly event: string
  /** What the mac is computed over. */
  readonly content: string
  readonly mac: string
  /** Absent: the line begins neither a stream nor a file. */
  readonly beginning?: Beginning
  /** How many lines it tells the loss of. */
  readonly lost: number
}

const SHAPE = /^(\{.*),"mac":"([\w-]{43})"\}$/

/** null: not what a gateway writes. `text` begins with `LINE_START`. */
export function readLine(text: string): ReadLine | null {
  const [, content, mac] = SHAPE.exec(text) ?? []
  if (content === undefined || mac === undefined) return null
  const fields = parse(text)
  if (fields === null) return null
  const { stream, seq, at, event, key, gateway, lost = 0 } = fields
  const texts = [stream, at, event]
  if (!texts.every(field => typeof field === 'string') || !isCount(seq) || !isCount(lost)) return null
  const line = { stream, seq, at, event, content, mac, lost } as ReadLine
  if (event !== 'audit.opened' && event !== 'audit.continued') return line
  const previous = readMark(fields.previous)
  if (typeof key !== 'string' || typeof gateway !== 'string' || previous === undefined) return null
  return { ...line, beginning: { key, gateway, previous } }
}

function parse(text: string): Record<string, unknown> | null {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

/** undefined: not what a gateway writes. */
function readMark(value: unknown): Mark | null | undefined {
  if (value === null) return null
  if (typeof value !== 'object') return undefined
  const { stream, seq, mac } = value as Record<string, unknown>
  const isGood = typeof stream === 'string' && isCount(seq) && typeof mac === 'string'
  return isGood ? { stream, seq: seq as number, mac } : undefined
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
