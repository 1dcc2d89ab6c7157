import t, { type Test } from 'tap'
import { Client } from 'undici'
import { type SandboxDriver, startDriven, tokensOf } from '../../sandbox/driver.ts'

async function start(t: Test, options: Parameters<typeof startDriven>[0] = {}): Promise<SandboxDriver> {
  const { driver, close } = await startDriven(options)
  t.teardown(close)
  return driver
}

const JSON_ACCEPTED = { accept: 'application/json' }

t.test('faults', async t => {
  t.test('status_before: nothing is done, and a page or JSON says that it failed', async t => {
    const provider = await start(t)
    const code = await provider.code()
    await provider.addFault({ operation: 'exchange', kind: 'status_before', times: 2 })
    const page = await provider.exchange(code)
    t.match(page, { status: 500, text: /<h1>Internal Server Error<\/h1>/ })
    t.match(page.headers.get('content-type'), 'text/html')
    const json = await provider.exchange(code, {}, JSON_ACCEPTED)
    t.match(json, { status: 500, body: { status: 500, error: 'Internal Server Error' } })
    t.equal((await provider.exchange(code)).status, 200)
  })

  t.test('status_after: it is done, and the answer denies it', async t => {
    const provider = await start(t)
    const code = await provider.code()
    await provider.addFault({ operation: 'exchange', kind: 'status_after', status: 503, times: 1 })
    t.match(await provider.exchange(code, {}, JSON_ACCEPTED), { status: 503, body: { error: 'Service Unavailable' } })
    t.match((await provider.exchange(code)).body, { error: 'invalid_grant' })
  })

  t.test('a status can come with a body of its own, typed by its looks', async t => {
    const provider = await start(t)
    const body = '{"error":"invalid_grant"}'
    await provider.addFault({ operation: 'refresh', kind: 'status_before', status: 400, body, times: 1 })
    const json = await provider.refresh('any')
    t.match(json, { status: 400, text: body })
    t.match(json.headers.get('content-type'), 'application/json')
    await provider.addFault({ operation: 'refresh', kind: 'status_before', status: 502, body: '', times: 1 })
    t.match(await provider.refresh('any'), { status: 502, text: '' })
  })

  t.test('drop_before and drop_after: the connection breaks, with nothing and with everything done', async t => {
    const provider = await start(t)
    const code = await provider.code()
    await provider.addFault({ operation: 'exchange', kind: 'drop_before', times: 1 })
    await t.rejects(provider.exchange(code), TypeError)
    await provider.addFault({ operation: 'exchange', kind: 'drop_after', times: 1 })
    await t.rejects(provider.exchange(code), TypeError)
    t.match((await provider.exchange(code)).body, { error: 'invalid_grant' })
    t.match((await provider.counts()).totals.exchange, { drop_before: 1, ok: 1, invalid_grant: 1 })
  })

  t.test('malformed: it is done, and the answer cannot be read', async t => {
    const provider = await start(t)
    const { guid, refresh_token, access_token } = await provider.grant()
    await provider.addFault({ operation: 'refresh', kind: 'malformed', times: 1 })
    const answer = await provider.refresh(refresh_token)
    t.equal(answer.status, 200)
    t.throws(() => JSON.parse(answer.text))
    t.equal((await provider.me(access_token)).status, 401)
    t.equal(await provider.livePairs(guid), 1)
  })

  t.test('rate_limited: 429 with Retry-After, and nothing is done', async t => {
    const provider = await start(t)
    const { refresh_token } = await provider.grant()
    await provider.addFault({ operation: 'refresh', kind: 'rate_limited', retry_after: 7, times: 1 })
    const answer = await provider.refresh(refresh_token)
    t.equal(answer.status, 429)
    t.equal(answer.headers.get('retry-after'), '7')
    t.equal((await provider.refresh(refresh_token)).status, 200)
  })

  t.test('wrong_credentials: invalid_client, and nothing is done', async t => {
    const provider = await start(t)
    const { refresh_token } = await provider.grant()
    await provider.addFault({ operation: 'any', kind: 'wrong_credentials', times: 1 })
    t.match(await provider.refresh(refresh_token), { status: 401, body: { error: 'invalid_client' } })
    t.equal((await provider.refresh(refresh_token)).status, 200)
  })

  t.test('a status and a body of another shape, for the refreshes of one person', async t => {
    const provider = await start(t)
    const [ada, bob] = [await provider.grant({ username: 'ada' }), await provider.grant({ username: 'bob' })]
    const body = '{"error":{"code":"x"}}'
    await provider.addFault({ operation: 'refresh', kind: 'status_before', status: 401, body, guid: ada.guid })
    t.match(await provider.refresh(ada.refresh_token), { status: 401, text: body })
    t.match(await provider.refresh(ada.refresh_token), { status: 401, text: body }, 'again and again')
    t.equal((await provider.me(ada.access_token)).status, 200, 'nothing was done')
    t.equal((await provider.refresh(bob.refresh_token)).status, 200, 'others are not affected')
    await provider.clearFaults()
    t.equal((await provider.refresh(ada.refresh_token)).status, 200)
  })

  for (const rotation of ['instant', 'on_use'] as const) {
    t.test(`omit_refresh_token: a refresh keeps the old one (${rotation})`, async t => {
      const provider = await start(t, { rotation })
      const first = await provider.grant()
      await provider.addFault({ operation: 'refresh', kind: 'omit_refresh_token', times: 2 })
      let newest = first.access_token
      for (const attempt of ['once', 'again']) {
        const answer = await provider.refresh(first.refresh_token)
        t.match(answer, { status: 200, body: { access_token: String, expires_in: 7200 } }, attempt)
        t.notOk('refresh_token' in answer.body)
        const before = newest
        newest = String(answer.body.access_token)
        t.equal((await provider.me(newest)).status, 200)
        t.equal((await provider.me(before)).status, 401, 'the pair before it is gone')
      }
      const last = tokensOf(await provider.refresh(first.refresh_token))
      t.not(last.refresh_token, first.refresh_token)
      t.equal((await provider.me(last.access_token)).status, 200)
      t.match((await provider.refresh(first.refresh_token)).body, { error: 'invalid_grant' }, 'replaced at last')
      t.equal(await provider.livePairs(first.guid), 1)
    })
  }

  t.test('omit_refresh_token: other answers lack it too, and a refusal stays what it is', async t => {
    const provider = await start(t, { passwordGrant: true })
    await provider.addFault({ operation: 'any', kind: 'omit_refresh_token' })
    const answers = [
      await provider.exchange(await provider.code()),
      await provider.createUser('42'),
      await provider.authenticate('42'),
    ]
    for (const { body } of answers) {
      t.match(body, { access_token: String })
      t.notOk('refresh_token' in body)
    }
    t.match(await provider.refresh('unknown'), { status: 400, body: { error: 'invalid_grant' } })
  })

  t.test('close_idle: the answer arrives, and the connection is dead without a word', async t => {
    const provider = await start(t)
    const { access_token, refresh_token } = await provider.grant()
    await provider.addFault({ operation: 'me', kind: 'close_idle', times: 1 })
    const client = new Client(provider.options.url)
    t.teardown(() => client.close())
    const [me, token] = ['/api/v2.1/me.json', '/oauth/token']
    const bearer = { authorization: `Bearer ${access_token}` }
    const first = await client.request({ path: me, method: 'GET', headers: bearer })
    await first.body.dump()
    t.equal(first.statusCode, 200)
    t.equal(first.headers.connection, 'keep-alive', 'it says that it stays open')
    const headers = { authorization: provider.basicAuth(), 'content-type': 'application/json' }
    const body = JSON.stringify({ grant_type: 'refresh_token', refresh_token })
    await t.rejects(client.request({ path: token, method: 'POST', headers, body }), { code: /SOCKET|ECONNRESET|EPIPE/ })
    t.match((await provider.counts()).totals, { me: { ok: 1 }, refresh: undefined }, 'the provider has not read it')
    const again = await client.request({ path: token, method: 'POST', headers, body })
    await again.body.dump()
    t.equal(again.statusCode, 200, 'on a connection of its own the same request works')
  })

  t.test('latency: the commit waits, until the faults are cleared or the time is over', async t => {
    const provider = await start(t)
    const pair = await provider.grant()
    await provider.addFault({ operation: 'refresh', kind: 'latency', latency_ms: 60_000 })
    const waiting = provider.refresh(pair.refresh_token)
    while ((await provider.counts()).faults.latency === undefined);
    t.equal((await provider.me(pair.access_token)).status, 200, 'the old pair is still the only one')
    await provider.clearFaults()
    const fresh = tokensOf(await waiting)
    t.equal((await provider.me(pair.access_token)).status, 401)

    await provider.addFault({ operation: 'refresh', kind: 'latency', latency_ms: 15, times: 1 })
    await provider.addFault({ operation: 'refresh', kind: 'status_before', latency_ms: 15, times: 1 })
    const startedAt = performance.now()
    t.equal((await provider.refresh(fresh.refresh_token)).status, 500, 'another fault strikes as well')
    t.ok(performance.now() - startedAt >= 28, 'and the latencies add up')
  })

  t.test('hit the operation and the person that they name, as often as they say', async t => {
    const provider = await start(t)
    const [ada, bob] = [await provider.grant({ username: 'ada' }), await provider.grant({ username: 'bob' })]
    await provider.addFault({ operation: 'me', kind: 'status_before', status: 503, guid: ada.guid, times: 2 })
    const asked = [ada, bob, ada, ada]
    const statuses = []
    for (const { access_token } of asked) statuses.push((await provider.me(access_token)).status)
    t.strictSame(statuses, [503, 200, 503, 200])

    for (const operation of ['exchange', 'refresh', 'password', 'users', 'revoke', 'me'] as const) {
      await provider.clearFaults()
      await provider.addFault({ operation, kind: 'status_before', status: 418 })
      const hit = {
        exchange: (await provider.exchange('any')).status,
        refresh: (await provider.refresh('any')).status,
        password: (await provider.authenticate('ada')).status,
        users: (await provider.createUser('ada')).status,
        revoke: (await provider.revoke('any')).status,
        me: (await provider.me('any')).status,
      }
      const teapots = Object.entries(hit).filter(([, status]) => status === 418)
      t.strictSame(teapots, [[operation, 418]])
    }
  })

  t.test('can be listed, replaced and deleted', async t => {
    const provider = await start(t)
    const [one, two] = [
      { operation: 'me', kind: 'drop_before', times: 3 },
      { operation: 'any', kind: 'latency', latency_ms: 1 },
    ] as const
    t.match(await provider.addFault(two), { status: 201 })
    const replaced = await provider.sendJson('/sandbox/faults', [one], {}, 'PUT')
    t.strictSame(JSON.parse(replaced.text), [one])
    await t.rejects(provider.me('any'))
    const list = await provider.send('/sandbox/faults')
    t.strictSame(JSON.parse(list.text), [{ ...one, times: 2 }], 'with the times that are left')
    t.equal((await provider.clearFaults()).status, 204)
    t.equal((await provider.send('/sandbox/faults')).text, '[]')
  })

  t.test('are refused by the name of the field that is wrong', async t => {
    const provider = await start(t)
    const good = { operation: 'me', kind: 'status_before' }
    const cases: [string, object][] = [
      ['/operation', { kind: 'drop_before' }],
      ['/operation', { ...good, operation: 'authorize' }],
      ['/kind', { ...good, kind: 'slow' }],
      ['/colour', { ...good, colour: 'red' }],
      ['/times', { ...good, times: 0 }],
      ['/times', { ...good, times: '1' }],
      ['/status', { ...good, status: 99 }],
      ['/guid', { ...good, guid: 'ada' }],
      ['/latency_ms', { ...good, kind: 'latency' }],
      ['/retry_after', { ...good, retry_after: 1 }],
    ]
    for (const [path, fault] of cases) {
      const answer = await provider.sendJson('/sandbox/faults', fault)
      t.match(answer, { status: 400, body: { errors: [{ path }] } }, path)
      t.match(answer.headers.get('content-type'), 'application/problem+json')
    }
    const list = await provider.sendJson('/sandbox/faults', [good, { ...good, body: 1 }], {}, 'PUT')
    t.match(list, { status: 400, body: { errors: [{ path: '/1/body' }] } })
    const broken = await provider.send('/sandbox/faults', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{',
    })
    t.match(broken, { status: 400, body: { status: 400 } })
    t.equal((await provider.send('/sandbox/faults')).text, '[]')
  })
})

