/** `rotate-keys` as an operator meets it, and the whole drill of docs/key-rotation.md in small. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { newEncryptionKey } from '../../src/cli/keys.ts'
import { rotateKeys } from '../../src/cli/rotate-keys.ts'
import type { Environment } from '../../src/config.ts'
import { encryptionKeys } from '../../src/settings/forms.ts'
import { createCodec } from '../../src/store/codec.ts'
import { createKeys } from '../../src/store/redis/keys.ts'
import { keysNeededBy } from '../../src/store/redis/records.ts'
import { createSealer } from '../../src/store/sealing.ts'
import { systemClock } from '../../src/system/clock.ts'
import { createFileJournal } from '../../src/system/journal.ts'
import { guidOf, rotationOf } from '../contract/records.ts'
import { openRedisStores } from '../contract/redis-stores.ts'
import { drillKeys, knownGrant } from '../support/key-drill.ts'
import { withAnotherStatus } from '../support/packed.ts'
import { freePort, startRedis } from '../support/redis.ts'
import { type GatewayClient, startStack } from '../support/stack.ts'

const redis = await startRedis()
const raw = new Redis(redis.url)
t.teardown(async () => {
  raw.disconnect()
  await redis.stop()
})

const [k0, k1, k2] = ['k0', 'k1', 'k2'].map(id => newEncryptionKey().replace(/^[^:]+/, id)) as [string, string, string]

/** The least that `rotate-keys` needs, with a prefix and a journal of its own. */
function environmentOf(t: Test, more: Record<string, string> = {}): Record<string, string> {
  const journal = mkdtempSync(join(tmpdir(), 'htgw-journal-'))
  t.teardown(() => rmSync(journal, { recursive: true, force: true }))
  return {
    HEALTHTAP_APP_ID: 'app',
    HEALTHTAP_APP_SECRET: 'secret',
    HEALTHTAP_REDIRECT_URIS: 'https://app.example/cb',
    CALLERS: JSON.stringify([{ name: 'x', key_sha256: '0'.repeat(64), permissions: [] }]),
    REDIS_URL: redis.url,
    REDIS_PREFIX: `t${Math.random().toString(36).slice(2)}`,
    JOURNAL_DIR: journal,
    ...more,
  }
}

async function run(environment: Environment) {
  const written: string[] = []
  const exitCode = await rotateKeys({ write: text => written.push(text) }, environment)
  return { exitCode, lines: written.join('').trimEnd().split('\n') }
}

function openStores(t: Test, environment: Record<string, string>, entries: string) {
  const prefix = environment.REDIS_PREFIX ?? ''
  const stores = openRedisStores(redis, systemClock, { prefix, keys: encryptionKeys(entries) })
  t.teardown(() => stores.close())
  return stores
}

function journalOf(environment: Record<string, string>, entries: string, unreadable: string[] = []) {
  const codec = createCodec(createSealer(encryptionKeys(entries)))
  return createFileJournal(environment.JOURNAL_DIR ?? '', codec, file => unreadable.push(file))
}

t.test('the drill: four steps, and nobody is told anything but their token', async t => {
  const known = Array.from({ length: 300 }, (_, index) => guidOf(index))
  const stack = await startStack(t, redis.url, {}, { ENCRYPTION_KEYS: k1 })
  const { environment } = stack
  const stores = openStores(t, environment, k1)
  await Promise.all(known.map(guid => stores.grants.write(guid, 0, knownGrant(guid, Date.now()))))
  const gateways = [await stack.gateway(), await stack.gateway()]
  const asked = (gateway: number) => gateways[gateway] as GatewayClient
  const made = await Promise.all(
    Array.from({ length: 5 }, (_, index) => asked(0).send('POST', '/v1/users', { username: `person ${index}` })),
  )
  const figures = await drillKeys(
    {
      gateways: gateways.length,
      staysUp: false,
      async useKeys(gateway, entries) {
        await asked(gateway).close()
        gateways[gateway] = await stack.gateway({ ENCRYPTION_KEYS: entries })
      },
      ask: (gateway, method, path, body) => asked(gateway).send(method, path, body),
      rotateKeys: entries => run({ ...environment, ENCRYPTION_KEYS: entries }),
    },
    {
      keys: [k1, k2],
      known,
      refreshed: made.map(({ body }) => body.guid),
      readers: 3,
      onStep: step => t.comment(step),
    },
  )
  t.strictSame(figures.failed, [])
  t.ok(figures.reads > known.length && figures.refreshes > 0, `${figures.reads} reads, ${figures.refreshes} refreshes`)
  t.match(figures.rotated, { exitCode: 0, lines: [/^Sealing with k2/, /^\d+ re-sealed with k2/, /^k1 can be removed/] })
  const stored = await raw.mgetBuffer(known.map(createKeys(environment.REDIS_PREFIX ?? '').grant))
  t.ok(stored.every(bytes => [...keysNeededBy(bytes ?? Buffer.alloc(0))].join() === 'k2'))
})

