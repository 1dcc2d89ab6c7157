/** The search that the canary tests rest on is not blind. */
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { Canaries, FORM_NAMES, newCanary, written } from '../support/canaries.ts'

const SECRETS: Readonly<Record<string, string | Buffer>> = {
  'a token': randomBytes(32).toString('hex'),
  'a key': randomBytes(32),
  'a password': `${newCanary()} "/+ü${newCanary()}`,
}

t.test('a secret is found in each form, wherever it stands', async t => {
  for (const [name, secret] of Object.entries(SECRETS)) {
    const canaries = new Canaries()
    canaries.add(name, secret)
    for (const form of FORM_NAMES) {
      for (const text of written(secret, form)) {
        t.match(canaries.search('log', `{"x":"${text}"}`), [{ name }], `${name}, ${form}`)
      }
    }
  }
})

t.test('it is found within something longer that was encoded as a whole', async t => {
  const canaries = new Canaries()
  const secret = canaries.make('a token')
  for (const encoding of ['base64', 'base64url', 'hex'] as const) {
    for (const before of ['', 'a', 'ab', 'abc']) {
      const text = Buffer.from(`${before}${secret}, and more`).toString(encoding)
      t.match(canaries.search('log', text), [{ name: 'a token' }], `${encoding} after ${before.length} bytes`)
    }
  }
})

t.test('a part of it gives it away, and what was cut short', async t => {
  const canaries = new Canaries()
  const secret = canaries.make('a token')
  t.match(canaries.search('log', `…${secret.slice(8, 24)}…`), [{ name: 'a token', form: 'clear' }])
  t.strictSame(canaries.search('log', secret.slice(0, 15)), [])
})

t.test('where it belongs it is not complained about, and other text is not taken for it', async t => {
  const canaries = new Canaries()
  const secret = canaries.make('an answer', { mayBeIn: ['answers'] })
  t.strictSame(canaries.search('answers', secret), [])
  t.strictSame(canaries.search('log', secret), [{ name: 'an answer', form: 'clear' }])
  t.strictSame(canaries.search('log', randomBytes(100_000)), [])
  t.throws(() => canaries.add('a PIN', '1234'), /too short/)
})
