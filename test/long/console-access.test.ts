/** The console for everybody: by keyboard, by screen reader, on a phone, in the dark; and what browsers are told about it. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import axe, { type AxeResults } from 'axe-core'
import type { Page } from 'playwright-core'
import t from 'tap'
import { launchBrowser } from '../support/browser.ts'
import { HOSTILE, LONG, startConsole } from '../support/console.ts'
import { requestRaw } from '../support/raw.ts'
import { startRedis } from '../support/redis.ts'

const browser = await launchBrowser(t)
const redis = await startRedis()
t.teardown(() => redis.stop())
const world = await startConsole(t, browser, redis)
const { guids } = world

/** By WCAG 2.2: names, roles, order of headings … And the contrast of every text, also of those that are too short for axe. */
async function barriers(page: Page): Promise<readonly string[]> {
  await page.evaluate(axe.source)
  const { violations } = await page.evaluate<AxeResults>('axe.run()')
  const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map(node => node.html).join()}`)
  const contrasts = await page.evaluate<[string, number][]>(CONTRASTS)
  const faint = contrasts.filter(([, ratio]) => ratio < 4.5).map(([text, ratio]) => `${text}: ${ratio}`)
  return contrasts.length > 3 ? [...told, ...faint] : ['no contrast was measured']
}

/** Of each text that is seen, against the first background behind it that is one. WCAG 2.2, 1.4.3. */
const CONTRASTS = `(() => {
  const partsOf = colour => colour.match(/[\\d.]+/g).map(Number)
  const lightOf = ([r, g, b]) => [r, g, b].map(part => part / 255)
    .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0)
  const behind = element => {
    const parts = partsOf(getComputedStyle(element).backgroundColor)
    return parts[3] === 0 && element.parentElement ? behind(element.parentElement) : parts
  }
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  const contrasts = []
  while (texts.nextNode()) {
    const { parentElement: element, data } = texts.currentNode
    if (data.trim() === '' || !element.checkVisibility()) continue
    const [one, other] = [partsOf(getComputedStyle(element).color), behind(element)].map(lightOf)
    contrasts.push([data, (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)])
  }
  return contrasts
})()`

/** Each state of the page, one after the other; `look` at each of them. */
async function everywhere(page: Page, signIn: () => Promise<void>, look: (where: string) => Promise<void>) {
  await look('sign in')
  await page.getByLabel('API key').fill('htgw_nobody')
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('alert').filter({ hasText: 'does not know' }).waitFor()
  await look('a key that is none')
  await signIn()
  await page.getByRole('button', { name: 'Show who they are' }).click()
  await page.getByText('25 shown').waitFor()
  for (const summary of await page.locator('summary').all()) await summary.click()
  await look('overview')
  for (const name of ['ada', LONG, HOSTILE]) {
    await page.evaluate(`location.hash = '#grant/${guids[name]}'`)
    await page
      .locator('#facts code')
      .getByText(guids[name] ?? '', { exact: true })
      .waitFor()
    await look(`grant of ${name.slice(0, 10)}`)
  }
  await page.getByRole('button', { name: 'Revoke…' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click()
  await page.getByRole('alert').filter({ hasText: 'Nothing was revoked' }).waitFor()
  await look('revoke')
}

for (const colorScheme of ['light', 'dark'] as const) {
  for (const width of [1280, 320]) {
    t.test(`no barriers, and no scrolling sideways: ${colorScheme}, ${width} pixels`, async t => {
      const { page, signIn, complaints } = await world.open({ colorScheme, viewport: { width, height: 800 } })
      await everywhere(page, signIn, async where => {
        t.strictSame(await barriers(page), [], where)
        const widest = await page.evaluate<number>('document.documentElement.scrollWidth')
        t.ok(widest <= width, `${where} is ${widest} wide`)
      })
      const background = await page.evaluate<string>('getComputedStyle(document.body).backgroundColor')
      t.equal(background, colorScheme === 'dark' ? 'rgb(16, 21, 27)' : 'rgb(244, 246, 248)')
      t.strictSame(complaints, [])
    })
  }
}

t.test('all of it by keyboard, and one sees where one is', async t => {
  const { page, complaints } = await world.open()
  const focused = async () =>
    await page.evaluate<string>(`(() => {
      const { activeElement: element } = document
      const { outlineStyle, outlineWidth } = getComputedStyle(element)
      const isSeen = outlineStyle === 'solid' && parseFloat(outlineWidth) >= 2
      return (element.labels?.[0]?.textContent ?? element.textContent).trim().split(':')[0] + (isSeen ? '' : ' (not seen)')
    })()`)
  const tab = async (times = 1) => {
    for (let time = 0; time < times; time += 1) await page.keyboard.press('Tab')
    return await focused()
  }
  t.strictSame([await tab(), await tab(), await tab()], ['Skip to the content', 'HealthTap auth gateway', 'API key'])
  await page.keyboard.type(world.keyOf('everything'))
  await page.keyboard.press('Enter')
  await page.getByText('Signed in as everything').waitFor()
  t.match(await focused(), 'Grants and how they stand', 'one is told where one has come')

  await page.keyboard.press('Home')
  const links: string[] = []
  while (!links.at(-1)?.startsWith('Show who they are') && links.length < 40) links.push(await tab())
  t.strictSame(
    links.filter(name => name.includes('not seen')),
    [],
  )
  const people = await page.locator('#soonest tbody a').allTextContents()
  t.strictSame(
    links.slice(-8),
    ['As a table', 'As a table', ...people, 'Show who they are'],
    'in the order of the page',
  )
  await page.keyboard.press('Enter')
  await page.getByText('25 shown').waitFor()

  await page.keyboard.press('Shift+Tab')
  await page.evaluate("document.getElementById('query').focus()")
  await page.keyboard.type('bob')
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { name: 'Grant of bob' }).waitFor()
  t.match(await focused(), 'Grant of bob')
  t.strictSame([await tab(), await tab()], ['Renew now', 'Revoke…'])
  await page.keyboard.press('Enter')
  t.equal(await focused(), 'To be sure, type the end of the guid')
  t.strictSame([await tab(), await tab()], ['Cancel', 'Revoke'])
  await page.keyboard.press('Escape')
  t.equal(await focused(), 'Revoke…', 'back to where one was')

  const address = page.url()
  await page.evaluate('document.activeElement.blur()')
  await page.getByRole('link', { name: 'Skip to the content' }).focus()
  await page.keyboard.press('Enter')
  t.equal(await page.evaluate('document.activeElement.id'), 'content')
  t.equal(page.url(), address)
  t.strictSame(complaints, [])
})

t.test('screen readers are told what changes, once, and are not told the time', async t => {
  const { page, signIn } = await world.open()
  await signIn()
  await page.locator('#totals .tile').first().waitFor()
  const roles = await page.evaluate<string[]>(
    "[...document.querySelectorAll('main, header, footer, search, h1')].filter(e => e.checkVisibility()).map(e => e.localName)",
  )
  t.strictSame(roles, ['header', 'search', 'main', 'h1', 'footer'])
  t.equal(await page.locator('#trouble').getAttribute('role'), 'status')
  t.equal(await page.locator('[role=status] time, [aria-live] time, [role=alert] time').count(), 0)
  const chart = page.getByRole('img', { name: /renewals are due in the six hours after the count/ })
  t.equal(await chart.count(), 1)
  t.equal(await page.getByRole('columnheader', { name: 'Access token expires' }).count(), 1)
})

t.test('less motion, and colours of the reader', async t => {
  const { page, signIn } = await world.open({ reducedMotion: 'reduce', forcedColors: 'active' })
  await signIn()
  await page.locator('#due rect[height="100"]').first().waitFor()
  const style = (selector: string, property: string) =>
    page.evaluate<string>(`getComputedStyle(document.querySelector('${selector}')).${property}`)
  t.equal(await style('#refresh', 'transitionDuration'), '0s')
  t.not(await style('#due rect[height="100"]', 'fill'), await style('body', 'backgroundColor'))
  t.equal(await style('.badge', 'borderStyle'), 'solid')
})

t.test('under a path of a proxy it works as it is', async t => {
  const proxy = createServer(async (request, response) => {
    const { method = '', url = '', headers } = request
    const path = url.replace(/^\/ops\/gateway\//, '/')
    const answer = await fetch(`${world.client().url}${path}`, {
      method,
      headers: { authorization: headers.authorization ?? '' },
      redirect: 'manual',
    })
    response.writeHead(answer.status, {
      'content-type': answer.headers.get('content-type') ?? '',
      location: answer.headers.get('location') ?? '',
    })
    response.end(await answer.text())
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.teardown(() => proxy.close())
  const address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}/ops/gateway/console`
  const page = await browser.newPage()
  t.teardown(() => page.close())
  await page.goto(`${address}/`)
  t.equal(page.url(), address)
  await page.getByLabel('API key').fill(world.keyOf('everything'))
  await page.keyboard.press('Enter')
  await page.getByText('Signed in as everything').waitFor()
})

