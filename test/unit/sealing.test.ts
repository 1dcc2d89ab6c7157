import t from 'tap'
import { Secret } from '../../src/ports/secret.ts'
import { RecordUnreadable } from '../../src/ports/store.ts'
import { createCodec } from '../../src/store/codec.ts'
import { createSealer } from '../../src/store/sealing.ts'
import { newKey } from '../support/keys.ts'

const first = newKey('first')
const second = newKey('second')
const secret = new Secret('a refresh token, and ünïcode 🔑')
const PLACE = 'grant:ada.pair.refreshToken'
const unreadable = { name: 'RecordUnreadable' }

t.test('what is sealed opens again', async t => {
  const sealer = createSealer([first])
  for (const value of ['', 'x', secret.reveal(), 'a'.repeat(8192)]) {
    t.equal(sealer.open(sealer.seal(new Secret(value), PLACE), PLACE).reveal(), value)
  }
  const sealed = sealer.seal(secret, PLACE)
  t.match(sealed, /^first\.[A-Za-z0-9_-]+$/, 'the key id in front')
  t.not(sealer.seal(secret, PLACE), sealed, 'never the same twice')
  t.notOk(Buffer.from(sealed.slice(6), 'base64url').includes('refresh'), 'and not to be read')
})

t.test('it opens in its own place alone', async t => {
  const sealer = createSealer([first])
  const sealed = sealer.seal(secret, PLACE)
  for (const place of ['', 'grant:bob.pair.refreshToken', 'grant:ada.pair.accessToken', `${PLACE} `]) {
    t.throws(() => sealer.open(sealed, place), unreadable, JSON.stringify(place))
  }
})

t.test('every key opens, the first one seals', async t => {
  const old = createSealer([first]).seal(secret, PLACE)
  const both = createSealer([second, first])
  t.equal(both.open(old, PLACE).reveal(), secret.reveal())
  t.match(both.seal(secret, PLACE), /^second\./)
  t.throws(() => createSealer([second]).open(old, PLACE), unreadable, 'a key we do not have')
  const namesake = createSealer([{ id: 'first', key: second.key }])
  t.throws(() => namesake.open(old, PLACE), unreadable, 'another key of that name')
  const renamed = createSealer([{ id: 'other', key: first.key }])
  t.throws(() => renamed.open(old.replace('first.', 'other.'), PLACE), unreadable, 'the name is bound, too')
})

t.test('a change of any byte is seen', async t => {
  const sealer = createSealer([first])
  const bytes = Buffer.from(sealer.seal(secret, PLACE).slice('first.'.length), 'base64url')
  for (let index = 0; index < bytes.length; index += 1) {
    const damaged = Buffer.from(bytes)
    damaged[index] = (damaged[index] ?? 0) ^ 1
    t.throws(() => sealer.open(`first.${damaged.toString('base64url')}`, PLACE), unreadable, `byte ${index}`)
  }
  for (const length of [0, 1, 12, 27, 28, bytes.length - 1]) {
    const cut = bytes.subarray(0, length).toString('base64url')
    t.throws(() => sealer.open(`first.${cut}`, PLACE), unreadable, `cut off after ${length} bytes`)
  }
  for (const text of ['', '.', 'first', 'first.', 'first.%%%', '.AAAA', 'no dot at all']) {
    t.throws(() => sealer.open(text, PLACE), unreadable, JSON.stringify(text))
  }
})

t.test('an error tells nothing of the secret or the key', async t => {
  const sealed = createSealer([first]).seal(secret, PLACE)
  try {
    createSealer([first]).open(sealed, 'elsewhere')
    t.fail('it must not open')
  } catch (error) {
    t.ok(error instanceof RecordUnreadable)
    for (const text of [secret.reveal(), sealed, first.key.export().toString('base64')])
      t.notOk(String(error).includes(text))
  }
})

t.test('a record is JSON in which every secret is sealed for its own field', async t => {
  const codec = createCodec(createSealer([first]))
  const record = { guid: 'ada', version: 3, none: null, yes: true, pair: { accessToken: secret, deep: { x: secret } } }
  const text = codec.encode(record, 'grant:ada')
  const parsed = JSON.parse(text)
  t.match(parsed, { guid: 'ada', version: 3, none: null, yes: true, pair: { accessToken: { sealed: /^first\./ } } })
  t.notMatch(text, 'refresh')
  const read = codec.decode(text, 'grant:ada') as typeof record
  t.equal(read.pair.accessToken.reveal(), secret.reveal())
  t.equal(read.pair.deep.x.reveal(), secret.reveal())
  t.strictSame({ ...read, pair: null }, { ...record, pair: null })
  t.throws(() => codec.decode(text, 'grant:bob'), unreadable)
  const { accessToken, deep } = parsed.pair
  const swapped = JSON.stringify({ ...parsed, pair: { accessToken: deep.x, deep: { x: accessToken } } })
  t.throws(() => codec.decode(swapped, 'grant:ada'), unreadable, 'fields cannot be exchanged')
  for (const wrong of ['', '{', 'nonsense', text.slice(0, -1)]) {
    t.throws(() => codec.decode(wrong, 'grant:ada'), unreadable, JSON.stringify(wrong.slice(0, 10)))
  }
})
