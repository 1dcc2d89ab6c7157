/** Somebody who can write to Redis: whatever they do to a record, it opens as it was written, or not at all. */
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { Rotation } from '../../src/ports/journal.ts'
import type { Grant } from '../../src/ports/records.ts'
import { Secret } from '../../src/ports/secret.ts'
import { PROVIDER, RecordUnreadable, type Stores } from '../../src/ports/store.ts'
import { createCodec } from '../../src/store/codec.ts'
import { createKeys } from '../../src/store/redis/keys.ts'
import { formatRecord, parseRecord } from '../../src/store/redis/records.ts'
import { createSealer } from '../../src/store/sealing.ts'
import { createStoredForm } from '../../src/store/stored-form.ts'
import { ManualClock } from '../support/clock.ts'
import { startRedis } from '../support/redis.ts'
import { authorizationOf, exchangeOf, grantOf, guidOf, provisioningOf, told } from './records.ts'
import { KEY, openRedisStores } from './redis-stores.ts'

const clock = new ManualClock()
const now = clock.now()
const later = now + 60_000
const keys = createKeys('htgw')
const sealer = createSealer([KEY])
const [form, codec] = [createStoredForm(sealer), createCodec(sealer)]
const [ada, bob] = [guidOf('ada'), guidOf('bob')]
const REVISION = now * 1000 + 5

const spent = { ...authorizationOf('spent', later), status: 'connected', codeVerifier: null, guid: ada } as const
const rotation: Rotation = {
  guid: ada,
  replacesVersion: 3,
  spentFingerprint: 'abc',
  base: grantOf(ada, now),
  pair: { accessToken: new Secret('access'), refreshToken: new Secret('refresh') },
  scope: null,
  issuedAtMs: now,
  accessTokenExpiresAtMs: later,
  refreshTokenExpiresAtMs: null,
}

/** Each kind of record that is stored, with every field that it can have. */
const RECORDS: Readonly<Record<string, { key: string; record: unknown }>> = {
  grant: { key: keys.grant(ada), record: grantOf(ada, now, { username: 'Zoë "sealed":"x" 🔑' }) },
  'another grant': { key: keys.grant(bob), record: grantOf(bob, now) },
  'a grant without a password': { key: keys.grant('carol'), record: grantOf('carol', now, { password: null }) },
  authorization: { key: keys.state('pending'), record: authorizationOf('pending', later) },
  'a spent authorization': { key: keys.state('spent'), record: spent },
  exchange: { key: keys.code('code'), record: exchangeOf(later) },
  'an exchange that is done': { key: keys.code('done'), record: { status: 'done', guid: ada, expiresAtMs: later } },
  provisioning: { key: keys.username('ada'), record: provisioningOf(now) },
  'a provisioning in doubt': { key: keys.username('bob'), record: { status: 'in_doubt', password: new Secret('p') } },
  'an answered provisioning': { key: keys.username('carol'), record: { status: 'answered', grant: grantOf(ada, now) } },
  'a provisioning that is done': { key: keys.username('dora'), record: { status: 'done', guid: ada } },
  pause: { key: keys.pause(PROVIDER), record: { untilMs: later } },
  'journal entry': { key: 'journal', record: rotation },
}

/** As it is written now, and in the form of earlier versions, which is text. */
function written(key: string, record: unknown, revision = REVISION): Buffer {
  return Buffer.concat([Buffer.from(`${revision}:`), formatRecord(form, key, revision, record)])
}

function writtenAsText(key: string, record: unknown, revision = REVISION): string {
  return `${revision}:${codec.encode(record, `${revision}:${key}`)}`
}

const STORED = new Map<string, { key: string; record: unknown; stored: Buffer }>(
  Object.entries(RECORDS).flatMap(([name, { key, record }]) => {
    const stored = written(key, record)
    const text = Buffer.from(writtenAsText(key, record))
    const before = stored.subarray(0, 20).equals(text.subarray(0, 20))
      ? []
      : [[`${name}, as text`, { key, record, stored: text }] as const]
    return [[name, { key, record, stored }] as const, ...before]
  }),
)
const TEXTS = [...STORED]
  .filter(([, { stored }]) => stored.toString().includes(':{'))
  .map(([name, { key, record, stored }]) => {
    return [name, { key, record, text: stored.toString() }] as const
  })
const PACKED = [...STORED].filter(([, { stored }]) => !stored.toString().includes(':{'))

function opens(key: string, stored: string | Buffer): boolean {
  try {
    parseRecord(form, key, Buffer.from(stored))
    return true
  } catch (error) {
    if (error instanceof RecordUnreadable) return false
    throw error
  }
}

