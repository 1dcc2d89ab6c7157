/** How requests are checked against their schemas. Bodies are JSON and have types; queries, paths and headers are text. */
import { Ajv, type ErrorObject, type Schema } from 'ajv'

type ValidationError = Omit<ErrorObject, 'parentSchema' | 'data' | 'schema'>
type Validate = ((data: unknown) => boolean) & { errors?: ValidationError[] | null }

interface RouteSchema {
  readonly schema: unknown
  readonly httpPart?: string
}

const OPTIONS = { allErrors: true, removeAdditional: false, useDefaults: true, strictTypes: false } as const

/**
 * Ajv's own coercion is off: it takes `1e400` for a number (Infinity, which passes every bound), and `0x10` and ` 5 ` too.
 * Text that is no plain number stays text here, so its type is refused.
 */
export function compileValidator() {
  const ajv = new Ajv({ ...OPTIONS, coerceTypes: false })
  const ajvOfText = new Ajv({ ...OPTIONS, coerceTypes: false, verbose: true })
  return ({ schema, httpPart }: RouteSchema): Validate => {
    return httpPart === 'body' ? ajv.compile(schema as Schema) : forText(ajvOfText, schema as TextSchema)
  }
}

/** The keywords of JSON Schema that say how a text is read. */
interface TextSchema {
  readonly type?: string | readonly string[]
  readonly properties?: Readonly<Record<string, TextSchema>>
  readonly items?: TextSchema
  readonly anyOf?: readonly TextSchema[]
  readonly oneOf?: readonly TextSchema[]
  readonly allOf?: readonly TextSchema[]
  readonly minimum?: number
  readonly maximum?: number
}

function forText(ajv: Ajv, schema: TextSchema): Validate {
  const check = ajv.compile(schema as Schema)
  const readers = Object.entries(schema.properties ?? {}).map(([name, property]) => [name, readerOf(property)] as const)
  const validate: Validate = data => {
    const fields = data as Record<string, unknown>
    for (const [name, read] of readers) {
      if (Object.hasOwn(fields, name)) fields[name] = read(fields[name])
    }
    const isValid = check(data)
    validate.errors = check.errors?.map(explained) ?? null
    return isValid
  }
  return validate
}

type Read = (value: unknown) => unknown

/** What a schema makes of a text. A text that may also stay one is left alone. */
function readerOf(schema: TextSchema): Read {
  const types = typesIn(schema)
  if (types.has('string')) return value => value
  const items = schema.items === undefined ? null : readerOf(schema.items)
  return value => {
    if (Array.isArray(value)) return items === null ? value : value.map(items)
    if (typeof value !== 'string') return value
    if (types.has('integer')) return wholeNumberOr(value)
    if (types.has('number')) return numberOr(value)
    if (types.has('boolean') && (value === 'true' || value === 'false')) return value === 'true'
    return value
  }
}

function typesIn({ type = [], anyOf = [], oneOf = [], allOf = [] }: TextSchema): ReadonlySet<string> {
  const parts = [...anyOf, ...oneOf, ...allOf].flatMap(part => [...typesIn(part)])
  return new Set([type, parts].flat())
}

/** Digits that no double holds exactly stay text: a number that is read is the number that was sent. */
function wholeNumberOr(text: string): number | string {
  const number = /^-?[0-9]+$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(number) ? number + 0 : text
}

function numberOr(text: string): number | string {
  const number = /^-?[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : Number.NaN
  return Number.isFinite(number) ? number + 0 : text
}

/** Ajv says "must be integer" of a text in a query, which leaves open what was wrong with it. */
function explained({ parentSchema, data: _, schema: __, ...error }: ErrorObject): ValidationError {
  if (error.keyword !== 'type' || parentSchema === undefined) return error
  const { type, minimum, maximum } = parentSchema as TextSchema
  if (type === 'boolean') return { ...error, message: 'must be true or false' }
  if (type !== 'integer' && type !== 'number') return error
  const kind = type === 'integer' ? 'a whole number' : 'a number'
  return { ...error, message: `must be ${kind}${boundsOf(minimum, maximum)}, in plain decimal digits` }
}

function boundsOf(minimum: number | undefined, maximum: number | undefined): string {
  if (minimum !== undefined && maximum !== undefined) return ` from ${minimum} to ${maximum}`
  if (minimum !== undefined) return ` of at least ${minimum}`
  return maximum === undefined ? '' : ` of at most ${maximum}`
}
