import { once } from 'node:events'
import { createServer } from 'node:http'
import t from 'tap'
import { launchBrowser } from '../support/browser.ts'
import { freePort, startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'

const browser = await launchBrowser(t)
const redis = await startRedis()
t.teardown(() => redis.stop())

/** A gateway that is the redirect_uri itself, and a product that people come back to. */
async function world(t: Parameters<typeof startStack>[0]) {
  const referers: (string | undefined)[] = []
  const product = createServer((request, response) => {
    // The browser asks for that by itself, whenever it likes.
    if (request.url !== '/favicon.ico') referers.push(request.headers.referer)
    response.end('<h1>Back at the product</h1>')
  }).listen(0, '127.0.0.1')
  await once(product, 'listening')
  t.teardown(() => product.close())
  const origin = `http://127.0.0.1:${(product.address() as { port: number }).port}`
  const port = await freePort()
  const redirectUris = [`http://127.0.0.1:${port}/tap-in/callback`]
  const { sandbox, apiKey, gateway } = await startStack(t, redis.url, { redirectUris })
  const client = await gateway({ PORT: String(port), RETURN_TO_ORIGINS: origin })
  const context = await browser.newContext()
  t.teardown(() => context.close())
  return { sandbox, apiKey, client, origin, referers, context, page: await context.newPage() }
}

t.test('Allow: the browser lands on return_to, and the token is there', async t => {
  const { sandbox, client, origin, referers, page } = await world(t)
  const begun = await client.send('POST', '/v1/authorizations', { return_to: `${origin}/connected?from=app` })
  const { state, authorization_url: authorizationUrl } = begun.body
  await page.goto(authorizationUrl)
  t.match(await page.content(), 'stand-in')
  await page.getByRole('textbox').fill('ada')
  await page.getByRole('button', { name: 'Allow' }).click()
  await page.waitForURL(`${origin}/**`)
  t.equal(page.url(), `${origin}/connected?from=app&state=${state}`)
  t.equal(referers[0], undefined, 'the address with the code in it is not passed on')
  const outcome = await client.get(`/v1/authorizations/${state}`)
  t.match(outcome, { status: 200, body: { status: 'connected' } })
  const token = await client.get(`/v1/grants/${outcome.body.guid}/token`)
  t.match((await sandbox.me(token.body.access_token)).body, { guid: outcome.body.guid, username: 'ada' })

  const replayed = await page.goto(`${client.url}/tap-in/callback?state=${state}&code=whatever`)
  t.equal(replayed?.status(), 400)
  t.match(await page.textContent('h1'), 'This link cannot be used')
})

t.test('Deny: the product is told, or the person is', async t => {
  const { client, origin, page } = await world(t)
  const first = (await client.send('POST', '/v1/authorizations', { return_to: `${origin}/` })).body
  await page.goto(first.authorization_url)
  await page.getByRole('button', { name: 'Deny' }).click()
  await page.waitForURL(`${origin}/**`)
  t.match(await client.get(`/v1/authorizations/${first.state}`), { body: { status: 'denied', error: 'access_denied' } })

  const second = (await client.send('POST', '/v1/authorizations', {})).body
  await page.goto(second.authorization_url)
  await page.getByRole('button', { name: 'Deny' }).click()
  await page.waitForURL('**/tap-in/callback**')
  t.match(await page.textContent('h1'), 'You chose not to connect')
})

t.test('a page of ours: styled, and nothing of it gets out', async t => {
  const { client, origin, referers, context, page } = await world(t)
  const complaints: string[] = []
  page.on('console', message => complaints.push(message.text()))
  await page.goto(`${client.url}/tap-in/callback?state=canary-state&code=canary-code`)
  t.match(await page.textContent('h1'), 'This link cannot be used')
  t.equal(
    await page.evaluate("getComputedStyle(document.querySelector('h1')).fontSize"),
    '24px',
    'its style is allowed',
  )
  t.strictSame(
    complaints.filter(text => !/status of 400/.test(text)),
    [],
  )
  t.strictSame(await context.cookies(), [])
  // Whatever may get onto such a page: it cannot load, run, frame or send anything, and a link says nothing of where it stood.
  const blocked = await page.evaluate(`(async origin => {
    const blocked = []
    document.addEventListener('securitypolicyviolation', event => blocked.push(event.effectiveDirective))
    const add = (name, attributes) => document.body.append(Object.assign(document.createElement(name), attributes))
    add('img', { src: origin + '/img' })
    add('script', { src: origin + '/script' })
    add('script', { text: 'window.ran = true' })
    add('iframe', { src: origin + '/frame' })
    add('style', { textContent: 'h1 { color: red }' })
    await fetch(origin + '/fetch').catch(() => {})
    add('form', { action: origin + '/form', method: 'post', id: 'form' })
    document.getElementById('form').submit()
    while (blocked.length < 7) await new Promise(resolve => setTimeout(resolve, 10))
    return [window.ran, ...blocked.map(name => name.replace(/-elem$/, '')).sort()]
  })('${origin}')`)
  t.strictSame(blocked, [
    undefined,
    'connect-src',
    'form-action',
    'frame-src',
    'img-src',
    'script-src',
    'script-src',
    'style-src',
  ])
  t.strictSame(referers, [], 'nothing has got to the other server')
  await page.evaluate(`location.href = '${origin}/next'`)
  await page.waitForURL(`${origin}/next`)
  t.strictSame(referers, [undefined])
})

t.test('the docs page works offline, and tries routes out with an API key', async t => {
  const { apiKey, client, context, page } = await world(t)
  const elsewhere: string[] = []
  const complaints: string[] = []
  await context.route('**/*', route => {
    if (route.request().url().startsWith(client.url) || route.request().url().startsWith('data:'))
      return route.continue()
    elsewhere.push(route.request().url())
    return route.abort()
  })
  page.on('console', message => {
    if (message.type() === 'error') complaints.push(message.text())
  })
  page.on('pageerror', error => complaints.push(error.message))
  await page.goto(`${client.url}/docs`)
  await page.getByText('A valid access token', { exact: true }).waitFor()
  await page.getByRole('button', { name: 'Authorize' }).first().click()
  await page.locator('.modal-ux input').fill(apiKey)
  await page.locator('.modal-ux button.authorize').click()
  await page.locator('.modal-ux button.btn-done').click()
  await page.getByText('All grants, page by page').click()
  await page.getByRole('button', { name: 'Try it out' }).click()
  const answered = page.waitForResponse(response => response.url().includes('/v1/grants'))
  await page.getByRole('button', { name: 'Execute' }).click()
  t.equal((await answered).status(), 200)
  t.strictSame(elsewhere, [])
  t.strictSame(complaints, [])
})
