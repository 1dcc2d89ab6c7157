import t, { type Test } from 'tap'
import { type Answered, type SandboxDriver, startDriven } from '../../sandbox/driver.ts'
import type { SandboxOptions } from '../../sandbox/index.ts'

const CUSTOM_SCHEME = 'myapp://oauth/healthtap'

async function start(t: Test, options: Partial<SandboxOptions> = {}): Promise<SandboxDriver> {
  const redirectUris = [
    'https://www.mywebsite.com/login_with_healthtap',
    CUSTOM_SCHEME,
    'https://example.com/cb?from=ht',
  ]
  const { driver, close } = await startDriven({ redirectUris, ...options })
  t.teardown(close)
  return driver
}

/** Opens the page as a browser does; undefined leaves a parameter out. */
function open(
  provider: SandboxDriver,
  parameters: Record<string, string | undefined> = {},
  cookie = '',
): Promise<Answered> {
  const { appId, redirectUri } = provider.options
  const all = {
    client_id: appId,
    response_type: 'code',
    redirect_uri: redirectUri,
    scope: 'profile_read',
    ...parameters,
  }
  const given = Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return provider.send(`/oauth/authorize?${new URLSearchParams(given)}`, { headers: { cookie } })
}

const location = ({ headers }: Answered): URL => new URL(headers.get('location') ?? 'none:')

const sessionOf = ({ headers }: Answered): string => (headers.get('set-cookie') ?? '').split(';', 1)[0] ?? ''

/** The form's fields as a browser would send them. */
function hiddenFields(page: string): Record<string, string> {
  const fields = page.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)">/g)
  return Object.fromEntries([...fields].map(([, name, value]) => [name, value?.replaceAll('&amp;', '&')]))
}

