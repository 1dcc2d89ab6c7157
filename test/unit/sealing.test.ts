import t from 'tap'
import { Secret } from '../../src/ports/secret.ts'
import { RecordUnreadable } from '../../src/ports/store.ts'
import { createCodec, keyIdsIn } from '../../src/store/codec.ts'
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
  t.match(sealed, /^1\.first\.[A-Za-z0-9_-]+$/, 'format and key id in front')
  t.not(sealer.seal(secret, PLACE), sealed, 'never the same twice')
  t.notOk(Buffer.from(sealed.slice('1.first.'.length), 'base64url').includes('refresh'), 'and not to be read')
})

t.test('no nonce is used twice, whatever is sealed and by how many', async t => {
  const sealers = [createSealer([first]), createSealer([first]), createSealer([second])]
  const nonces = Array.from({ length: 3_500 }, (_, index) => {
    const sealed = sealers[index % sealers.length]?.seal(secret, PLACE) ?? ''
    return Buffer.from(sealed.split('.')[2] ?? '', 'base64url')
      .subarray(0, 12)
      .toString('hex')
  })
  t.match(nonces[0], /^[0-9a-f]{24}$/)
  t.equal(new Set(nonces).size, nonces.length)
  // A counter, or bytes that stand still, would not repeat either.
  for (let byte = 0; byte < 24; byte += 2) {
    const seen = new Set(nonces.map(nonce => nonce.slice(byte, byte + 2)))
    t.ok(seen.size > 200, `byte ${byte / 2} takes nearly every value`)
  }
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
  t.match(both.seal(secret, PLACE), /^1\.second\./)
  t.throws(() => createSealer([second]).open(old, PLACE), unreadable, 'a key we do not have')
  const namesake = createSealer([{ id: 'first', key: second.key }])
  t.throws(() => namesake.open(old, PLACE), unreadable, 'another key of that name')
  const renamed = createSealer([{ id: 'other', key: first.key }])
  t.throws(() => renamed.open(old.replace('.first.', '.other.'), PLACE), unreadable, 'the name is bound, too')
})

t.test('a change of any byte is seen', async t => {
  const sealer = createSealer([first])
  const whole = sealer.seal(secret, PLACE)
  const bytes = Buffer.from(whole.slice('1.first.'.length), 'base64url')
  for (let index = 0; index < bytes.length; index += 1) {
    const damaged = Buffer.from(bytes)
    damaged[index] = (damaged[index] ?? 0) ^ 1
    t.throws(() => sealer.open(`1.first.${damaged.toString('base64url')}`, PLACE), unreadable, `byte ${index}`)
  }
  for (const length of [0, 1, 12, 27, 28, bytes.length - 1]) {
    const cut = bytes.subarray(0, length).toString('base64url')
    t.throws(() => sealer.open(`1.first.${cut}`, PLACE), unreadable, `cut off after ${length} bytes`)
  }
  for (const text of [
    '',
    '.',
    '1',
    '1.first',
    '1.first.',
    '1.first.%%%',
    '1..AAAA',
    'first.AAAA',
    `2${whole.slice(1)}`,
    `${whole}=`,
    ` ${whole}`,
  ]) {
    t.throws(() => sealer.open(text, PLACE), unreadable, JSON.stringify(text))
  }
})

t.test('the last character has no second way of being written', async t => {
  const sealer = createSealer([first])
  for (const length of [1, 2, 3]) {
    const sealed = sealer.seal(new Secret('x'.repeat(length)), PLACE)
    const bytes = Buffer.from(sealed.split('.')[2] ?? '', 'base64url')
    for (const last of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_') {
      const other = sealed.slice(0, -1) + last
      if (other === sealed) continue
      const isSame = Buffer.from(other.split('.')[2] ?? '', 'base64url').equals(bytes)
      t.throws(() => sealer.open(other, PLACE), unreadable, `${last}${isSame ? ', the same bytes' : ''}`)
    }
  }
})

t.test('why it does not open', async t => {
  const sealed = createSealer([first]).seal(secret, PLACE)
  t.throws(() => createSealer([second]).open(sealed, PLACE), {
    ...unreadable,
    reason: 'unknown_key',
    keyId: 'first',
    guid: null,
  })
  t.throws(() => createSealer([first]).open(sealed, 'elsewhere'), { ...unreadable, reason: 'altered', keyId: 'first' })
  t.throws(() => createSealer([first]).open('1.', PLACE), { ...unreadable, reason: 'altered', keyId: null })
})

t.test('the keys can be changed while it is in use', async t => {
  const sealer = createSealer([first])
  const old = sealer.seal(secret, PLACE)
  sealer.use([second, first])
  t.match(sealer.seal(secret, PLACE), /^1\.second\./, 'the first one seals')
  t.equal(sealer.open(old, PLACE).reveal(), secret.reveal(), 'and all of them open')
  sealer.use([second])
  t.throws(
    () => sealer.open(old, PLACE),
    { ...unreadable, reason: 'unknown_key', keyId: 'first' },
    'what is gone opens nothing',
  )
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
  t.match(parsed, { guid: 'ada', version: 3, none: null, yes: true, pair: { accessToken: { sealed: /^1\.first\./ } } })
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

t.test('a record without a secret cannot be altered either', async t => {
  const codec = createCodec(createSealer([first]))
  const record = { status: 'done', guid: 'ada', none: null }
  const text = codec.encode(record, 'username:ada')
  t.strictSame(codec.decode(text, 'username:ada'), record, 'it opens as it was')
  for (const altered of [
    text.replace('"guid":"ada"', '"guid":"bob"'),
    text.replace('"none":null', '"none":1'),
    text.replace('"status"', '"status":"x","status"'),
    text.replace(',', ', '),
    JSON.stringify(record),
    JSON.stringify({ ...record, seal: null }),
    'null',
    '[]',
    '7',
    '"sealed"',
    `${'['.repeat(5_000)}${']'.repeat(5_000)}`,
    `${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`,
  ]) {
    t.not(altered, text)
    t.throws(() => codec.decode(altered, 'username:ada'), { ...unreadable, reason: 'altered' }, altered.slice(0, 60))
  }
  t.throws(() => codec.decode(text, 'username:bob'), unreadable)
})

t.test('a name that looks like a sealed value is a name', async t => {
  const codec = createCodec(createSealer([first]))
  for (const username of ['{"sealed":"1.first.AAAA"}', '"sealed":""', '\\"sealed":"x"', 'sealed']) {
    for (const record of [{ username }, { username, token: secret }]) {
      const read = codec.decode(codec.encode(record, 'p'), 'p') as typeof record
      t.equal(read.username, username)
    }
  }
})

t.test('which keys a text needs can be seen without opening it', async t => {
  const sealer = createSealer([first])
  const codec = createCodec(sealer)
  const text = codec.encode({ username: '"sealed":"1.third.AAAA"', a: secret, b: { c: secret } }, 'p')
  t.strictSame([...keyIdsIn(text)], ['first'])
  t.strictSame([...keyIdsIn(codec.encode({ guid: 'ada' }, 'p'))], ['first'])
  sealer.use([second])
  const a = JSON.parse(codec.encode({ a: secret }, 'p')).a
  t.strictSame([...keyIdsIn(JSON.stringify({ ...JSON.parse(text), a }))].sort(), ['first', 'second'])
  t.strictSame([...keyIdsIn('nonsense')], [])
})
