/** JSON Schema, as far as our documents use it: what it says, and what is not known of it is an error. */
import { Ajv, type ValidateFunction } from 'ajv'

export interface Schema {
  readonly $ref?: string
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean' | 'null'
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: boolean | Schema
  readonly propertyNames?: Schema
  readonly items?: Schema
  readonly minItems?: number
  readonly maxItems?: number
  readonly uniqueItems?: boolean
  readonly enum?: readonly unknown[]
  readonly anyOf?: readonly Schema[]
  readonly not?: Schema
  readonly minLength?: number
  readonly maxLength?: number
  readonly pattern?: string
  readonly minimum?: number
  readonly maximum?: number
  readonly format?: string
}

/** Those above; what else stands in a schema has to be talk. */
const CONSTRAINTS = [
  '$ref',
  'type',
  'properties',
  'required',
  'additionalProperties',
  'propertyNames',
  'items',
  'minItems',
  'maxItems',
  'uniqueItems',
  'enum',
  'anyOf',
  'not',
  'minLength',
  'maxLength',
  'pattern',
  'minimum',
  'maximum',
  'format',
]
const TALK = ['description', 'title', 'examples', 'example', 'default']

/** Throws for a keyword that the fuzz does not know: it would make values that do not fit, or miss some that do. */
export function checkKeywords(schema: Schema): void {
  const unknown = Object.keys(schema).filter(keyword => !CONSTRAINTS.includes(keyword) && !TALK.includes(keyword))
  if (unknown.length > 0)
    throw new Error(`The fuzz knows no schemas with ${unknown.join(', ')}: see test/fuzz/schema.ts`)
}

/** RFC 3339, as the contract has it: UTC, whole seconds. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/

export function validatorOf(schema: Schema): ValidateFunction {
  return compile(schema, false)
}

/** For queries and paths: a text in plain decimal digits counts as a number. Ajv alone also takes a space for 0, and `0x10` for 16. */
export function textValidatorOf(schema: Schema): (fields: Record<string, unknown>) => boolean {
  const fits = compile(schema, true)
  const numbers = Object.entries(schema.properties ?? {}).flatMap(([name, { type }]) =>
    type === 'integer' || type === 'number' ? [name] : [],
  )
  const isPlain = (value: unknown) => typeof value !== 'string' || /^-?[0-9]+(\.[0-9]+)?$/.test(value)
  return fields => numbers.every(name => isPlain(fields[name])) && fits(fields)
}

function compile(schema: Schema, coerceTypes: boolean): ValidateFunction {
  const ajv = new Ajv({ allErrors: true, strictTypes: false, coerceTypes })
  ajv.addFormat('date-time', TIME)
  ajv.addKeyword('example')
  return ajv.compile(schema)
}

/** With every `$ref` into `definitions` replaced by what it stands for. */
export function withoutRefs(schema: Schema, definitions: Readonly<Record<string, Schema>>): Schema {
  const replaced = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(replaced)
    if (typeof value !== 'object' || value === null) return value
    const { $ref } = value as Schema
    if (typeof $ref === 'string') {
      const definition = definitions[$ref.replace('#/components/schemas/', '')]
      if (definition === undefined) throw new Error(`${$ref} is not in the document`)
      return replaced(definition)
    }
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, replaced(part)]))
  }
  return replaced(schema) as Schema
}

/** Takes nothing beside what is documented: a field too many in an answer may be a secret. */
export function closed(schema: Schema): Schema {
  const { properties, items, anyOf, ...rest } = schema
  return {
    ...rest,
    ...(items === undefined ? {} : { items: closed(items) }),
    ...(anyOf === undefined ? {} : { anyOf: anyOf.map(closed) }),
    ...(properties === undefined
      ? {}
      : {
          additionalProperties: rest.additionalProperties ?? false,
          properties: Object.fromEntries(Object.entries(properties).map(([name, part]) => [name, closed(part)])),
        }),
  }
}
