/** What is kept in memory of grants, and when it goes. */
import t from 'tap'
import type { Grant } from '../../src/ports/records.ts'
import { type GrantStore, type Stored, StoreUnavailable } from '../../src/ports/store.ts'
import { createMemoryStores } from '../../src/store/memory.ts'
import { createSightings, SIGHTING_LASTS_MS } from '../../src/store/sightings.ts'
import { grantOf } from '../contract/records.ts'
import { ManualClock } from '../support/clock.ts'
import { pending } from '../support/pending.ts'

const LIFE_MS = 7_200_000

async function start(most = 10) {
  const clock = new ManualClock()
  const { grants: raw } = createMemoryStores(clock)
  const sightings = createSightings(clock, most)
  sightings.listening()
  const grants = sightings.watching(raw)
  const grant = (guid: string, more: Partial<Grant> = {}) =>
    grantOf(guid, clock.now(), { attempt: null, accessTokenExpiresAtMs: clock.now() + LIFE_MS, ...more })
  async function put(guid: string, more: Partial<Grant> = {}): Promise<void> {
    const stands = await raw.read(guid)
    await raw.write(guid, stands?.revision ?? 0, grant(guid, more))
  }
  await put('ada')
  return { clock, raw, sightings, grants, grant, put }
}

t.test('what was read is current until it is changed, by whoever it be', async t => {
  const { sightings, grants, grant, put } = await start()
  t.equal(sightings.current('ada'), undefined, 'not before it is read')
  await grants.read('ada')
  t.match(sightings.current('ada'), { guid: 'ada' })
  await put('ada', { version: 9 })
  sightings.changed('ada')
  t.equal(sightings.current('ada'), undefined)
  t.equal(sightings.last('ada'), undefined, 'nor is it answered when the store is away')
  const stored = await grants.read('ada')
  t.match(sightings.current('ada'), { version: 9 })
  await grants.write('ada', stored?.revision ?? 0, grant('ada', { version: 10 }))
  t.equal(sightings.current('ada'), undefined, 'our own writes count as well')
  await grants.read('nobody')
  t.equal(sightings.current('nobody'), undefined, 'that nobody is there is not kept')
})

t.test('it is current for a while at most, whatever comes; and kept for when the store is away', async t => {
  const { clock, sightings, grants } = await start()
  await grants.read('ada')
  clock.jump(SIGHTING_LASTS_MS - 1)
  t.ok(sightings.current('ada'))
  clock.jump(1)
  t.equal(sightings.current('ada'), undefined)
  t.match(sightings.last('ada'), { guid: 'ada' })
  clock.jump(-SIGHTING_LASTS_MS - 1)
  t.equal(sightings.current('ada'), undefined, 'a clock that was set back makes nothing younger')
})

t.test('nothing that has expired is answered, nor counted', async t => {
  const { clock, sightings, grants, put } = await start()
  await put('bob', { accessTokenExpiresAtMs: clock.now() + 1_000 })
  await grants.read('ada')
  await grants.read('bob')
  t.equal(sightings.count(), 2)
  clock.jump(999)
  t.ok(sightings.current('bob'))
  clock.jump(1)
  t.strictSame([sightings.count(), sightings.current('bob'), sightings.last('bob')], [1, undefined, undefined])
})

t.test('a word that comes while it is read: what was read may be what stood before', async t => {
  const { raw, sightings } = await start()
  const held = pending<Stored<Grant> | null>()
  const slow: GrantStore = { ...raw, read: () => held.promise }
  const grants = sightings.watching(slow)
  const [first, second] = [grants.read('ada'), grants.read('ada')]
  sightings.changed('ada')
  held.resolve(await raw.read('ada'))
  t.match(await first, { record: { guid: 'ada' } }, 'who asks is answered')
  await second
  t.equal(sightings.current('ada'), undefined)
  await grants.read('ada')
  t.ok(sightings.current('ada'), 'and the next one is kept again')
})

t.test(
  'many that are read at once are kept one by one: a word about one of them says nothing of the others',
  async t => {
    const { raw, sightings, put } = await start()
    await put('bob')
    const held = pending<void>()
    const late = async (guid: string) => {
      await held.promise
      if (guid === 'carol') throw new StoreUnavailable('her shard is away')
      return await raw.read(guid)
    }
    const grants = sightings.watching({ ...raw, readMany: guids => guids.map(late) })
    const asked = Promise.allSettled(grants.readMany(['ada', 'bob', 'nobody', 'carol']))
    sightings.changed('ada')
    held.resolve()
    t.match(await asked, [
      { value: { record: { guid: 'ada' } } },
      { value: { record: { guid: 'bob' } } },
      { value: null },
      { reason: { name: 'StoreUnavailable' } },
    ])
    t.equal(sightings.current('ada'), undefined, 'what was read may be what stood before')
    t.match(sightings.current('bob'), { guid: 'bob' })
    await Promise.all(grants.readMany(['ada']))
    t.ok(sightings.current('ada'), 'and the next one is kept again')
  },
)

t.test('while words may get lost nothing is current, and what was seen until then is forgotten after that', async t => {
  const { clock, raw, sightings, grants } = await start()
  await grants.read('ada')
  sightings.deaf()
  t.equal(sightings.current('ada'), undefined)
  t.match(sightings.last('ada'), { guid: 'ada' }, 'the store is away, perhaps')
  await grants.read('ada')
  t.equal(sightings.last('ada'), undefined, 'it is not, and what is read now is kept up to date by nobody')
  const held = pending<Stored<Grant> | null>()
  const late = sightings.watching({ ...raw, read: () => held.promise }).read('ada')
  clock.jump(5)
  sightings.listening()
  t.strictSame([sightings.current('ada'), sightings.last('ada')], [undefined, undefined])
  held.resolve(await raw.read('ada'))
  await late
  t.equal(sightings.current('ada'), undefined, 'nor what was asked for before')
  await grants.read('ada')
  t.ok(sightings.current('ada'))
})

t.test('grants that somebody is at work on, or that are not to be answered, are not kept', async t => {
  const { clock, sightings, grants, put } = await start()
  const attempt = { owner: 'a', startedAtMs: clock.now(), leaseUntilMs: clock.now() + 1, refreshTokenFingerprint: 'x' }
  for (const more of [{ attempt }, { status: 'revoking' }, { status: 'reauthorization_required' }] as const) {
    await put('ada', more)
    await grants.read('ada')
    t.equal(sightings.last('ada'), undefined, Object.values(more).join())
  }
  await put('ada')
  await grants.read('ada')
  t.ok(sightings.last('ada'))
  await put('ada', { status: 'reauthorization_required' })
  await grants.read('ada')
  t.equal(sightings.last('ada'), undefined, 'whose word got lost: a read that finds it so forgets what was seen before')
  await put('ada', { status: 'in_doubt' })
  await grants.read('ada')
  t.ok(sightings.current('ada'), 'a grant in doubt has a token that lives')
})

t.test('there is a bound, and 0 keeps none', async t => {
  const { sightings, grants, put } = await start(2)
  for (const guid of ['bob', 'carol']) await put(guid)
  for (const guid of ['ada', 'bob', 'carol']) await grants.read(guid)
  t.strictSame([sightings.count(), sightings.last('ada')], [2, undefined], 'the one that was read longest ago went')
  const none = await start(0)
  await none.grants.read('ada')
  none.sightings.changed('ada')
  t.strictSame([none.sightings.count(), none.sightings.current('ada')], [0, undefined])
})
