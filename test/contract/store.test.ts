/** What every store has to do, said once and asked of each of them. */
import t, { type Test } from 'tap'
import type { Grant } from '../../src/ports/records.ts'
import type { GrantStore, Stores } from '../../src/ports/store.ts'
import { createMemoryStores } from '../../src/store/memory.ts'
import { ManualClock } from '../support/clock.ts'
import { startRedis } from '../support/redis.ts'
import { inTheEnd } from './patience.ts'
import { authorizationOf, exchangeOf, grantOf, guidOf, provisioningOf, told } from './records.ts'
import { openRedisStores } from './redis-stores.ts'

type Open = (clock: ManualClock) => { first: Stores; second: Stores; close(): Promise<void> }

const MINUTE_MS = 60_000
const OUTCOME_LIFE_MS = 10 * MINUTE_MS
const YEAR_MS = 365 * 24 * 60 * MINUTE_MS

async function create(store: GrantStore, grant: Grant): Promise<number> {
  const first = await store.write(grant.guid, 0, grant)
  const written = !first.ok && first.current?.record === null ? await again(first.current.revision) : first
  if (!written.ok) throw new Error('there is already such a grant')
  return written.revision

  /** Where one was removed lately, the next goes on from its revision. */
  function again(revision: number) {
    return store.write(grant.guid, revision, grant)
  }
}

/** All pages of a listing, as guids. */
async function listed(store: GrantStore, limit: number, status?: Grant['status']): Promise<string[][]> {
  const pages: string[][] = []
  let cursor: string | null = null
  do {
    const page = await store.list({
      limit,
      ...(status === undefined ? {} : { status }),
      ...(cursor === null ? {} : { cursor }),
    })
    if (page === null) throw new Error('a cursor that was given out is not known')
    pages.push(page.grants.map(grant => grant.guid))
    cursor = page.nextCursor
  } while (cursor !== null)
  return pages
}

async function guidsDue(store: GrantStore, nowMs: number, untilMs: number, limit: number): Promise<string[]> {
  return (await store.claimDue({ nowMs, untilMs, limit })).map(stored => stored.record.guid)
}

