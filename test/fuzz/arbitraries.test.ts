/** What the fuzz makes of a schema: by it a route is asked for all that it takes, and for what it does not. */
import fc from 'fast-check'
import t from 'tap'
import { anything, fitting, isReference, oddText, spoiled } from './arbitraries.ts'
import { jsonOf, Pools } from './pools.ts'
import { closed, type Schema, textValidatorOf, validatorOf, withoutRefs } from './schema.ts'

const PERSON: Schema = {
  type: 'object',
  required: ['name', 'age'],
  properties: {
    name: { type: 'string', minLength: 1, maxLength: 20, pattern: '^[a-z]+$' },
    age: { type: 'integer', minimum: 0, maximum: 150 },
    kind: { anyOf: [{ type: 'string', enum: ['a'] }, { type: 'null' }] },
    tags: { type: 'array', items: { type: 'string' } },
    twins: { type: 'array', items: { type: 'string' }, minItems: 2, maxItems: 3, uniqueItems: true },
    more: { type: 'object', propertyNames: { not: { enum: ['name'] } }, additionalProperties: {} },
  },
  additionalProperties: false,
}
const pools = new Pools({} as never, 'nobody', { scope: [], redirect_uri: [], return_to: [] })
const check = { seed: 1, numRuns: 500 }

t.test('what is to fit fits, and what is spoiled mostly does not', async t => {
  const fits = validatorOf(PERSON)
  fc.assert(
    fc.property(fitting(PERSON), value => fits(pools.resolve(value))),
    check,
  )
  const some = fc.sample(spoiled(PERSON), check).map(value => fits(pools.resolve(value)))
  const good = some.filter(Boolean).length
  t.ok(good > 0 && good < some.length / 4, `${good} of ${some.length}`)
})

t.test('a keyword that it does not know is an error, wherever it stands', async t => {
  const schema = { ...PERSON, properties: { name: { type: 'string', contentEncoding: 'base64' } } } as Schema
  t.throws(() => fitting(schema), /contentEncoding/)
})

t.test('a live value stands where there is one', async t => {
  const schema: Schema = { type: 'object', required: ['guid'], properties: { guid: { type: 'string' } } }
  const some = fc.sample(fitting(schema), check) as { guid: unknown }[]
  const references = some.filter(({ guid }) => isReference(guid))
  t.ok(references.length > some.length / 2)
  pools.learn({ items: [{ guid: 'ada', access_token: 'secret' }], next_cursor: 'next' })
  t.ok(references.every(value => (pools.resolve(value) as { guid: string }).guid === 'ada'))
  t.equal(pools.pick('cursor', 7), 'next')
  t.equal(pools.pick('state', 0), undefined)
})

t.test('a list has live values under the name of one of them', async t => {
  const guids: Schema = { type: 'array', items: { type: 'string' }, minItems: 1, uniqueItems: true }
  const some = fc.sample(fitting({ type: 'object', required: ['guids'], properties: { guids } }), check)
  const references = (some as { guids: unknown[] }[]).flatMap(({ guids }) => guids.filter(isReference))
  t.ok(references.length > some.length)
  t.ok(references.every(({ fromPool }) => fromPool === 'guid'))
})

t.test('its text is JSON however deep it goes', async t => {
  const values = fc.sample(anything(), check)
  const texts = values.map(value => jsonOf(pools.resolve(value)))
  for (const text of texts) JSON.parse(text)
  t.ok(texts.some(text => text.startsWith('[[[[[[[[')) && texts.some(text => text.startsWith('{"a":{"a":{"a":')))
  const odd = fc.sample(oddText(), check).join('')
  t.match(odd, /[\ud800-\udfff]/u)
})

t.test('an answer may have what is documented, and nothing else', async t => {
  const definitions = { Thing: { type: 'object', properties: { a: { type: 'string' } } } } as const
  const list: Schema = { type: 'array', items: { $ref: '#/components/schemas/Thing' } }
  const fits = validatorOf(closed(withoutRefs(list, definitions)))
  t.ok(fits([{ a: 'b' }, {}]))
  t.notOk(fits([{ a: 'b', refresh_token: 'c' }]))
  t.throws(() => withoutRefs(list, {}), /not in the document/)
})

t.test('a text counts as a number only in plain decimal digits', async t => {
  const fits = textValidatorOf({ type: 'object', properties: { ttl: { type: 'integer' }, name: { type: 'string' } } })
  for (const ttl of ['0', '-5', '007']) t.ok(fits({ ttl, name: ' ' }), ttl)
  for (const ttl of [' ', '', '0x10', '1e3', ' 5 ', '5.5']) t.notOk(fits({ ttl, name: ' ' }), ttl)
})
