import t, { type Test } from 'tap'
import { startDriven, tokensOf } from '../../sandbox/driver.ts'
import type { SandboxOptions } from '../../sandbox/index.ts'
import { noLedger } from '../../sandbox/provider/ledger.ts'
import { TokenPairs } from '../../sandbox/provider/token-pairs.ts'

/** A sandbox on a port of its own, with a clock that the test moves. */
async function start(t: Test, options: Partial<SandboxOptions> = {}) {
  const clock = { ms: Date.UTC(2026, 0, 1) + 789 }
  const { driver: provider, close } = await startDriven({ now: () => clock.ms, ...options })
  t.teardown(close)
  return { provider, clock }
}

t.test('exchange', async t => {
  t.test('answers with the documented fields', async t => {
    const { provider, clock } = await start(t)
    const { status, headers, body } = await provider.exchange(await provider.code({ scope: 'profile_read pay' }))
    t.equal(status, 200)
    t.equal(headers.get('cache-control'), 'no-store')
    t.match(headers.get('content-type'), 'application/json')
    t.match(body, {
      access_token: /^[0-9a-f]{64}$/,
      token_type: 'bearer',
      expires_in: 7200,
      refresh_token: /^[0-9a-f]{64}$/,
      scope: 'profile_read pay',
      created_at: Math.floor(clock.ms / 1000),
      guid: /^[0-9a-f]{32}$/,
    })
  })

  t.test('leaves the guid out where the provider is set so', async t => {
    const { provider } = await start(t, { guidInExchange: false, tokenLifetimeSeconds: 60 })
    const { body } = await provider.exchange(await provider.code())
    t.notHas(body, { guid: String })
    t.equal(body.expires_in, 60)
    t.match((await provider.me(String(body.access_token))).body, { guid: /^[0-9a-f]{32}$/, username: 'ada' })
  })

  t.test('refuses a second exchange and leaves the first pair alive', async t => {
    const { provider } = await start(t)
    const code = await provider.code()
    const first = tokensOf(await provider.exchange(code))
    t.match(await provider.exchange(code), { status: 400, body: { error: 'invalid_grant' } })
    t.equal((await provider.me(first.access_token)).status, 200)
    t.equal(await provider.livePairs(first.guid), 1)
  })

  t.test('lets one of several exchanges at the same moment win', async t => {
    const { provider } = await start(t)
    const code = await provider.code()
    const answers = await provider.race('exchange', 3, () => provider.exchange(code))
    t.same(answers.map(({ status }) => status).toSorted(), [200, 400, 400])
  })

  t.test('spends nothing on a request that it refuses', async t => {
    const { provider } = await start(t)
    const code = await provider.code()
    const wrongSecret = { authorization: provider.basicAuth('wrong') }
    t.match(await provider.exchange(code, {}, wrongSecret), { status: 401, body: { error: 'invalid_client' } })
    const wrongUri = { redirect_uri: 'https://www.mywebsite.com/elsewhere' }
    t.match(await provider.exchange(code, wrongUri), { status: 400, body: { error: 'invalid_grant' } })
    t.equal((await provider.exchange(code)).status, 200)
  })

  t.test('takes a code for ten minutes', async t => {
    const { provider, clock } = await start(t)
    const [early, late] = [await provider.code(), await provider.code()]
    clock.ms += 10 * 60 * 1000 - 1
    t.equal((await provider.exchange(early)).status, 200)
    clock.ms += 1
    t.match(await provider.exchange(late), { status: 400, body: { error: 'invalid_grant' } })
    t.equal((await provider.exchange(await provider.code())).status, 200, 'a new one counts from its own start')
  })

  t.test('gives each sign-in a pair of its own, and one name one guid', async t => {
    const { provider } = await start(t)
    const [first, second, other] = [
      await provider.grant(),
      await provider.grant(),
      await provider.grant({ username: 'bob' }),
    ]
    t.equal(first.guid, second.guid)
    t.not(first.access_token, second.access_token)
    t.not(first.guid, other.guid)
    t.equal(await provider.livePairs(first.guid), 2)
  })
})

