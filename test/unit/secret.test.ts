import { format, inspect } from 'node:util'
import t from 'tap'
import { Secret } from '../../src/ports/secret.ts'

const VALUE = 'correct horse battery staple'
const secret = new Secret(VALUE)

t.test('nothing shows a secret but reveal', async t => {
  t.equal(secret.reveal(), VALUE)
  const shown = {
    JSON: JSON.stringify(secret),
    'JSON inside a record': JSON.stringify({ pair: [{ secret }] }),
    String: String(secret),
    toString: secret.toString(),
    template: `${secret}`,
    concatenation: `a ${String(secret)}`,
    join: [secret, secret].join(),
    inspect: inspect(secret),
    'inspect inside a record': inspect({ pair: { secret } }, { depth: 9, showHidden: true }),
    format: format('%s %o %j', secret, secret, secret),
    'an error message': new Error(`no good: ${secret}`).message,
    'an error with it as a cause': inspect(new Error('no good', { cause: { secret } })),
  }
  for (const [name, text] of Object.entries(shown)) {
    t.match(text, '[redacted]', name)
    t.notMatch(text, VALUE, name)
  }
  t.equal(shown.JSON, '"[redacted]"')
  t.equal(shown.String, '[redacted]')
  t.equal(shown.inspect, '[redacted]')
})

t.test('nothing can be found in it by looking at its fields', async t => {
  t.strictSame(Object.keys(secret), [])
  t.strictSame(Object.getOwnPropertyNames(secret), [])
  t.strictSame({ ...secret }, {})
  t.throws(() => structuredClone({ ...secret, reveal: secret.reveal }), 'it does not travel by itself')
})

t.test('two secrets are equal by their values', async t => {
  t.equal(secret.equals(new Secret(VALUE)), true)
  t.equal(secret.equals(secret), true)
  t.equal(secret.equals(new Secret(`${VALUE} `)), false)
  t.equal(secret.equals(new Secret('[redacted]')), false)
  t.equal(new Secret('').reveal(), '')
})