t.test('the consent page', async t => {
  t.test('says who asks for what, and asks whom it may be', async t => {
    const provider = await start(t, { appName: 'Tap Diary' })
    const { status, text, headers } = await open(provider, { scope: 'profile_read pay' })
    t.equal(status, 200)
    t.match(headers.get('content-type'), 'text/html')
    for (const part of [
      'Tap Diary wants to use your HealthTap account',
      'Read your profile',
      'Pay for consultations in your name',
      '<label for="username">Sign in as</label>',
      /<button[^>]* value="allow">Allow<\/button>/,
      /<button[^>]* value="deny"[^>]*>Deny<\/button>/,
      'HealthTap sandbox – a stand-in, no real accounts',
      '<html lang="en">',
      'width=device-width',
    ]) {
      t.match(text, part)
    }
    t.notMatch(text, 'Publish', 'nor anything that was not asked for')
  })

  t.test('lets nothing in but its own style', async t => {
    const provider = await start(t)
    const { headers, text } = await open(provider)
    const policy = headers.get('content-security-policy') ?? ''
    t.match(policy, "default-src 'none'")
    t.match(policy, /style-src 'sha256-[^']+'/)
    t.match(policy, "frame-ancestors 'none'")
    t.match(policy, "form-action 'self' http: https:")
    t.equal(headers.get('referrer-policy'), 'no-referrer')
    t.notMatch(text, /<script|style="|src=/)
    const custom = await open(provider, { redirect_uri: CUSTOM_SCHEME })
    t.match(custom.headers.get('content-security-policy'), /form-action 'self' myapp:$/)
  })

  t.test('escapes whatever it shows', async t => {
    const provider = await start(t, { appName: `<b>"Diary" & 'Co'` })
    const { text } = await open(provider, { state: '"><script>alert(1)</script>' })
    t.match(text, '&lt;b&gt;&quot;Diary&quot; &amp; &#39;Co&#39;')
    t.match(text, 'value="&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"')
    t.notMatch(text, /<b>|<script/)
  })

  t.test('keeps the whole request in its form', async t => {
    const provider = await start(t)
    const request = { state: 'a&b', code_challenge: 'c'.repeat(43), code_challenge_method: 'S256', scope: 'pay' }
    const { appId: client_id, redirectUri: redirect_uri } = provider.options
    const fields = hiddenFields((await open(provider, request)).text)
    t.strictSame(fields, { client_id, response_type: 'code', redirect_uri, ...request })
  })
})

t.test('Allow', async t => {
  t.test('redirects with a code and the state', async t => {
    const provider = await start(t)
    const { redirectUri } = provider.options
    const page = await open(provider, { state: 'x y&z' })
    const answer = await provider.decide(hiddenFields(page.text))
    t.equal(answer.status, 302)
    t.equal(answer.headers.get('cache-control'), 'no-store')
    const { origin, pathname, searchParams } = location(answer)
    t.equal(`${origin}${pathname}`, redirectUri)
    t.strictSame([...searchParams.keys()], ['code', 'state'])
    t.equal(searchParams.get('state'), 'x y&z')
    t.equal((await provider.exchange(searchParams.get('code') ?? '')).status, 200)
  })

  t.test('reaches custom schemes, and keeps a query that the redirect_uri has', async t => {
    const provider = await start(t)
    const custom = await provider.decide({ redirect_uri: CUSTOM_SCHEME })
    t.match(custom.headers.get('location'), /^myapp:\/\/oauth\/healthtap\?code=[0-9a-f]{64}$/)
    const withQuery = await provider.decide({ redirect_uri: 'https://example.com/cb?from=ht' })
    t.match(withQuery.headers.get('location'), /^https:\/\/example\.com\/cb\?from=ht&code=[0-9a-f]{64}$/)
  })

  t.test('wants a name', async t => {
    const provider = await start(t)
    for (const username of ['', '   ', 'x'.repeat(101)]) {
      const answer = await provider.decide({ username, state: 'kept' })
      t.equal(answer.status, 422, username)
      t.match(answer.text, /role="alert">Enter a name of 1 to 100 characters\.</)
      t.equal(hiddenFields(answer.text).state, 'kept')
    }
  })
})

t.test('Deny', async t => {
  const provider = await start(t)
  const answer = await provider.decide({ decision: 'deny', username: '', state: 's' })
  t.equal(answer.status, 302)
  t.strictSame(Object.fromEntries(location(answer).searchParams), {
    error: 'access_denied',
    error_description: 'The resource owner or authorization server denied the request.',
    state: 's',
  })
  t.equal(answer.headers.get('set-cookie'), null, 'nobody signed in')
})

t.test('a request that is wrong gets a page and no redirect', async t => {
  const provider = await start(t)
  const cases: [string, Record<string, string | undefined>][] = [
    ['invalid_client', { client_id: 'unknown' }],
    ['invalid_request', { client_id: undefined }],
    ['invalid_redirect_uri', { redirect_uri: 'https://evil.example/' }],
    ['invalid_redirect_uri', { redirect_uri: undefined }],
    ['unsupported_response_type', { response_type: 'token' }],
    ['invalid_request', { response_type: undefined }],
    ['invalid_scope', { scope: 'profile_read everything' }],
    ['invalid_request', { scope: undefined }],
    ['invalid_code_challenge_method', { code_challenge: 'c', code_challenge_method: 'plain' }],
  ]
  for (const [error, parameters] of cases) {
    const { status, headers, text } = await open(provider, parameters)
    t.equal(status, 200, error)
    t.equal(headers.get('location'), null)
    t.match(text, 'An error has occurred')
    t.match(text, `<code>${error}</code>`)
  }
  const posted = await provider.decide({ redirect_uri: 'https://evil.example/' })
  t.match(posted, { status: 200, text: /invalid_redirect_uri/ }, 'a forged form fares no better')
  t.match(await provider.decide({ decision: 'perhaps' }), { status: 200, text: /must be allow or deny/ })
})

t.test('a browser that comes back', async t => {
  t.test('gets a code at once for the scopes that it holds', async t => {
    const provider = await start(t)
    const first = await provider.decide()
    t.match(first.headers.get('set-cookie'), /; HttpOnly; SameSite=Lax$/)
    await provider.exchange(location(first).searchParams.get('code') ?? '')
    const again = await open(provider, { state: 's' }, sessionOf(first))
    t.equal(again.status, 302)
    t.match(location(again).search, /^\?code=[0-9a-f]{64}&state=s$/)
    t.equal((await open(provider, {})).status, 200, 'another browser is asked')
    t.equal((await open(provider, { scope: 'pay' }, sessionOf(first))).status, 200, 'other scopes are asked for')
  })

  t.test('can be somebody else', async t => {
    const provider = await start(t)
    const { guid } = await provider.grant()
    const cookie = sessionOf(await provider.decide())
    const page = await open(provider, { prompt: 'consent' }, cookie)
    t.equal(page.status, 200)
    t.match(page.text, 'You are signed in as ada. Enter another name to sign in as somebody else.')
    const changed = await provider.decide({ username: 'bob' }, { cookie })
    t.not(sessionOf(changed), cookie)
    const bob = await provider.exchange(location(changed).searchParams.get('code') ?? '')
    t.not(bob.body.guid, guid)
  })

  t.test('is asked again when the app was disconnected', async t => {
    const provider = await start(t)
    const { guid } = await provider.grant()
    const cookie = sessionOf(await provider.decide())
    t.equal((await open(provider, {}, cookie)).status, 302)
    await provider.send(`/sandbox/revoke-user/${guid}`, { method: 'POST' })
    t.equal((await open(provider, {}, cookie)).status, 200)
  })
})
