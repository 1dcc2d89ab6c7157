/** The password grant (RFC 6749, section 4.3), as Doorkeeper 5.5 answers it: off unless the sandbox is told to offer it. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type SandboxDriver, startDriven, tokensOf } from '../../sandbox/driver.ts'

async function start(t: Test, options: Parameters<typeof startDriven>[0] = {}): Promise<SandboxDriver> {
  const { driver, close } = await startDriven({ passwordGrant: true, ...options })
  t.teardown(close)
  return driver
}

const WRONG = { password: 'another password' }

for (const rotation of ['instant', 'on_use'] as const) {
  t.test(`brings a new pair, and the older ones stay alive (${rotation})`, async t => {
    const provider = await start(t, { rotation })
    const first = tokensOf(await provider.createUser('internal-42'))
    const answer = await provider.authenticate('internal-42')
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('cache-control'), 'no-store')
    t.match(answer.body, {
      access_token: /^[0-9a-f]{64}$/,
      refresh_token: /^[0-9a-f]{64}$/,
      token_type: 'bearer',
      expires_in: 7200,
      scope: 'member_public',
      guid: first.guid,
    })
    const second = tokensOf(answer)
    t.not(second.refresh_token, first.refresh_token)
    t.equal((await provider.me(second.access_token)).status, 200)
    t.equal((await provider.me(first.access_token)).status, 200)
    t.equal(await provider.livePairs(first.guid), 2)
    t.equal((await provider.refresh(first.refresh_token)).status, 200)
    t.equal((await provider.refresh(second.refresh_token)).status, 200)
    t.match((await provider.counts()).totals, { password: { ok: 1 } })
  })
}

t.test('brings back a person whose pairs are all dead', async t => {
  const provider = await start(t)
  const { guid, refresh_token } = tokensOf(await provider.createUser('42'))
  await provider.send(`/sandbox/revoke-user/${guid}`, { method: 'POST' })
  t.match((await provider.refresh(refresh_token)).body, { error: 'invalid_grant' })
  t.equal(tokensOf(await provider.authenticate('42')).guid, guid)
  t.equal(await provider.livePairs(guid), 1)
})

t.test('answers a wrong password, an unknown user and a person without a password alike', async t => {
  const provider = await start(t)
  await provider.createUser('42')
  await provider.grant({ username: 'ada' })
  const refused = [
    await provider.authenticate('42', WRONG),
    await provider.authenticate('unknown'),
    await provider.authenticate('ada'),
    await provider.authenticate('42', { password: undefined }),
    await provider.authenticate('42', { username: undefined }),
  ]
  t.match(refused[0], { status: 400, body: { error: 'invalid_grant', error_description: /is invalid, expired/ } })
  for (const { status, text } of refused) t.strictSame([status, text], [400, refused[0]?.text])
  t.strictSame((await provider.counts()).totals.password, { invalid_grant: 5 })
  t.equal((await provider.authenticate('42')).status, 200)
})

t.test('looks at the flow first, then at the client, then at the person, then at the scope', async t => {
  const provider = await start(t)
  await provider.createUser('42')
  const wrongClient = { authorization: provider.basicAuth('wrong') }
  const odd = { scope: 'everything' }
  t.match(await provider.authenticate('unknown', {}, wrongClient), { status: 401, body: { error: 'invalid_client' } })
  t.match(await provider.authenticate('42', {}, { authorization: '' }), { status: 401 })
  t.match((await provider.authenticate('42', { ...WRONG, ...odd })).body, { error: 'invalid_grant' })
  t.match(await provider.authenticate('42', odd), { status: 400, body: { error: 'invalid_scope' } })
  t.equal(tokensOf(await provider.authenticate('42', { scope: 'profile_read' })).scope, 'profile_read')

  await provider.sendJson('/sandbox/settings', { password_grant: false }, {}, 'PUT')
  const off = { status: 400, body: { error: 'unsupported_grant_type' } }
  t.match(await provider.authenticate('42'), off)
  t.match(await provider.authenticate('unknown', odd, wrongClient), off)
})

t.test('is off unless it is asked for, and then 401 where the provider is an old one', async t => {
  const provider = await start(t, { passwordGrant: false, legacy: true })
  t.match(await provider.authenticate('42'), { status: 401, body: { error: 'unsupported_grant_type' } })
  const changed = await provider.sendJson('/sandbox/settings', { password_grant: true }, {}, 'PUT')
  t.match(changed.body, { password_grant: true })
  t.match(await provider.authenticate('42'), { status: 401, body: { error: 'invalid_grant' } })
  await provider.createUser('42')
  t.equal((await provider.authenticate('42')).status, 200)
})

t.test('leaves the guid out where code exchanges do', async t => {
  const provider = await start(t, { guidInExchange: false })
  await provider.createUser('42')
  const { status, body } = await provider.authenticate('42')
  t.equal(status, 200)
  t.notOk('guid' in body)
})

t.test('takes faults of its own, for one person', async t => {
  const provider = await start(t)
  const { guid } = tokensOf(await provider.createUser('42'))
  await provider.createUser('43')
  await provider.addFault({ operation: 'password', kind: 'status_after', status: 503, guid, times: 1 })
  t.equal((await provider.authenticate('43')).status, 200)
  t.equal((await provider.authenticate('42')).status, 503)
  t.equal(await provider.livePairs(guid), 2, 'done, and the answer denies it')
  t.equal((await provider.authenticate('42')).status, 200)
})

t.test('passwords outlive a restart as a salted hash, and old files are still read', async t => {
  const dataFile = join(t.testdir(), 'sandbox.jsonl')
  const app = { appId: 'an app', appSecret: 'its secret', dataFile }
  const before = await start(t, app)
  const { guid } = tokensOf(await before.createUser('42'))
  tokensOf(await before.createUser('43'))
  const text = readFileSync(dataFile, 'utf8')
  t.notMatch(text, 'a password')
  const hashes = text.match(/"passwordHash":"[0-9a-f]{32}:[0-9a-f]{64}"/g) ?? []
  t.equal(new Set(hashes).size, 2, 'the same password has another hash each time')

  const after = await start(t, app)
  const pair = tokensOf(await after.authenticate('42'))
  t.equal(pair.guid, guid)
  t.match((await after.authenticate('42', WRONG)).body, { error: 'invalid_grant' })
  t.strictSame((await after.me(pair.access_token)).body, { guid, username: '42' }, 'nothing of it is shown')

  writeFileSync(dataFile, text.replaceAll(/,"passwordHash":"[^"]*"/g, ''))
  const old = await start(t, app)
  t.match(await old.authenticate('42'), { status: 400, body: { error: 'invalid_grant' } })
  t.equal((await old.createUser('42')).status, 422, 'the person is known')
  await old.createUser('44')
  t.equal((await old.authenticate('44')).status, 200)
})