t.test('journal files are sealed anew with the rest', async t => {
  const environment = environmentOf(t)
  for (const guid of ['ada', 'bob']) await journalOf(environment, k1).put(rotationOf(guid))
  await journalOf(environment, k0).put(rotationOf('lost'))
  const again = { ...environment, ENCRYPTION_KEYS: `${k2},${k1}` }
  t.match(await run(again), {
    exitCode: 1,
    lines: [/^Seal/, /^2 re-sealed/, /^1 cannot/, /^ {2}1 sealed with k0.*journal entry/],
  })
  const unreadable: string[] = []
  const entries = await journalOf(environment, k2, unreadable).entries()
  t.strictSame(entries.map(({ guid }) => guid).sort(), ['ada', 'bob'])
  t.equal(entries[0]?.pair.refreshToken.reveal(), 'refresh')
  t.equal(unreadable.length, 1)
  const files = readdirSync(environment.JOURNAL_DIR ?? '')
  t.equal(files.length, 3, 'and no drafts are left')
  t.match(await run(again), { exitCode: 1, lines: [/^Seal/, /^0 re-sealed with k2, 2 were/] }, 'once is enough')
  const damaged = join(environment.JOURNAL_DIR ?? '', files.find(name => unreadable.includes(name)) ?? '')
  writeFileSync(damaged, '{"half":')
  t.match((await run(again)).lines[3], /^ {2}1 altered: journal entry/)
  t.equal(readFileSync(damaged, 'utf8'), '{"half":')
})

t.test('what cannot be opened is said, by key and by guid; and a key that is still named does not go', async t => {
  const environment = environmentOf(t)
  const keys = createKeys(environment.REDIS_PREFIX ?? '')
  const write = (entries: string, guid: string) =>
    openStores(t, environment, entries).grants.write(guid, 0, knownGrant(guid, Date.now()))
  await write(k1, 'ada')
  await write(k0, 'bob')
  await write(k1, 'carol')
  await raw.set(keys.grant('carol'), withAnotherStatus(await raw.getBuffer(keys.grant('carol'))))
  const { exitCode, lines } = await run({ ...environment, ENCRYPTION_KEYS: `${k2},${k1}` })
  t.equal(exitCode, 1)
  t.strictSame(lines.slice(1, 3), [
    '1 re-sealed with k2, 0 were sealed with it already.',
    '2 cannot be opened, and are left as they are:',
  ])
  t.strictSame(lines.slice(3, 5).sort(), [
    '  1 altered (sealed with k1, as it says): grant carol',
    '  1 sealed with k0, which is not in ENCRYPTION_KEYS: grant bob',
  ])
  t.strictSame(lines.slice(5), ['k1 is still needed: 1 record says so.'])
  const all = await run({ ...environment, ENCRYPTION_KEYS: `${k2},${k1},${k0}` })
  t.match(all, {
    exitCode: 1,
    lines: [/./, /^1 re-sealed/, /^1 cannot/, /altered/, /^k1 is still/, /^k0 can be removed/],
  })
})

t.test('a gateway that goes on sealing with the old key is noticed', async t => {
  const environment = environmentOf(t)
  const stores = openStores(t, environment, `${k1},${k2}`)
  const guids = Array.from({ length: 50 }, (_, index) => guidOf(index))
  await Promise.all(guids.map(guid => stores.grants.write(guid, 0, knownGrant(guid, Date.now()))))
  let isWriting = true
  const writing = Promise.all(
    guids.map(async guid => {
      while (isWriting) {
        const read = await stores.grants.read(guid)
        await stores.grants.write(guid, read?.revision ?? 0, knownGrant(guid, Date.now()))
      }
    }),
  )
  const { exitCode, lines } = await run({ ...environment, ENCRYPTION_KEYS: `${k2},${k1}` })
  isWriting = false
  await writing
  t.equal(exitCode, 1)
  t.match(lines.slice(2), [/^Not done: records were sealed with another key/, /^Put k2 first/, /^k1 (is|may) still/])
  t.match(
    await run({ ...environment, ENCRYPTION_KEYS: `${k2},${k1}` }),
    { exitCode: 0 },
    'when it has ended, all is well',
  )
})

t.test('a Redis that is away: exit 1, and what to do', async t => {
  const environment = environmentOf(t, { REDIS_URL: `redis://127.0.0.1:${await freePort()}` })
  const { exitCode, lines } = await run({ ...environment, ENCRYPTION_KEYS: k2 })
  t.equal(exitCode, 1)
  t.match(lines.slice(1), [/^0 re-sealed so far. Redis did not say/, /every key is still needed: run this again/])
})

t.test('progress: a line now and then, and on a terminal one that rewrites itself', async t => {
  for (const isTTY of [false, true]) {
    const environment = environmentOf(t, { ENCRYPTION_KEYS: `${k2},${k1}` })
    const stores = openStores(t, environment, k1)
    for (const guid of ['ada', 'bob']) await stores.grants.write(guid, 0, knownGrant(guid, Date.now()))
    const written: string[] = []
    let nowMs = 0
    const now = () => {
      nowMs += 10_000
      return nowMs
    }
    await rotateKeys({ isTTY, write: text => written.push(text) }, environment, now)
    const lines = written.filter(text => text.includes('looked at'))
    t.ok(lines.length > 1)
    const last = 'walk 2: 2 looked at, 2 re-sealed'
    t.equal(lines.at(-1), isTTY ? `\r\x1b[K${last}` : `${last}\n`)
    t.equal(written.includes('\r\x1b[K'), isTTY, 'and is wiped away in the end')
    t.match(written.join(''), /\n?k1 can be removed from ENCRYPTION_KEYS.\n$/)
  }
})

t.test('settings that are missing are named', async t => {
  await t.rejects(run({}), { name: 'ConfigError', message: /ENCRYPTION_KEYS is missing/ })
})

t.test('one key, and nothing there', async t => {
  const environment = environmentOf(t, { ENCRYPTION_KEYS: k1 })
  const lines = [
    'Sealing with k1, the first of ENCRYPTION_KEYS (k1).',
    '0 re-sealed with k1, 0 were sealed with it already.',
  ]
  t.strictSame(await run(environment), { exitCode: 0, lines })
})