/** Where an altered text opened all the same. */
function openedAt(key: string, count: number, alter: (index: number) => string | Buffer): number[] {
  return Array.from({ length: count }, (_, index) => index).filter(index => opens(key, alter(index)))
}

for (const [name, { key, stored, record }] of STORED) {
  t.test(`${name}: every bit, every length`, async t => {
    const bytes = stored
    t.strictSame(told(parseRecord(form, key, stored).record), told(record), 'unharmed it opens')
    const flipped = openedAt(key, 8 * bytes.length, index => {
      const copy = Buffer.from(bytes)
      copy.writeUInt8(copy.readUInt8(index >> 3) ^ (1 << (index & 7)), index >> 3)
      return copy
    })
    t.strictSame(flipped, [], `none of ${8 * bytes.length} flipped bits`)
    t.strictSame(
      openedAt(key, bytes.length, length => bytes.subarray(0, length)),
      [],
      'cut off at any length',
    )
    t.strictSame(
      openedAt(key, bytes.length - 1, start => bytes.subarray(start + 1)),
      [],
      'without its beginning',
    )
    t.strictSame(
      openedAt(key, bytes.length, index => Buffer.concat([bytes.subarray(0, index), bytes.subarray(index + 1)])),
      [],
      'a byte is missing',
    )
    for (const added of [' ', '0', '"', '\n', '\0']) {
      const found = openedAt(key, bytes.length + 1, index => {
        return Buffer.concat([bytes.subarray(0, index), Buffer.from(added), bytes.subarray(index)])
      })
      t.strictSame(found, [], `with ${JSON.stringify(added)} more, anywhere`)
    }
  })
}

type Json = Record<string, unknown>

/** The paths of all values in a record that are no objects, `sealed` ones included. */
function leaves(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [path]
  return Object.entries(value).flatMap(([name, field]) => leaves(field, [...path, name]))
}

function at(json: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((value, name) => (value as Json)[name], json)
}

/** A copy with another value there; undefined takes the field away. */
function withValue(json: unknown, [name = '', ...rest]: readonly string[], value: unknown): Json {
  const copy = { ...(json as Json) }
  copy[name] = rest.length === 0 ? value : withValue(copy[name], rest, value)
  return copy
}

function parsed(text: string): unknown {
  return JSON.parse(text.slice(text.indexOf(':') + 1))
}

t.test('every field of every record: another value, or none', async t => {
  const values = [
    undefined,
    null,
    0,
    1,
    true,
    '',
    'x',
    'active',
    'connected',
    ada,
    bob,
    later + 1,
    {},
    [],
    { sealed: '' },
  ]
  for (const [name, { key, text }] of TEXTS) {
    const json = parsed(text)
    const before = JSON.stringify(json)
    const opened = leaves(json).flatMap(path =>
      values
        .map(value => JSON.stringify(withValue(json, path, value)))
        .filter(altered => altered !== before && opens(key, `${REVISION}:${altered}`))
        .map(() => path.join('.')),
    )
    t.strictSame(opened, [], name)
    t.equal(opens(key, `${REVISION}:${before}`), true, 'and as it was it opens')
    t.equal(opens(key, `${REVISION + 1}:${before}`), false, 'not at another revision')
    t.equal(opens(key, `${REVISION}:${JSON.stringify({ ...(json as Json), more: 1 })}`), false, 'nor with a field more')
  }
})

t.test('sealed fields: into each other, from another record, and from another time', async t => {
  for (const [name, { key, record, text }] of TEXTS) {
    const json = parsed(text)
    const sealed = leaves(json).filter(path => path.at(-1) === 'sealed')
    t.ok(sealed.length > 0, `${name} has something sealed`)
    const earlier = parsed(writtenAsText(key, record, REVISION - 1))
    const again = parsed(writtenAsText(key, record))
    for (const path of sealed) {
      t.equal(
        opens(key, `${REVISION}:${JSON.stringify(withValue(json, path, at(earlier, path)))}`),
        false,
        'an earlier write',
      )
      const same = JSON.stringify(withValue(json, path, at(again, path)))
      t.equal(opens(key, `${REVISION}:${same}`), true, 'the same write, sealed twice: the same content')
      for (const [, other] of TEXTS) {
        for (const from of leaves(parsed(other.text)).filter(leaf => leaf.at(-1) === 'sealed')) {
          if (other.key === key && from.join() === path.join()) continue
          const taken = JSON.stringify(withValue(json, path, at(parsed(other.text), from)))
          if (opens(key, `${REVISION}:${taken}`)) t.fail(`${from} of ${other.key} opens as ${path} of ${key}`)
        }
      }
    }
  }
})

