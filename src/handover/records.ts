/** Records as they stand inside a container, which is encrypted as a whole: their secrets in clear, marked as such. */
import { Secret } from '../ports/secret.ts'

/** A record with the name of its key, without the prefix of one deployment. */
export interface Carried {
  readonly name: string
  readonly record: unknown
}

const MARK = '\u0000secret'

export function toPlain(value: unknown): unknown {
  if (value instanceof Secret) return { [MARK]: value.reveal() }
  if (Array.isArray(value)) return value.map(toPlain)
  return isObject(value) ? mapped(value, toPlain) : value
}

export function fromPlain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromPlain)
  if (!isObject(value)) return value
  const secret = value[MARK]
  return typeof secret === 'string' ? new Secret(secret) : mapped(value, fromPlain)
}

function mapped(value: Readonly<Record<string, unknown>>, change: (field: unknown) => unknown): object {
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, change(field)]))
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}