t.test('a provider that reuses tokens', async t => {
  t.test('hands the same pair out again, with what is left of its life', async t => {
    const { provider, clock } = await start(t, { reuseTokens: true })
    const first = await provider.exchange(await provider.code({ scope: 'profile_read pay' }))
    clock.ms += 7_180_400
    const again = await provider.exchange(await provider.code({ scope: 'pay profile_read' }))
    t.strictSame(again.body, { ...first.body, expires_in: 20 })
    t.equal(await provider.livePairs(tokensOf(first).guid), 1)
  })

  t.test('makes a new one for other scopes, for a dead pair, and for an expired access token', async t => {
    const { provider, clock } = await start(t, { reuseTokens: true })
    const first = await provider.grant()
    const wider = await provider.grant({ scope: 'profile_read pay' })
    t.not(wider.access_token, first.access_token)
    await provider.revoke(first.access_token)
    const second = await provider.grant()
    t.not(second.access_token, first.access_token)
    clock.ms += 7_200_000
    const third = await provider.grant()
    t.not(third.access_token, second.access_token)
    t.equal((await provider.refresh(second.refresh_token)).status, 200, 'the expired pair can still be refreshed')
  })

  t.test('hands out the refreshed pair, and does so for a password too', async t => {
    const { provider } = await start(t, { reuseTokens: true, passwordGrant: true })
    const first = tokensOf(await provider.createUser('42'))
    const second = tokensOf(await provider.refresh(first.refresh_token))
    t.equal(tokensOf(await provider.authenticate('42')).refresh_token, second.refresh_token)
  })
})