function storeSuite(t: Test, open: Open): void {
  function test(name: string, body: (t: Test, first: Stores, clock: ManualClock, second: Stores) => Promise<void>) {
    t.test(name, async t => {
      const clock = new ManualClock()
      const { first, second, close } = open(clock)
      t.teardown(close)
      // A busy machine takes longer to connect than a call waits.
      for (const stores of [first, second]) await inTheEnd(t, () => stores.ping())
      await body(t, first, clock, second)
    })
  }

  test('where nothing stands, nothing is read', async (t, stores) => {
    t.equal(await stores.grants.read(guidOf('ada')), null)
    t.equal(await stores.authorizations.read('state'), null)
    t.equal(await stores.exchanges.read('code'), null)
    t.equal(await stores.provisionings.read('ada'), null)
    await t.resolves(stores.ping())
  })

  test('what is written comes back equal, secrets included', async (t, stores, clock, second) => {
    const expiresAtMs = clock.now() + MINUTE_MS
    const guid = guidOf('ada')
    const records = [
      [stores.grants, second.grants, guid, grantOf(guid, clock.now())],
      // A mark that many who read text take away from its beginning.
      [stores.grants, second.grants, 'bob', grantOf('bob', clock.now(), { username: '\ufeff'.padEnd(255, 'ü') })],
      [stores.authorizations, second.authorizations, 'st-1', authorizationOf('st-1', expiresAtMs)],
      [stores.exchanges, second.exchanges, 'code-1', exchangeOf(expiresAtMs)],
      [stores.provisionings, second.provisionings, 'ada@example.com', provisioningOf(clock.now())],
      [stores.provisionings, second.provisionings, 'bob/ü', { status: 'answered', grant: grantOf(guid, clock.now()) }],
    ] as unknown as [GrantStore, GrantStore, string, Grant][]
    for (const [store, reader, key, record] of records) {
      const written = await store.write(key, 0, record)
      t.equal(written.ok, true)
      const read = await reader.read(key)
      t.strictSame(told(read?.record), told(record), `${key} reads as written`)
      t.equal(read?.revision, written.ok && written.revision)
    }
  })

  test('many are read at once, each as it would be alone, in the order asked', async (t, stores, clock, second) => {
    t.strictSame(stores.grants.readMany([]), [])
    const guids = Array.from({ length: 200 }, (_, index) => guidOf(index))
    await Promise.all(
      guids.map((guid, index) => create(stores.grants, grantOf(guid, clock.now(), { version: index + 1 }))),
    )
    const gone = guids[7] as string
    const { revision = 0 } = (await stores.grants.read(gone)) ?? {}
    await stores.grants.write(gone, revision, null)
    const asked = [guidOf('nobody'), ...guids.toReversed(), guids[3] as string]
    const many = await Promise.all(second.grants.readMany(asked))
    t.strictSame(
      many.map(stored => stored?.record.guid ?? null),
      asked.map((guid, index) => (index === 0 || guid === gone ? null : guid)),
    )
    const alone = await Promise.all(asked.map(guid => second.grants.read(guid)))
    t.strictSame(told(many), told(alone))
  })

  test('a write needs the revision that stands', async (t, stores, clock) => {
    const guid = guidOf('ada')
    const first = await create(stores.grants, grantOf(guid, clock.now()))
    const second = await stores.grants.write(guid, first, grantOf(guid, clock.now(), { version: 2 }))
    if (!second.ok) throw new Error('nobody else has written')
    t.ok(first > 0 && second.revision > first, 'revisions grow')
    for (const stale of [0, first, second.revision + 1]) {
      const refused = await stores.grants.write(guid, stale, grantOf(guid, clock.now(), { version: 9 }))
      t.equal(refused.ok, false)
      if (refused.ok) continue
      t.equal(refused.current?.revision, second.revision, 'the loser is told the revision that stands')
      t.equal(refused.current?.record?.version, 2, 'and the record')
      t.strictSame(told(refused.current?.record), told((await stores.grants.read(guid))?.record))
    }
    const nowhere = await stores.grants.write(guidOf('bob'), first, grantOf(guidOf('bob'), clock.now()))
    t.strictSame(nowhere, { ok: false, current: null }, 'an update of nothing makes nothing')
    t.equal(await stores.grants.read(guidOf('bob')), null)
  })

  test('a removal needs it too; what is made again has another revision', async (t, stores, clock) => {
    const guid = guidOf('ada')
    const first = await create(stores.grants, grantOf(guid, clock.now()))
    t.equal((await stores.grants.write(guid, first - 1, null)).ok, false)
    t.equal((await stores.grants.read(guid))?.revision, first)
    t.equal((await stores.grants.write(guid, first, null)).ok, true)
    t.equal(await stores.grants.read(guid), null)
    for (const ifRevision of [0, first]) {
      const late = await stores.grants.write(guid, ifRevision, grantOf(guid, clock.now(), { version: 7 }))
      t.equal(late.ok, false, 'a write that was under way when it was removed does not bring it back')
      if (!late.ok) t.match(late.current, { record: null }, 'but is told from where to go on')
    }
    const again = await create(stores.grants, grantOf(guid, clock.now()))
    t.ok(again > first)
    const late = await stores.grants.write(guid, first, grantOf(guid, clock.now(), { version: 7 }))
    t.equal(late.ok, false, 'a writer who slept in between does not overwrite it')
    t.equal((await stores.grants.write(guid, again, null)).ok, true)
    t.equal((await stores.grants.write(guidOf('bob'), 0, null)).ok, true, 'removing nothing succeeds')
  })

  test('of fifty writers of one key, one wins', async (t, stores, clock, second) => {
    const guid = guidOf('ada')
    for (const ifRevision of [0, await create(stores.grants, grantOf(guidOf('bob'), clock.now()))]) {
      const key = ifRevision === 0 ? guid : guidOf('bob')
      const writes = Array.from({ length: 50 }, (_, index) =>
        [stores, second][index % 2]?.grants.write(key, ifRevision, grantOf(key, clock.now(), { version: 100 + index })),
      )
      const results = await Promise.all(writes)
      const winners = results.flatMap((written, index) => (written?.ok ? [100 + index] : []))
      t.equal(winners.length, 1)
      t.strictSame([(await stores.grants.read(key))?.record.version], winners, 'and what it wrote stands')
      const told = results.flatMap(written => (written?.ok === false ? [written.current?.record?.version] : []))
      t.strictSame([...new Set(told)], winners, 'and the others are told so')
    }
  })

  test('due grants are taken soonest first, up to the limit, and put off', async (t, stores, clock) => {
    const now = clock.now()
    const guids = Array.from({ length: 20 }, (_, index) => guidOf(index))
    const shuffled = guids
      .map((guid, index) => ({ guid, dueAtMs: now - 1_000 + index }))
      .sort((a, b) => (a.guid < b.guid ? -1 : 1))
    for (const { guid, dueAtMs } of shuffled) await create(stores.grants, grantOf(guid, now, { dueAtMs }))
    await create(stores.grants, grantOf(guidOf('later'), now, { dueAtMs: now + 1 }))
    await create(stores.grants, grantOf(guidOf('never'), now, { dueAtMs: null }))
    t.strictSame(await guidsDue(stores.grants, now, now + 500, 0), [])
    for (const guid of guids.slice(0, 4)) t.strictSame(await guidsDue(stores.grants, now, now + 500, 1), [guid])
    t.strictSame((await guidsDue(stores.grants, now, now + 500, 10)).sort(), guids.slice(4, 14).sort())
    t.strictSame((await guidsDue(stores.grants, now, now + 500, 100)).sort(), guids.slice(14).sort())
    t.strictSame(await guidsDue(stores.grants, now, now + 500, 100), [], 'all are put off')
    t.strictSame(await guidsDue(stores.grants, now + 1, now + 500, 100), [guidOf('later')], 'due at its very moment')
    t.strictSame(await guidsDue(stores.grants, now + 499, now + 900, 100), [])
    const again = await guidsDue(stores.grants, now + 500, now + 900, 100)
    t.strictSame(again.sort(), [...guids, guidOf('later')].sort(), 'who took them and died hands them on')
    t.strictSame(
      await guidsDue(stores.grants, now + 10 * YEAR_MS, now + 11 * YEAR_MS, 100).then(due =>
        due.includes(guidOf('never')),
      ),
      false,
    )
  })

  test('a claim brings the record as it stands, and leaves it', async (t, stores, clock) => {
    const guid = guidOf('ada')
    const revision = await create(stores.grants, grantOf(guid, clock.now(), { dueAtMs: clock.now() }))
    const claimed = await stores.grants.claimDue({ nowMs: clock.now(), untilMs: clock.now() + 500, limit: 5 })
    t.strictSame(told(claimed), told([await stores.grants.read(guid)]))
    t.equal((await stores.grants.read(guid))?.revision, revision)
    t.equal((await stores.grants.read(guid))?.record.dueAtMs, clock.now())
  })

  test('two replicas never take the same grant', async (t, stores, clock, second) => {
    const now = clock.now()
    const guids = Array.from({ length: 60 }, (_, index) => guidOf(index))
    await Promise.all(guids.map((guid, index) => create(stores.grants, grantOf(guid, now, { dueAtMs: now - index }))))
    const taken: string[] = []
    while (taken.length < guids.length) {
      const claims = [stores, second, stores, second].map(each => guidsDue(each.grants, now, now + 500, 7))
      const some = (await Promise.all(claims)).flat()
      if (some.length === 0) break
      taken.push(...some)
    }
    t.strictSame(taken.sort(), guids.sort())
  })

  test('a write moves the grant in the schedule, and a removal takes it out', async (t, stores, clock) => {
    const now = clock.now()
    const guid = guidOf('ada')
    let revision = await create(stores.grants, grantOf(guid, now, { dueAtMs: now + 1_000 }))
    async function write(next: Grant | null): Promise<void> {
      const written = await stores.grants.write(guid, revision, next)
      if (!written.ok) throw new Error('nobody else has written')
      revision = written.revision
    }
    t.strictSame(await guidsDue(stores.grants, now, now + 500, 5), [])
    await write(grantOf(guid, now, { dueAtMs: now - 1 }))
    t.strictSame(await guidsDue(stores.grants, now, now + 500, 5), [guid], 'sooner')
    await write(grantOf(guid, now, { dueAtMs: now }))
    t.strictSame(await guidsDue(stores.grants, now, now + 500, 5), [guid], 'sooner than the claim put it off to')
    await write(grantOf(guid, now, { dueAtMs: now + 2_000 }))
    t.strictSame(await guidsDue(stores.grants, now + 1_999, now + 9_000, 5), [], 'later than the claim put it off to')
    await write(grantOf(guid, now, { dueAtMs: null }))
    t.strictSame(await guidsDue(stores.grants, now + YEAR_MS, now + YEAR_MS, 5), [], 'never')
    await write(grantOf(guid, now, { dueAtMs: now }))
    const refused = await stores.grants.write(guid, revision - 1, grantOf(guid, now, { dueAtMs: null }))
    t.equal(refused.ok, false)
    await stores.grants.write(guid, revision - 1, null)
    t.strictSame(await guidsDue(stores.grants, now, now, 5), [guid], 'a refused write moves nothing')
    await write(null)
    t.strictSame(await guidsDue(stores.grants, now + YEAR_MS, now + YEAR_MS, 5), [])
    t.strictSame(await listed(stores.grants, 10), [[]])
  })

  test('a listing shows every grant, whatever the page size', async (t, stores, clock) => {
    t.strictSame(await stores.grants.list({ limit: 5 }), { grants: [], nextCursor: null })
    const guids = Array.from({ length: 300 }, (_, index) => guidOf(index)).sort()
    await Promise.all(
      guids.map((guid, index) => {
        const isEnded = index % 10 === 5
        const status = index % 10 === 0 ? 'in_doubt' : isEnded ? 'reauthorization_required' : 'active'
        const dueAtMs = isEnded || index % 3 === 0 ? null : index
        return create(stores.grants, grantOf(guid, clock.now(), { status, dueAtMs }))
      }),
    )
    const [inDoubt, ended] = [0, 5].map(rest => guids.filter((_, index) => index % 10 === rest))
    for (const limit of [1, 7, 300, 500]) {
      const pages = await listed(stores.grants, limit)
      t.strictSame(pages.flat().sort(), guids, `each grant once, with pages of ${limit}`)
      t.ok(
        pages.every(page => page.length <= limit),
        'no page is longer than asked for',
      )
      const some = await listed(stores.grants, limit, 'in_doubt')
      t.strictSame(some.flat().sort(), inDoubt, `those of one status, with pages of ${limit}`)
      t.strictSame((await listed(stores.grants, limit, 'reauthorization_required')).flat().sort(), ended)
      t.strictSame((await listed(stores.grants, limit, 'revoking')).flat(), [])
    }
  })

  test('a cursor from elsewhere is not taken', async (t, stores) => {
    const texts = ['nothing', '64 0 ', '1 x y', '-1 0 a', 'before:abc', '{"after":1}']
    for (const cursor of ['', 'x', '%%%', ...texts.map(text => Buffer.from(text).toString('base64url'))]) {
      t.equal(await stores.grants.list({ limit: 5, cursor }), null, JSON.stringify(cursor))
    }
  })

  test('authorizations and exchanges expire by the clock; provisionings and grants stay', async (t, stores, clock) => {
    const expiresAtMs = clock.now() + MINUTE_MS
    const guid = guidOf('ada')
    await stores.authorizations.write('st-1', 0, authorizationOf('st-1', expiresAtMs))
    await stores.exchanges.write('code-1', 0, exchangeOf(expiresAtMs))
    await stores.provisionings.write('ada', 0, provisioningOf(clock.now()))
    await create(stores.grants, grantOf(guid, clock.now()))
    await clock.advance(MINUTE_MS - 1)
    t.ok(await stores.exchanges.read('code-1'))
    await clock.advance(1)
    t.equal(await stores.exchanges.read('code-1'), null)
    t.ok(await stores.authorizations.read('st-1'), 'its outcome can be read for a while')
    await clock.advance(OUTCOME_LIFE_MS - 1)
    t.ok(await stores.authorizations.read('st-1'))
    await clock.advance(1)
    t.equal(await stores.authorizations.read('st-1'), null)
    await clock.advance(10 * YEAR_MS)
    t.ok(await stores.provisionings.read('ada'))
    t.ok(await stores.grants.read(guid))
  })

  test('other records are compared and removed as grants are', async (t, stores, clock) => {
    const key = 'st-2'
    const record = authorizationOf(key, clock.now() + MINUTE_MS)
    const written = await stores.authorizations.write(key, 0, record)
    if (!written.ok) throw new Error('nobody else has written')
    const refused = await stores.authorizations.write(key, 0, { ...record, status: 'denied' })
    t.strictSame(told(refused), told({ ok: false, current: { revision: written.revision, record } }))
    const next = await stores.authorizations.write(key, written.revision, { ...record, status: 'denied' })
    if (!next.ok) throw new Error('nobody else has written')
    t.equal((await stores.authorizations.read(key))?.record.status, 'denied')
    t.equal((await stores.authorizations.write(key, written.revision, null)).ok, false)
    t.equal((await stores.authorizations.write(key, next.revision, null)).ok, true)
    t.equal(await stores.authorizations.read(key), null)
  })
}

t.test('memory', async t => {
  storeSuite(t, clock => {
    const stores = createMemoryStores(clock)
    return { first: stores, second: stores, close: () => stores.close() }
  })
})

for (const cluster of [false, true]) {
  t.test(cluster ? 'Redis Cluster' : 'Redis', async t => {
    const server = await startRedis({ cluster })
    t.teardown(() => server.stop())
    let opened = 0
    storeSuite(t, clock => {
      opened += 1
      const prefix = `t${opened}`
      const [first, second] = [openRedisStores(server, clock, { prefix }), openRedisStores(server, clock, { prefix })]
      return {
        first,
        second,
        async close() {
          await Promise.all([first.close(), second.close()])
        },
      }
    })
  })
}
