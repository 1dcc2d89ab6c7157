/** A planned request as it goes out: live values in their places, and what the provider has to bring along. */
import type { Operation } from './operations.ts'
import { type Brought, jsonOf, type Pools } from './pools.ts'
import type { Planned } from './steps.ts'
import type { Outgoing } from './wire.ts'
import type { World } from './world.ts'

export interface Made {
  readonly outgoing: Outgoing
  readonly params: Readonly<Record<string, unknown>>
  readonly query: Readonly<Record<string, unknown>>
  /** undefined: none, or no JSON. */
  readonly body: unknown
  readonly username: string | undefined
  /** Tokens that the provider has just given out. */
  readonly isFreshPair: boolean
  /** false: a part of the path is empty, or has a meaning of its own. */
  readonly isRouted: boolean
  /** Too long, or unfit as a path: refused before the route's own schema is asked. */
  readonly isOdd: boolean
}

export interface Surroundings {
  readonly world: World
  readonly pools: Pools
  /** The provider may fail, in this sequence. */
  readonly isFaulty: boolean
}

export async function make(
  { world, pools, isFaulty }: Surroundings,
  operation: Operation,
  planned: Planned,
): Promise<Made> {
  const brought = planned.brought === null ? {} : await bring(pools, planned.brought, isFaulty)
  const takes = (names: readonly string[]) =>
    Object.fromEntries(Object.entries(brought).filter(([name]) => names.includes(name)))
  const params = pools.resolve(planned.params) as Record<string, unknown>
  const made = (value: unknown) => withoutMade(planned.brought, pools.resolve(value))
  const query = {
    ...(made(planned.query) as object),
    ...(operation.body === null ? takes(Object.keys(operation.query.properties ?? {})) : {}),
  } as Record<string, unknown>
  const resolved = planned.body === undefined ? undefined : made(planned.body)
  const isObject = typeof resolved === 'object' && resolved !== null && !Array.isArray(resolved)
  const body = isObject ? withAll(resolved, takes(Object.keys(operation.body?.properties ?? {}))) : resolved
  const text = planned.text ?? (body === undefined ? undefined : jsonOf(body))
  const fields = Object.entries(query).flatMap(([name, value]) => {
    const field = `${encode(name)}=${encode(asText(value))}`
    return planned.twice ? [field, field] : [field]
  })
  const path = operation.path.replaceAll(/\{(\w+)\}/g, (_all, name) => encode(asText(params[name])))
  const target = `${path}${fields.length > 0 ? `?${fields.join('&')}` : ''}`
  const authorization = world.callers.header(planned.shown)
  const hasBody = text !== undefined
  const { 'content-type': type = '', ...headers } = planned.headers
  const values = Object.values(params).map(asText)
  const isBare = planned.method === 'GET' || planned.method === 'HEAD'
  return {
    outgoing: {
      method: planned.method ?? operation.method,
      target,
      headers: {
        ...headers,
        ...(authorization === undefined ? {} : { authorization }),
        ...(hasBody && !isBare ? { 'content-type': type } : {}),
      },
      body: hasBody && !isBare ? Buffer.from(text) : null,
    },
    params: Object.fromEntries(Object.entries(params).map(([name, value]) => [name, wellFormed(asText(value))])),
    query: planned.twice
      ? Object.fromEntries(Object.entries(query).map(([name, value]) => [name, [asText(value), asText(value)]]))
      : Object.fromEntries(Object.entries(query).map(([name, value]) => [wellFormed(name), wellFormed(asText(value))])),
    body: planned.text === undefined ? body : undefined,
    username: (body as { username?: string } | undefined)?.username,
    isFreshPair: 'refresh_token' in brought,
    isRouted: values.every(value => value !== ''),
    isOdd: target.length > 8_000 || values.some(value => value.length > 256) || JSON.stringify(headers).length > 8_000,
  }
}

/** Without the made-up fields that would contradict a visit. */
function withoutMade(brought: Brought | null, value: unknown): unknown {
  if (brought?.bring !== 'visit' || !brought.isPlain) return value
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).filter(([name]) => !['guid', 'state', 'error'].includes(name)))
}

/** Nothing, where the provider fails just then. */
async function bring(pools: Pools, brought: Brought, isFaulty: boolean): Promise<Record<string, unknown>> {
  try {
    return await pools.bring(brought)
  } catch (error) {
    if (!isFaulty) throw error
    return {}
  }
}

function withAll(from: object, fields: object): object {
  return Object.fromEntries([
    ...Object.entries(from).filter(([name]) => !Object.hasOwn(fields, name)),
    ...Object.entries(fields),
  ])
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : typeof value === 'object' ? jsonOf(value).slice(0, 2_000) : String(value)
}

/** As UTF-8 has it: a lone surrogate is no character. */
function wellFormed(text: string): string {
  return Buffer.from(text).toString()
}

export function encode(text: string): string {
  return encodeURIComponent(wellFormed(text))
}