t.test('PKCE', async t => {
  // The example of RFC 7636, appendix B.
  const code_verifier = 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk'
  const challenge = { code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256' }

  t.test('is checked, and a failed check spends nothing', async t => {
    const { provider } = await start(t)
    const code = await provider.code(challenge)
    t.match((await provider.exchange(code)).body, { error: 'invalid_request', error_description: /code_verifier/ })
    const wrong = { code_verifier: code_verifier.toLowerCase() }
    t.match(await provider.exchange(code, wrong), { status: 400, body: { error: 'invalid_grant' } })
    t.equal((await provider.exchange(code, { code_verifier })).status, 200)
  })

  t.test('refuses a verifier that no challenge was sent for', async t => {
    const { provider } = await start(t)
    t.match((await provider.exchange(await provider.code(), { code_verifier })).body, { error: 'invalid_grant' })
  })

  t.test('is silently ignored where the provider has none', async t => {
    const { provider } = await start(t, { pkce: false })
    t.equal((await provider.exchange(await provider.code(challenge))).status, 200)
    t.equal((await provider.exchange(await provider.code(), { code_verifier })).status, 200)
  })
})

t.test('instant rotation', async t => {
  t.test('kills both old tokens at once', async t => {
    const { provider } = await start(t)
    const old = await provider.grant()
    const fresh = await provider.refresh(old.refresh_token)
    t.equal(fresh.status, 200)
    t.notHas(fresh.body, { guid: String })
    const dead = await provider.me(old.access_token)
    t.match(dead, { status: 401, text: '' })
    t.match(dead.headers.get('www-authenticate'), /error="invalid_token".*was revoked/)
    t.match(await provider.refresh(old.refresh_token), { status: 400, body: { error: 'invalid_grant' } })
    t.equal((await provider.me(tokensOf(fresh).access_token)).status, 200)
  })

  t.test('lets one of several refreshes at the same moment win', async t => {
    const { provider } = await start(t)
    const old = await provider.grant()
    const answers = await provider.race('refresh', 4, () => provider.refresh(old.refresh_token))
    t.same(answers.map(({ status }) => status).toSorted(), [200, 400, 400, 400])
    t.same(new Set(answers.map(({ body }) => body.error)), new Set([undefined, 'invalid_grant']))
    t.equal(await provider.livePairs(old.guid), 1)
  })

  for (const kind of ['drop_after', 'status_after'] as const) {
    t.test(`loses the grant for good to ${kind}`, async t => {
      const { provider } = await start(t)
      const old = await provider.grant()
      await provider.addFault({ operation: 'refresh', kind, times: 1 })
      await provider.refresh(old.refresh_token).catch(() => {})
      t.match((await provider.refresh(old.refresh_token)).body, { error: 'invalid_grant' })
    })
  }
})

t.test('on_use rotation', async t => {
  const on_use = { rotation: 'on_use' } as const

  t.test('keeps the old pair until the new access token is first used', async t => {
    const { provider } = await start(t, on_use)
    const old = await provider.grant()
    const fresh = tokensOf(await provider.refresh(old.refresh_token))
    t.equal((await provider.me(old.access_token)).status, 200)
    const another = tokensOf(await provider.refresh(old.refresh_token))
    t.not(another.refresh_token, fresh.refresh_token, 'refreshing again brings another new pair')

    await provider.me(fresh.access_token)
    t.equal((await provider.me(old.access_token)).status, 401)
    t.match((await provider.refresh(old.refresh_token)).body, { error: 'invalid_grant' })
    t.equal((await provider.me(another.access_token)).status, 200, 'the other new pair stays alive')
  })

  t.test('counts a request that is answered 403 as use', async t => {
    const { provider } = await start(t, on_use)
    const old = await provider.grant()
    const fresh = tokensOf(await provider.refresh(old.refresh_token))
    t.match(await provider.me(fresh.access_token, 'pay'), { status: 403, text: '' })
    t.equal((await provider.me(old.access_token)).status, 401)
  })

  t.test('counts a request that is answered 401 as use: the token has expired, or was revoked', async t => {
    const { provider, clock } = await start(t, on_use)
    const expire = async () => {
      clock.ms += 24 * 3600 * 1000
    }
    const revoke = (accessToken: string) => provider.revoke(accessToken)
    for (const end of [expire, revoke]) {
      const old = await provider.grant()
      const fresh = tokensOf(await provider.refresh(old.refresh_token))
      await end(fresh.access_token)
      t.equal((await provider.refresh(old.refresh_token)).status, 200, 'until then the old pair lives')
      t.equal((await provider.me(fresh.access_token)).status, 401)
      t.match((await provider.refresh(old.refresh_token)).body, { error: 'invalid_grant' })
    }
  })

  t.test('kills the direct predecessor alone: the one before that stays', async t => {
    const { provider } = await start(t, on_use)
    const first = await provider.grant()
    const second = tokensOf(await provider.refresh(first.refresh_token))
    const third = tokensOf(await provider.refresh(second.refresh_token))
    t.equal(await provider.livePairs(first.guid), 3, 'nothing was used')

    t.equal((await provider.me(third.access_token)).status, 200)
    t.equal(await provider.livePairs(first.guid), 2)
    t.match((await provider.refresh(second.refresh_token)).body, { error: 'invalid_grant' })
    t.equal((await provider.me(first.access_token)).status, 200, 'pair 1 lives')

    t.equal((await provider.me(second.access_token)).status, 401)
    t.equal((await provider.me(first.access_token)).status, 401, 'until the dead token 2 is presented')
    t.equal(await provider.livePairs(first.guid), 1)
  })

  t.test('lets all of several refreshes at the same moment win, and all stay alive', async t => {
    const { provider } = await start(t, on_use)
    const old = await provider.grant()
    const answers = await provider.race('refresh', 3, () => provider.refresh(old.refresh_token))
    t.equal(await provider.livePairs(old.guid), 4)
    for (const answer of answers) t.equal((await provider.me(tokensOf(answer).access_token)).status, 200)
    t.equal(await provider.livePairs(old.guid), 3)
  })

  for (const kind of ['drop_after', 'status_after'] as const) {
    t.test(`refreshes the old token again after ${kind}`, async t => {
      const { provider } = await start(t, on_use)
      const old = await provider.grant()
      await provider.addFault({ operation: 'refresh', kind, times: 1 })
      await provider.refresh(old.refresh_token).catch(() => {})
      t.equal((await provider.refresh(old.refresh_token)).status, 200)
    })
  }
})

for (const rotation of ['instant', 'on_use'] as const) {
  t.test(`refresh, ${rotation}`, async t => {
    t.test('survives a failure before the commit', async t => {
      const { provider } = await start(t, { rotation })
      const old = await provider.grant()
      await provider.addFault({ operation: 'refresh', kind: 'status_before', times: 1 })
      t.equal((await provider.refresh(old.refresh_token)).status, 500)
      t.equal(await provider.livePairs(old.guid), 1)
      t.equal((await provider.refresh(old.refresh_token)).status, 200)
    })

    t.test('works after the access token has expired', async t => {
      const { provider, clock } = await start(t, { rotation })
      const old = await provider.grant()
      clock.ms += 24 * 3600 * 1000
      const expired = await provider.me(old.access_token)
      t.match(expired.headers.get('www-authenticate'), /The access token expired/)
      const fresh = tokensOf(await provider.refresh(old.refresh_token))
      t.equal((await provider.me(fresh.access_token)).status, 200)
    })

    t.test('narrows the scope for good and never widens it', async t => {
      const { provider } = await start(t, { rotation })
      const old = await provider.grant({ scope: 'profile_read pay' })
      const kept = tokensOf(await provider.refresh(old.refresh_token))
      t.equal(kept.scope, 'profile_read pay')
      const narrow = tokensOf(await provider.refresh(kept.refresh_token, { scope: 'pay' }))
      t.equal(narrow.scope, 'pay')
      const wide = await provider.refresh(narrow.refresh_token, { scope: 'profile_read pay' })
      t.match(wide, { status: 400, body: { error: 'invalid_scope' } })
      t.equal(tokensOf(await provider.refresh(narrow.refresh_token)).scope, 'pay')
    })

    t.test('says invalid_client only when the refresh token is still good', async t => {
      const { provider } = await start(t, { rotation })
      const { refresh_token } = await provider.grant()
      const wrong = { authorization: provider.basicAuth('wrong') }
      t.match(await provider.refresh(refresh_token, {}, wrong), { status: 401, body: { error: 'invalid_client' } })
      t.match((await provider.refresh('unknown', {}, wrong)).body, { error: 'invalid_grant' })
      t.equal((await provider.refresh(refresh_token)).status, 200)
    })
  })
}

t.test('memory of revoked pairs is bounded, and live ones are never forgotten', async t => {
  const pairs = new TokenPairs(noLedger)
  const issue = { guid: 'ada', scopes: ['pay'], expiresInSeconds: 7200, nowMs: 0 }
  const first = pairs.issue(issue)
  let newest = first
  for (let rotations = 0; rotations < 10_001; rotations += 1) {
    const previous = newest
    newest = pairs.issue(issue, previous)
    pairs.use(newest)
  }
  t.equal(pairs.byRefreshToken(first.refreshToken), undefined)
  t.equal(pairs.byAccessToken(first.accessToken), undefined)
  t.strictSame(pairs.liveOf('ada'), [newest])
  t.equal(pairs.byRefreshToken(newest.refreshToken), newest)
})

t.test('a refresh token that was kept names the newest pair, also when the older one is forgotten', async t => {
  const pairs = new TokenPairs(noLedger)
  const issue = { guid: 'ada', scopes: ['pay'], expiresInSeconds: 7200, nowMs: 0 }
  const first = pairs.issue(issue)
  const heir = pairs.issue({ ...issue, refreshToken: first.refreshToken })
  pairs.revoke(first)
  for (let others = 0; others < 10_001; others += 1) pairs.revoke(pairs.issue(issue))
  t.equal(pairs.byAccessToken(first.accessToken), undefined, 'forgotten')
  t.equal(pairs.byRefreshToken(first.refreshToken), heir)
})
