import t from 'tap'
import { keepHead } from '../../src/audit/head.ts'
import type { Mark } from '../../src/audit/line.ts'
import { Secret } from '../../src/ports/secret.ts'
import { createRedisAuditHeads } from '../../src/store/redis/audit-heads.ts'
import { closeRedis, connectRedis } from '../../src/store/redis/connection.ts'
import { ManualClock } from '../support/clock.ts'
import { freePort, startRedis } from '../support/redis.ts'

const port = await freePort()
const redis = await startRedis({ port })
t.teardown(() => redis.stop())
const client = connectRedis({ kind: 'single', url: new Secret(redis.url) })
client.on('error', () => {})
t.teardown(() => closeRedis(client))
const KEY = 'htgw:audit:heads'
const heads = createRedisAuditHeads(client, KEY)
const head = (stream: string, seq: number, at: string) => ({ stream, seq, mac: `mac-${seq}`, at })

t.test('the last head of each stream, until it is forgotten', async t => {
  t.strictSame(await heads.all(), [])
  await heads.put(head('old', 9, '2025-01-01T00:00:00.000Z'))
  await heads.put(head('one', 2, '2026-11-23T12:00:00.000Z'))
  await heads.put(head('one', 3, '2026-11-23T12:00:01.000Z'))
  t.strictSame(
    [...(await heads.all())].sort((a, b) => a.stream.localeCompare(b.stream)),
    [head('old', 9, '2025-01-01T00:00:00.000Z'), head('one', 3, '2026-11-23T12:00:01.000Z')],
  )
  t.ok((await client.ttl(KEY)) > 399 * 86_400)
  await heads.forgetBefore('2026-01-01T00:00:00.000Z')
  await heads.forgetBefore('2026-01-01T00:00:00.000Z')
  t.strictSame(
    (await heads.all()).map(({ stream }) => stream),
    ['one'],
  )
  await client.hset(KEY, 'nonsense', '{', 'empty', '{}')
  t.equal((await heads.all()).length, 1, 'what no gateway has written is passed over')
})

t.test('once a second at most, only what is new, and a last time at the end', async t => {
  const clock = new ManualClock()
  let last: Mark | null = null
  let puts = 0
  const counted = {
    ...heads,
    put: async (next: Parameters<typeof heads.put>[0]) => {
      puts += 1
      await heads.put(next)
    },
  }
  const keeper = keepHead({ audit: { head: () => last }, heads: counted, clock })
  const seqInStore = async () => (await heads.all()).find(({ stream }) => stream === 'kept')?.seq
  const until = async (done: () => boolean) => {
    while (!done()) await clock.advance(100)
  }
  await clock.advance(5_000)
  t.equal(puts, 0, 'nothing has been written yet')
  last = { stream: 'kept', seq: 2, mac: 'm' }
  await until(() => puts === 1)
  while ((await seqInStore()) !== 2) await clock.advance(0)
  await clock.advance(5_000)
  t.equal(puts, 1, 'nothing is new')

  await redis.kill('SIGKILL')
  last = { stream: 'kept', seq: 7, mac: 'm' }
  await until(() => puts >= 3)
  const back = await startRedis({ port })
  t.teardown(() => back.stop())
  while ((await seqInStore().catch(() => null)) !== 7) await clock.advance(1_000)

  last = { stream: 'kept', seq: 9, mac: 'm' }
  await keeper.stop()
  t.equal(await seqInStore(), 9)
})
