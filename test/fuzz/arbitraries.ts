/** Values from a schema: those that fit, those that nearly do, and junk. */
import fc, { type Arbitrary } from 'fast-check'
import { checkKeywords, type Schema, validatorOf } from './schema.ts'

/** A live value of that name is put in its place when the request goes out. */
export interface Reference {
  readonly fromPool: string
  readonly pick: number
  /** Where there is none yet. */
  readonly otherwise: unknown
}

/** Names under which live values are kept: an answer that has one may be followed by a request that has it too. */
export const POOLS = ['guid', 'state', 'username', 'version', 'cursor', 'scope', 'redirect_uri', 'return_to'] as const

export function isReference(value: unknown): value is Reference {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, 'fromPool')
}

/** `name`: of the field; live values stand in for those that have a pool. */
export function fitting(schema: Schema, name = ''): Arbitrary<unknown> {
  const made = schema.type === 'array' ? list(schema, name) : madeUp(schema)
  if (!(POOLS as readonly string[]).includes(name)) return made
  const live = fc.record({ fromPool: fc.constant(name), pick: fc.nat(30), otherwise: made })
  return fc.oneof({ weight: 5, arbitrary: live }, { weight: 1, arbitrary: made })
}

function madeUp(schema: Schema): Arbitrary<unknown> {
  checkKeywords(schema)
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum)
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map(part => madeUp(part)))
  switch (schema.type) {
    case 'object':
      return object(schema)
    case 'array':
      return list(schema)
    case 'string':
      return text(schema)
    case 'integer':
    case 'number':
      return integer(schema)
    case 'boolean':
      return fc.boolean()
    case 'null':
      return fc.constant(null)
    default:
      return anything()
  }
}

const LONGEST_LIST = 12

/** In a list called `guids` there are live ones of the pool `guid`; the same may be picked twice then. */
function list(
  { items = {}, minItems = 0, maxItems = 4, uniqueItems = false }: Schema,
  name = '',
): Arbitrary<unknown[]> {
  const lengths = { minLength: minItems, maxLength: Math.max(minItems, Math.min(maxItems, LONGEST_LIST)) }
  const item = fitting(items, name.replace(/s$/, ''))
  return uniqueItems
    ? fc.uniqueArray(item, { ...lengths, selector: value => JSON.stringify(value) })
    : fc.array(item, lengths)
}

function object(schema: Schema): Arbitrary<object> {
  const { properties = {}, required = [], additionalProperties = true, propertyNames } = schema
  const known = Object.fromEntries(Object.entries(properties).map(([name, part]) => [name, fitting(part, name)]))
  const fields = fc.record(known, { requiredKeys: [...required] })
  if (additionalProperties === false) return fields
  const fits = propertyNames === undefined ? () => true : validatorOf(propertyNames)
  const name = fc.oneof(fc.string({ maxLength: 12 }), oddText()).filter(key => !HARMFUL.includes(key) && fits(key))
  const value = additionalProperties === true ? anything() : madeUp(additionalProperties)
  return fc.tuple(fields, fc.dictionary(name, value, { maxKeys: 4 })).map(([some, more]) => ({ ...more, ...some }))
}

/** They fit most schemas, and are refused by whoever parses JSON with care. */
const HARMFUL: readonly string[] = ['__proto__', 'constructor', 'prototype']

function text(schema: Schema): Arbitrary<string> {
  const { pattern, minLength = 0, maxLength = 10_000 } = schema
  const expression = pattern === undefined ? null : new RegExp(pattern, 'u')
  const isFitting = (value: string) =>
    [...value].length >= minLength && [...value].length <= maxLength && (expression === null || expression.test(value))
  // What may not follow is left to `isFitting`.
  const made = pattern === undefined ? null : new RegExp(pattern.replaceAll(/\(\?![^)]*\)/g, ''), 'u')
  const short = made === null ? fc.string({ minLength, maxLength: 40 }) : fc.stringMatching(made)
  const long = short.map(value => value.repeat(Math.ceil(maxLength / Math.max(1, value.length))).slice(0, maxLength))
  const longest = long.map(
    value => [maxLength, 255, 128].map(length => value.slice(0, length)).find(isFitting) ?? value,
  )
  return fc
    .oneof({ weight: 8, arbitrary: short }, { weight: 1, arbitrary: longest }, { weight: 2, arbitrary: oddText() })
    .map(value => (isFitting(value) ? value : null))
    .chain(value => (value === null ? short.filter(isFitting) : fc.constant(value)))
}