t.test('counts', async t => {
  t.test('tell what was asked and for whom', async t => {
    const provider = await start(t)
    const first = await provider.grant()
    const second = tokensOf(await provider.refresh(first.refresh_token))
    await provider.refresh(first.refresh_token)
    await provider.me(second.access_token)
    await provider.me(first.access_token)
    await provider.revoke(second.access_token)
    await provider.revoke(second.access_token)
    const created = tokensOf(await provider.createUser('internal-42'))
    await provider.authenticate('internal-42')
    await provider.sendJson('/oauth/token', { grant_type: 'client_credentials' })
    const nothing = {
      exchanges: 0,
      refreshes: 0,
      refreshes_refused: 0,
      revocations: 0,
      me_ok: 0,
      me_refused: 0,
      users: 0,
    }
    t.strictSame(await provider.counts(), {
      totals: {
        exchange: { ok: 1 },
        refresh: { ok: 1, invalid_grant: 1 },
        me: { ok: 1, invalid_token_revoked: 1 },
        revoke: { ok: 1, no_effect: 1 },
        users: { ok: 1 },
        password: { unsupported_grant_type: 1 },
        other: { unsupported_grant_type: 1 },
      },
      faults: {},
      grants: {
        [first.guid]: {
          ...nothing,
          exchanges: 1,
          refreshes: 1,
          refreshes_refused: 1,
          revocations: 1,
          me_ok: 1,
          me_refused: 1,
        },
        [created.guid]: { ...nothing, users: 1 },
      },
      peak_concurrency: 1,
    })
  })

  t.test('hold a rotation whose answer was lost for one, and a fault for what it is', async t => {
    const provider = await start(t)
    const { guid, refresh_token } = await provider.grant()
    await provider.addFault({ operation: 'refresh', kind: 'rate_limited', times: 1 })
    await provider.addFault({ operation: 'refresh', kind: 'status_after', times: 1 })
    await provider.refresh(refresh_token)
    await provider.refresh(refresh_token)
    const { totals, faults, grants } = await provider.counts()
    t.strictSame(totals.refresh, { rate_limited: 1, ok: 1 })
    t.strictSame(faults, { rate_limited: 1, status_after: 1 })
    t.match(grants[guid], { refreshes: 1, refreshes_refused: 0 })
  })

  t.test('know the peak of concurrent token requests, and start again from zero', async t => {
    const provider = await start(t)
    await provider.race('refresh', 3, () => provider.refresh('unknown'))
    t.equal((await provider.counts()).peak_concurrency, 3)
    const { refresh_token } = await provider.grant()
    await provider.race('refresh', 12, () => provider.refresh(refresh_token))
    t.equal((await provider.counts()).peak_concurrency, 12)
    t.equal((await provider.send('/sandbox/counts', { method: 'DELETE' })).status, 204)
    t.strictSame(await provider.counts(), { totals: {}, faults: {}, grants: {}, peak_concurrency: 0 })
  })
})