t.test('packed records: the front of one, and what is sealed in another', async t => {
  t.ok(PACKED.length > 2)
  const parts = (stored: Buffer) => {
    const front = stored.indexOf(':') + 1
    const end = front + 25 + (stored[front + 24] ?? 0)
    return [stored.subarray(0, front), stored.subarray(front, end), stored.subarray(end)] as const
  }
  for (const [name, { key, record, stored }] of PACKED) {
    const [revision, front, sealed] = parts(stored)
    const again = parts(written(key, record))
    t.equal(
      opens(key, Buffer.concat([revision, front, again[2]])),
      true,
      'the same write, sealed twice: the same content',
    )
    const before = parts(written(key, record, REVISION - 1))
    t.equal(opens(key, Buffer.concat([revision, front, before[2]])), false, 'an earlier write')
    t.equal(opens(key, Buffer.concat([before[0], front, sealed])), false, 'another revision')
    t.equal(opens(key, Buffer.concat([revision, sealed])), false, 'no front')
    for (const changed of [{ status: 'revoking' as const }, { dueAtMs: 1 }, { accessTokenExpiresAtMs: later + 1 }]) {
      const [, otherFront] = parts(written(key, { ...(record as Grant), ...changed }))
      t.equal(opens(key, Buffer.concat([revision, otherFront, sealed])), false, `the front of ${Object.keys(changed)}`)
    }
    for (const [otherName, other] of PACKED) {
      if (otherName === name) continue
      const [, otherFront, otherSealed] = parts(other.stored)
      t.equal(opens(key, Buffer.concat([revision, front, otherSealed])), false, `${otherName}: what is sealed`)
      t.equal(opens(key, Buffer.concat([revision, otherFront, otherSealed])), false, `${otherName}: all of it`)
    }
  }
})

t.test('whole records: under any other name', async t => {
  const names = [...STORED.values()].map(({ key }) => key)
  for (const [name, { key, stored }] of STORED) {
    const others = names.filter(other => other !== key && opens(other, stored))
    t.strictSame(others, [], name)
  }
})

/** Writes each kind through its store, and says how each is read. */
async function store(t: Test, stores: Stores): Promise<readonly { key: string; read: () => Promise<unknown> }[]> {
  const { grants, authorizations, exchanges, provisionings, pauses } = stores
  const ofKind = [
    {
      key: keys.grant(ada),
      read: () => grants.read(ada),
      write: () => grants.write(ada, 0, grantOf(ada, now, { dueAtMs: 1 })),
    },
    {
      key: keys.state('st'),
      read: () => authorizations.read('st'),
      write: () => authorizations.write('st', 0, authorizationOf('st', later)),
    },
    {
      key: keys.code('code'),
      read: () => exchanges.read('code'),
      write: () => exchanges.write('code', 0, exchangeOf(later)),
    },
    {
      key: keys.username('u'),
      read: () => provisionings.read('u'),
      write: () => provisionings.write('u', 0, provisioningOf(now)),
    },
    {
      key: keys.pause(PROVIDER),
      read: () => pauses.read(PROVIDER),
      write: () => pauses.write(PROVIDER, 0, { untilMs: later }),
    },
  ]
  for (const { write } of ofKind) t.match(await write(), { ok: true })
  return ofKind
}

t.test('the same on a real server, through the stores', async t => {
  const server = await startRedis()
  const stores = openRedisStores(server, clock)
  const raw = new Redis(server.url)
  t.teardown(async () => {
    raw.disconnect()
    await stores.close()
    await server.stop()
  })
  await stores.grants.write(bob, 0, grantOf(bob, now, { dueAtMs: 1 }))
  for (const { key, read } of await store(t, stores)) {
    const good = (await raw.getBuffer(key)) ?? Buffer.alloc(0)
    for (let index = 0; index < good.length; index += 13) {
      const flipped = Buffer.from(good)
      flipped.writeUInt8(flipped.readUInt8(index) ^ (1 << (index & 7)), index)
      for (const altered of [flipped, good.subarray(0, index)]) {
        await raw.set(key, altered, 'KEEPTTL')
        await t.rejects(read(), RecordUnreadable, `${key}, byte ${index}`)
        t.strictSame(await raw.getBuffer(key), altered, 'left as it is')
      }
    }
    if (key === keys.grant(ada)) {
      t.match(await stores.grants.list({ limit: 9 }), { grants: [{ guid: bob }], nextCursor: null })
      const claim = { nowMs: now, untilMs: 1, limit: 9 }
      t.strictSame(
        (await stores.grants.claimDue(claim)).map(({ record }) => record.guid),
        [bob],
      )
    }
    await raw.set(key, good, 'KEEPTTL')
    t.ok(await read(), 'and opens again when it is mended')
  }
})