function integer({ minimum = Number.MIN_SAFE_INTEGER, maximum = Number.MAX_SAFE_INTEGER }: Schema): Arbitrary<number> {
  return fc.oneof(
    fc.integer({ min: minimum, max: maximum }),
    fc.integer({ min: minimum, max: Math.min(maximum, minimum + 100) }),
    fc.constantFrom(minimum, maximum),
  )
}

/** Text that somebody, somewhere, reads in another way. A lone surrogate is no character of Unicode, and is one of JSON. */
export function oddText(): Arbitrary<string> {
  const parts = fc.constantFrom(
    ...['\ud800', '\udfff', '\ufffd', '\ufeff', '\u0000', '\r\n', '\u202e', '\u2028', '😀', 'é', 'e\u0301', 'ß'],
    ...['%', '%00', '%2f', '..', '/', '\\', '{', '}', ':', ',', '*', '?', '[a]', '"', "'", '<b>', '$where', '{{7*7}}'],
    ...[
      '__proto__',
      'constructor',
      'prototype',
      'toString',
      'null',
      'undefined',
      'NaN',
      '-1',
      '1e999',
      '0x10',
      ' ',
      '',
    ],
  )
  const whole = fc.array(parts, { minLength: 1, maxLength: 4 }).map(some => some.join(''))
  const longs = fc.tuple(parts, fc.constantFrom(129, 256, 257, 1_001, 8_193, 20_000))
  return fc.oneof(
    { weight: 9, arbitrary: whole },
    { weight: 1, arbitrary: longs.map(([part, length]) => `a${part}`.repeat(length).slice(0, length)) },
  )
}

/** Nested so often that whatever looks into it by recursion may run out of stack. */
export interface Nested {
  readonly nested: 'array' | 'object'
  readonly times: number
}

export function isNested(value: unknown): value is Nested {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, 'nested')
}

/** Any JSON there is. */
export function anything(): Arbitrary<unknown> {
  return fc.oneof(
    fc.constantFrom(null, true, false, 0, -0, -1, 0.5, 1e21, 2 ** 53, -(2 ** 63), 1.7976931348623157e308, '', [], {}),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    oddText(),
    fc.string(),
    fc.jsonValue({ maxDepth: 3 }),
    fc.record({
      nested: fc.constantFrom('array' as const, 'object' as const),
      times: fc.constantFrom(100, 3_000, 10_000),
    }),
  )
}

/** One thing about a value that fits is changed: most often for the worse. */
export function spoiled(schema: Schema): Arbitrary<unknown> {
  const whole = fitting(schema)
  if (schema.type !== 'object') return anything()
  const { properties = {}, required = [] } = schema
  const names = Object.keys(properties)
  const extra = fc.oneof(fc.constantFrom(...HARMFUL, 'password', 'ENCRYPTION_KEYS', 'Guid', ' guid', ''), oddText())
  const changes: Arbitrary<(value: object) => unknown>[] = [
    fc.tuple(extra, anything()).map(
      ([name, value]) =>
        (from: object) =>
          withField(from, name, value),
    ),
    anything().map(value => () => value),
  ]
  if (names.length > 0) {
    const change = fc.constantFrom(...names).chain(name => {
      return fc.oneof(nearly(properties[name] ?? {}), anything()).map(value => [name, value] as const)
    })
    changes.push(
      change.map(
        ([name, value]) =>
          (from: object) =>
            withField(from, name, value),
      ),
    )
    changes.push(
      change.map(
        ([name, value]) =>
          (from: object) =>
            withField(from, name, value),
      ),
    )
  }
  if (required.length > 0) {
    changes.push(fc.constantFrom(...required).map(name => (from: object) => withoutField(from, name)))
  }
  return fc.tuple(whole, fc.oneof(...changes)).map(([value, change]) => change(value as object))
}

/** Just outside. */
function nearly(schema: Schema): Arbitrary<unknown> {
  const { type, minimum, maximum, maxLength, minItems = 0, uniqueItems } = schema
  const outside: unknown[] = [null]
  if (minimum !== undefined) outside.push(minimum - 1, minimum + 0.5)
  if (maximum !== undefined) outside.push(maximum + 1, maximum * 10, String(maximum))
  if (maxLength !== undefined) outside.push('a'.repeat(maxLength + 1))
  if (minItems > 0) outside.push([])
  if (uniqueItems === true) outside.push(['a', 'a'])
  if (type === 'string') outside.push('', 0, ['a'], { a: 'a' }, true)
  return fc.constantFrom(...outside)
}

/** Also where the name is one that assignment takes for something else. */
function withField(from: object, name: string, value: unknown): object {
  return Object.fromEntries([...Object.entries(from).filter(([key]) => key !== name), [name, value]])
}

function withoutField(from: object, name: string): object {
  return Object.fromEntries(Object.entries(from).filter(([key]) => key !== name))
}
