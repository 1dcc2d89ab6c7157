/** Numbers in queries and paths: plain decimal digits, within their bounds, and nothing else. */
import t from 'tap'
import { compileValidator } from '../../src/schemas/validator.ts'
import { startApp } from '../support/app.ts'

/** Texts that some parsers take for a number. */
const ODD = [
  '1e400',
  '-1e400',
  '1e3',
  '1E2',
  '0x10',
  '0b1',
  '0o7',
  '+5',
  ' 5',
  '5 ',
  '5\n',
  '\u00a05',
  '5.0',
  '5.',
  '.5',
  '5,0',
  '1_000',
  '5n',
  '１',
  '٣',
  'Infinity',
  '-Infinity',
  'NaN',
  'null',
  'true',
  '',
  '-',
  '--5',
  '9'.repeat(400),
  '9007199254740993',
]

interface Schema {
  readonly type?: string
  readonly anyOf?: readonly Schema[]
  readonly minimum?: number
  readonly maximum?: number
}

interface Parameter {
  readonly in: string
  readonly name: string
  readonly schema: Schema
}

interface Operation {
  readonly parameters?: readonly Parameter[]
}

function isNumber({ type, anyOf = [] }: Schema): boolean {
  return type === 'integer' || type === 'number' || anyOf.some(isNumber)
}

t.test('every number in a query or a path, on every route', async t => {
  const { app, send } = await startApp(t)
  const { paths } = app.swagger() as { paths: Record<string, Record<string, Operation>> }
  const numbers: string[] = []
  for (const [path, operations] of Object.entries(paths)) {
    for (const [method, { parameters = [] }] of Object.entries(operations)) {
      for (const parameter of parameters) {
        if (!isNumber(parameter.schema) || !['query', 'path'].includes(parameter.in)) continue
        numbers.push(`${method} ${path} ${parameter.name}`)
        await t.test(`${method} ${path}: ${parameter.in}/${parameter.name}`, async t => {
          const ask = (text: string) => {
            const value = encodeURIComponent(text)
            const filled = path.replaceAll(/\{(\w+)\}/g, (_, name) => (name === parameter.name ? value : 'a'))
            const query = parameter.in === 'query' ? `?${parameter.name}=${value}` : ''
            return send(method.toUpperCase() as 'GET', `${filled}${query}`)
          }
          const { minimum, maximum } = parameter.schema
          if (minimum === undefined || maximum === undefined) throw new Error('it has no bounds')
          const where = `${parameter.in}/${parameter.name}`
          const expected = `must be a whole number from ${minimum} to ${maximum}, in plain decimal digits`
          for (const text of ODD) {
            const answer = await ask(text)
            t.equal(answer.statusCode, 400, JSON.stringify(text))
            t.match(answer.json(), { code: 'validation_failed', errors: [{ path: where, message: expected }] })
            t.match(answer.json().detail, `${where} ${expected}.`)
          }
          for (const [text, message] of [
            ['-5', `must be >= ${minimum}`],
            [String(minimum - 1), `must be >= ${minimum}`],
            [String(maximum + 1), `must be <= ${maximum}`],
          ] as const) {
            const answer = await ask(text)
            t.match(answer.json(), { code: 'validation_failed', errors: [{ path: where, message }] }, text)
          }
          for (const text of [String(minimum), String(maximum), '007']) {
            t.not((await ask(text)).json().code, 'validation_failed', text)
          }
        })
      }
    }
  }
  for (const name of ['get /v1/grants limit', 'get /v1/grants/{guid}/token min_ttl']) t.ok(numbers.includes(name), name)
})

t.test('a number that is given twice is refused, and so is one that JSON makes infinite', async t => {
  const { app, send } = await startApp(t)
  t.match((await send('GET', '/v1/grants?limit=5&limit=6')).json(), { errors: [{ path: 'query/limit' }] })
  const key = (await send('GET', '/v1/overview')).raw.req.headers.authorization
  const answer = await app.inject({
    method: 'POST',
    url: '/v1/grants/ada/refresh',
    headers: { authorization: String(key), 'content-type': 'application/json' },
    payload: '{"version":1e400}',
  })
  t.match(answer.json(), { code: 'validation_failed', errors: [{ path: '/version', message: 'must be integer' }] })
})

t.test('what a text becomes', async t => {
  const compile = compileValidator()
  const read = (property: object, value: unknown) => {
    const validate = compile({
      httpPart: 'querystring',
      schema: { type: 'object', properties: { it: property } },
    })
    const data = { it: value }
    return validate(data) ? data.it : validate.errors?.map(({ message }) => message)
  }
  const integer = { type: 'integer' }
  t.equal(read(integer, '42'), 42)
  t.ok(Object.is(read(integer, '-0'), 0), 'there is one zero')
  t.strictSame(read(integer, '4.2'), ['must be a whole number, in plain decimal digits'])
  t.strictSame(read({ ...integer, minimum: 3 }, 'x'), ['must be a whole number of at least 3, in plain decimal digits'])
  t.strictSame(read({ ...integer, maximum: 3 }, 'x'), ['must be a whole number of at most 3, in plain decimal digits'])
  t.equal(read({ type: 'number' }, '-4.25'), -4.25)
  t.strictSame(read({ type: 'number' }, '1e3'), ['must be a number, in plain decimal digits'])
  t.strictSame(read({ type: 'number', minimum: 0 }, '9'.repeat(400)), [
    'must be a number of at least 0, in plain decimal digits',
  ])
  t.equal(read({ type: 'boolean' }, 'true'), true)
  t.equal(read({ type: 'boolean' }, 'false'), false)
  for (const text of ['1', '', 'True', 'null']) t.strictSame(read({ type: 'boolean' }, text), ['must be true or false'])
  t.equal(read({ anyOf: [integer, { const: 'all' }] }, '5'), 5)
  t.equal(read({ anyOf: [integer, { const: 'all' }] }, 'all'), 'all')
  t.equal(read({ anyOf: [integer, { type: 'string' }] }, '5'), '5', 'what may stay a text does')
  t.strictSame(read({ type: 'array', items: integer }, ['5', '6']), [5, 6])
  t.strictSame(read({ type: 'array', items: integer }, ['5', '1e9']), [
    'must be a whole number, in plain decimal digits',
  ])
  t.strictSame(read({ type: 'array', items: { type: 'string' } }, ['5']), ['5'])
  t.equal(read(integer, 7), 7, 'a default')
  t.strictSame(read({ type: 'null' }, ''), ['must be null'])
})