t.test('settings change while it runs', async t => {
  const provider = await start(t)
  const change = (body: object) => provider.sendJson('/sandbox/settings', body, {}, 'PUT')

  const before = {
    rotation: 'instant',
    legacy: false,
    token_lifetime_seconds: 7200,
    guid_in_exchange: true,
    password_grant: false,
    reuse_tokens: false,
  }
  t.strictSame((await provider.send('/sandbox/settings')).body, before)
  const changed = await change({ rotation: 'on_use', token_lifetime_seconds: 60, guid_in_exchange: false })
  t.strictSame(changed.body, {
    ...before,
    rotation: 'on_use',
    token_lifetime_seconds: 60,
    guid_in_exchange: false,
  })

  const answer = await provider.exchange(await provider.code())
  t.equal(answer.body.expires_in, 60)
  t.notHas(answer.body, { guid: String })
  const { refresh_token, access_token } = tokensOf(answer)
  t.equal((await provider.refresh(refresh_token)).status, 200)
  t.equal((await provider.me(access_token)).status, 200)

  await change({ app_secret: 'another', legacy: true })
  t.match(await provider.refresh(refresh_token), { status: 401, body: { error: 'invalid_client' } })
  const authorization = provider.basicAuth('another')
  t.match(await provider.refresh('unknown', {}, { authorization }), { status: 401, body: { error: 'invalid_grant' } })
  t.equal((await provider.refresh(refresh_token, {}, { authorization })).status, 200)

  t.match(await change({ appSecret: 'x' }), { status: 400, body: { errors: [{ path: '/appSecret' }] } })
  t.match(await change({ rotation: 'never' }), { status: 400, body: { errors: [{ path: '/rotation' }] } })
})