t.test('what browsers are told: nothing from elsewhere, nothing inline, and to ask again', async t => {
  const { url } = world.client()
  const page = await requestRaw(url, 'GET', '/console')
  t.equal(page.status, 200)
  const policy = page.headers.get('content-security-policy') ?? ''
  t.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self';/)
  t.match(policy, "frame-ancestors 'none'")
  t.notMatch(policy, /unsafe|\*|http|data:/)
  t.notMatch(page.body, / style=|<style| on[a-z]+=|<script(?! type="module" src=)|https?:/, 'nothing inline')
  const expected = {
    'cache-control': 'no-cache',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
    'cross-origin-opener-policy': 'same-origin',
    'x-frame-options': 'DENY',
  }
  for (const [name, value] of Object.entries(expected)) t.equal(page.headers.get(name), value, name)
  t.notOk(page.headers.has('set-cookie'))
  const etag = page.headers.get('etag') ?? ''
  t.equal((await requestRaw(url, 'GET', '/console', [`if-none-match: ${etag}`])).status, 304)
  t.equal((await requestRaw(url, 'GET', '/console', ['if-none-match: "another"'])).status, 200)
  t.match(await requestRaw(url, 'HEAD', '/console/main.js'), { status: 200 })
  const moved = await requestRaw(url, 'GET', '/console/')
  t.match([moved.status, moved.headers.get('location')], [308, '../console'])

  const opened = await world.open()
  const blocked = await opened.page.evaluate(`(async () => {
    const blocked = []
    document.addEventListener('securitypolicyviolation', event => blocked.push(event.effectiveDirective))
    const add = (name, attributes) => document.body.append(Object.assign(document.createElement(name), attributes))
    add('img', { src: 'http://127.0.0.1:1/img' })
    add('iframe', { src: '/docs' })
    add('style', { textContent: 'h1 { color: red }' })
    try { document.body.innerHTML = '<b>' } catch { blocked.push('markup') }
    try { add('script', { text: 'window.ran = 1' }) } catch { blocked.push('script') }
    await fetch('http://127.0.0.1:1/').catch(() => {})
    for (let turn = 0; blocked.length < 8 && turn < 500; turn += 1) await new Promise(resolve => setTimeout(resolve, 10))
    return [window.ran, ...blocked.sort()]
  })()`)
  t.strictSame(blocked, [
    undefined,
    'connect-src',
    'frame-src',
    'img-src',
    'markup',
    'require-trusted-types-for',
    'require-trusted-types-for',
    'script',
    'style-src-elem',
  ])
})