t.test('a person disconnects the app', async t => {
  const provider = await start(t)
  const [ada, adaAgain, bob] = [
    await provider.grant(),
    await provider.grant(),
    await provider.grant({ username: 'bob' }),
  ]
  const code = await provider.code()
  const answer = await provider.send(`/sandbox/revoke-user/${ada.guid}`, { method: 'POST' })
  t.match(answer, { status: 200, body: { guid: ada.guid, revoked_pairs: 2 } })
  t.equal(await provider.livePairs(ada.guid), 0)
  t.equal((await provider.me(adaAgain.access_token)).status, 401)
  t.match((await provider.exchange(code)).body, { error: 'invalid_grant' })
  t.equal((await provider.me(bob.access_token)).status, 200)
  const look = await provider.send(`/sandbox/grants/${bob.guid}`)
  t.notMatch(look.text, bob.access_token, 'never shows a token')
  t.equal((await provider.send(`/sandbox/grants/${'0'.repeat(32)}`)).status, 404)
  t.equal((await provider.send(`/sandbox/revoke-user/${'0'.repeat(32)}`, { method: 'POST' })).status, 404)
})

t.test('the guide explains itself, with this app in its commands', async t => {
  const provider = await start(t)
  const { status, text } = await provider.send('/sandbox')
  t.equal(status, 200)
  t.match(text, `client_id=${provider.options.appId}`)
  for (const named of ['wrong_credentials', 'close_idle', 'omit_refresh_token', 'password_grant', 'reuse_tokens']) {
    t.match(text, named)
  }
  t.notMatch(text, provider.options.appSecret)
})
