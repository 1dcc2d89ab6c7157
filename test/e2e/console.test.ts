/** The operators' console: what it shows is what the API says, what it does is done, and no secret gets into the page. */
import t from 'tap'
import { encryptionKeys } from '../../src/settings/forms.ts'
import { systemClock } from '../../src/system/clock.ts'
import { openRedisStores } from '../contract/redis-stores.ts'
import { launchBrowser } from '../support/browser.ts'
import { HOSTILE, LONG, overviewOf, startConsole } from '../support/console.ts'
import { knownGrant } from '../support/key-drill.ts'
import { until } from '../support/process.ts'
import { startRedis } from '../support/redis.ts'

const browser = await launchBrowser(t)
const redis = await startRedis()
t.teardown(() => redis.stop())
const world = await startConsole(t, browser, redis)
const { guids, sandbox } = world

t.test('whoever has no key that is good for it is told why', async t => {
  const { page, signIn, asked, complaints, findings } = await world.open()
  const problem = page.getByRole('alert')
  const tries = [
    ['', 'nothing is asked without a key', []],
    ['a key with spaces', 'That is no key', []],
    ['htgw_nobody', 'does not know this key', ['GET /v1/overview']],
  ] as const
  for (const [key, text, requests] of tries) {
    asked.length = 0
    await page.getByLabel('API key').fill(key)
    await page.getByRole('button', { name: 'Sign in' }).click()
    if (key !== '') await problem.filter({ hasText: text }).waitFor()
    t.strictSame(asked, requests, text)
  }
  await signIn('tokens')
  await problem.filter({ hasText: 'The caller tokens lacks the permission grant:read.' }).waitFor()
  t.equal(await page.getByLabel('API key').getAttribute('type'), 'password')
  await signIn('reader')
  await page.getByText('Signed in as reader').waitFor()
  t.equal(await page.getByLabel('API key').inputValue(), '', 'the key is in no field any more')
  t.strictSame(await findings(), [])
  await page.getByRole('button', { name: 'Sign out' }).click()
  await problem.filter({ hasText: 'Signed out.' }).waitFor()
  t.notMatch(await page.content(), guids.ada, 'nothing of what was shown stays in the page')
  t.strictSame(complaints, [])
})

t.test('totals, charts and lists are what the API says', async t => {
  const { page, signIn, complaints, findings } = await world.open()
  await signIn()
  await page.getByText('Signed in as everything').waitFor()
  const told = await overviewOf(world.client())
  t.match(told.grants, { active: 5, reauthorization_required: 30 })
  for (const [status, count] of Object.entries(told.grants)) {
    t.equal(await page.locator(`[data-status=${status}] .count`).textContent(), String(count), status)
  }
  for (const name of ['renewed', 'due']) {
    const counts = told[name].map(({ count }: { count: number }) => count)
    t.ok(Math.max(...counts) > 0, `${name}: there is something to see`)
    const rows = await page.locator(`#${name} tbody td`).allTextContents()
    t.strictSame(rows.map(Number), counts, `${name}: the table`)
    const heights = await page
      .locator(`#${name} rect`)
      .evaluateAll(bars => bars.map(bar => Number(bar.getAttribute('height'))))
    const most = Math.max(...counts)
    t.strictSame(
      heights,
      counts.map((count: number) => (100 * count) / most),
      `${name}: the bars`,
    )
  }
  const soonest = await page.locator('#soonest tbody a').evaluateAll(links => links.map(link => link.title))
  t.strictSame(
    soonest,
    told.soonest.map(({ guid }: { guid: string }) => guid),
  )
  t.equal(soonest.length, 5)
  t.strictSame(await page.locator('#checks .badge').allTextContents(), Array(6).fill('✓works'))
  await page.getByText('30 HealthTap refused the refresh token at the first try').waitFor()

  await page.getByRole('button', { name: 'Show who they are' }).click()
  await page.getByText('25 shown, and there may be more.').waitFor()
  await page.getByRole('button', { name: 'More' }).click()
  await page.getByText('30 shown: these are all.').waitFor()
  t.equal(await page.locator('#ended tbody tr').count(), 30)
  t.notOk(await page.locator('#more').isVisible())
  t.strictSame(await findings(), [])
  t.strictSame(complaints, [])
})

t.test('somebody is found by guid, by username, and by a name that is markup', async t => {
  const { page, signIn, complaints, findings } = await world.open()
  await signIn()
  const find = async (wanted: string) => {
    await page.getByLabel('Guid or username').fill(wanted)
    await page.keyboard.press('Enter')
  }
  for (const [wanted, name] of [
    [guids.ada ?? '', 'ada'],
    ['bob', 'bob'],
    [HOSTILE, HOSTILE],
    [LONG, LONG],
  ] as const) {
    await find(wanted)
    await page.getByRole('heading', { name: `Grant of ${name}`, exact: true }).waitFor()
    await page
      .locator('#facts code')
      .getByText(guids[name] ?? '', { exact: true })
      .waitFor()
    t.equal(new URL(page.url()).hash, `#grant/${guids[name]}`)
  }
  await find('nobody')
  await page.getByText('No grant has the guid or the username nobody.').waitFor()
  await find('..')
  await page.getByText('No grant has the guid or the username ...').waitFor()
  await page.getByRole('link', { name: 'All grants' }).click()
  await page.getByRole('link', { name: HOSTILE }).click()
  await page.getByRole('heading', { name: `Grant of ${HOSTILE}` }).waitFor()
  t.equal(await page.evaluate('window.ran'), undefined, 'nothing of it has run')
  t.equal(await page.locator('main img, main script').count(), 0)
  await page.goBack()
  await page.getByRole('heading', { name: 'Grants and how they stand' }).waitFor()
  t.strictSame(await findings(), [])
  t.strictSame(complaints, [])
})

t.test('a time line has what was, now, and what will be, in order', async t => {
  const { page, signIn } = await world.open()
  await signIn()
  await page.getByRole('link', { name: 'ada', exact: true }).click()
  const timeline = page.getByRole('list').filter({ hasText: 'First authorized' })
  await timeline.waitFor()
  t.strictSame(await timeline.locator('.what').allTextContents(), [
    'First authorized',
    'Renewed last',
    'Now',
    'Renewal due',
    'Access token expires',
  ])
  const grant = (await world.client().get(`/v1/grants/${guids.ada}`, world.keyOf('everything'))).body
  const times = await timeline.locator('time').evaluateAll(all => all.map(time => [time.dateTime, time.title]))
  const expected = [grant.created_at, grant.last_refreshed_at, grant.refresh_due_at, grant.access_token_expires_at]
  t.strictSame(
    times,
    expected.map(at => [at, at.replace('T', ' ').replace('Z', ' UTC')]),
  )
  t.match(await timeline.locator('time').last().textContent(), /^in 1 h \d+ min$/)
  await page.goto(`${world.client().url}/console#grant/ended-3`)
  await timeline.getByText('Ended by HealthTap').waitFor()
  await timeline.getByText('Ask the person to authorize again').waitFor()
  t.equal(await page.locator('[aria-current=time] ~ li').count(), 0)
})

t.test('buttons are there for those alone who may', async t => {
  const { page, signIn } = await world.open()
  const shown = async (as: 'reader' | 'refresher' | 'writer' | 'everything', guid: string) => {
    await page.goto(`${world.client().url}/console#grant/${guid}`)
    await signIn(as)
    await page.locator('#facts code').getByText(guid, { exact: true }).waitFor()
    const buttons = await page.locator('#grant button').filter({ visible: true }).allTextContents()
    await page.getByRole('button', { name: 'Sign out' }).click()
    return buttons
  }
  const { ada = '' } = guids
  t.strictSame(await shown('reader', ada), [])
  t.strictSame(await shown('refresher', ada), ['Renew now'])
  t.strictSame(await shown('writer', ada), ['Revoke…'])
  t.strictSame(await shown('everything', ada), ['Renew now', 'Revoke…'])
  t.strictSame(await shown('everything', 'ended-0'), ['Revoke…'], 'what has ended cannot be renewed')
})

t.test('a renewal is made once, and its token does not get into the page', async t => {
  const { page, signIn, asked, complaints, findings } = await world.open()
  await signIn()
  await page.getByRole('link', { name: 'bob', exact: true }).click()
  await page.getByRole('button', { name: 'Renew now' }).click()
  await page.getByText('Renewed: version 1 is not the current one any more.').waitFor()
  await page.locator('#facts dd').filter({ hasText: /^2$/ }).waitFor()
  t.equal(asked.filter(line => line.startsWith('POST')).length, 1)
  t.equal((await sandbox.counts()).grants[guids.bob ?? '']?.refreshes, 1)
  t.strictSame(await findings(), [])

  await sandbox.addFault({ operation: 'refresh', kind: 'status_before', guid: guids.bob ?? '', times: 1 })
  await page.getByRole('button', { name: 'Renew now' }).click()
  await page
    .getByText(/HealthTap (cannot be reached|could not|gave)/)
    .first()
    .waitFor()
  t.strictSame(await findings(), [])
  t.strictSame(complaints, [])
  await sandbox.clearFaults()
})

t.test('a revocation asks twice, and says what came of it', async t => {
  const { page, signIn, asked, complaints } = await world.open()
  await signIn()
  await page.getByRole('link', { name: 'eve', exact: true }).click()
  const { eve = '' } = guids
  const dialog = page.getByRole('dialog', { name: 'Revoke the grant of eve?' })
  const confirm = dialog.getByRole('button', { name: 'Revoke' })
  await page.getByRole('button', { name: 'Revoke…' }).click()
  await dialog.getByText(eve, { exact: true }).waitFor()
  await dialog.getByRole('textbox').fill('000000')
  await confirm.click()
  await dialog.getByRole('alert').filter({ hasText: 'Nothing was revoked.' }).waitFor()
  await dialog.getByRole('button', { name: 'Cancel' }).click()
  t.notOk(await dialog.isVisible())
  t.strictSame(
    asked.filter(line => line.startsWith('DELETE')),
    [],
  )

  await sandbox.addFault({ operation: 'revoke', kind: 'status_before', times: 1 })
  await page.getByRole('button', { name: 'Revoke…' }).click()
  await dialog.getByRole('textbox').fill(eve.slice(-6))
  await confirm.click()
  await page.getByText('HealthTap has not confirmed it yet').waitFor()
  await page.locator('#revoke').waitFor({ state: 'hidden' })
  t.equal(await page.evaluate('document.activeElement.id'), 'grant-heading', 'the button has gone, and not the focus')
  const token = await world.client().get(`/v1/grants/${eve}/token`, world.keyOf('everything'))
  t.equal(token.status, 404, 'nobody is given its token')
  await until(async () => (await world.client().get(`/v1/grants/${eve}`, world.keyOf('everything'))).status === 404)

  await page.goto(`${world.client().url}/console#grant/ended-7`)
  await page.getByRole('button', { name: 'Revoke…' }).click()
  await page.getByRole('dialog').getByRole('textbox').fill('nded-7')
  await page.keyboard.press('Enter')
  await page.getByText('Revoked: HealthTap has confirmed it, and the grant is gone.').waitFor()
  await page.locator('#grant-body').waitFor({ state: 'hidden' })
  t.equal((await world.client().get('/v1/grants/ended-7', world.keyOf('everything'))).status, 404)
  t.strictSame(complaints, [])
})

t.test('a caller that is narrowed sees its own alone', async t => {
  const { page, signIn } = await world.open()
  await signIn('ofAda')
  await page.getByText('This key reaches some people alone').waitFor()
  t.strictSame(await page.locator('#soonest tbody a').allTextContents(), ['ada'])
  await page.getByLabel('Guid or username').fill('ada')
  await page.keyboard.press('Enter')
  await page.getByRole('heading', { name: 'Grant of ada' }).waitFor()
  await page.getByLabel('Guid or username').fill(guids.bob ?? '')
  await page.keyboard.press('Enter')
  await page.getByText(`may not reach the guid ${guids.bob}`).waitFor()
  t.notMatch(await page.content(), HOSTILE)
})

t.test('grants that need attention: how many, which, and why', async t => {
  const first = await world.open()
  await first.signIn()
  await first.page.getByText('None: no grant has failed to be refreshed five times in a row.').waitFor()

  const stores = openRedisStores(redis, systemClock, {
    prefix: world.environment.REDIS_PREFIX ?? '',
    keys: encryptionKeys(world.environment.ENCRYPTION_KEYS ?? ''),
  })
  t.teardown(() => stores.close())
  const nowMs = Date.now()
  for (const [guid, attempts, username] of [
    ['failing-ada', 12, HOSTILE],
    ['failing-bob', 5, null],
    ['calm', 4, null],
  ] as const) {
    const lastError = { code: 'provider_response_invalid' as const, atMs: nowMs - 60_000, attempts }
    await stores.grants.write(guid, 0, { ...knownGrant(guid, nowMs), username, lastError })
  }
  await world.recount()
  const { page, signIn, complaints, findings } = await world.open()
  await signIn()
  const section = page.getByRole('region', { name: 'Need attention' })
  await section.getByText('2 by the last count').waitFor()
  const guidsShown = await section.locator('tbody a').evaluateAll(links => links.map(link => link.title))
  t.strictSame(guidsShown.sort(), ['failing-ada', 'failing-bob'])
  await section.getByText('HealthTap gave an answer that cannot be used.').first().waitFor()
  t.strictSame(await section.locator('tbody tr', { hasText: 'failing-ada' }).locator('td').nth(1).textContent(), '12')
  t.equal(await page.evaluate('window.ran'), undefined, 'no name is run as markup')
  if (process.env.SCREENSHOT !== undefined) await page.screenshot({ path: process.env.SCREENSHOT, fullPage: true })
  await section.getByRole('link', { name: 'failing-bob' }).click()
  await page.getByRole('heading', { name: 'Grant of failing-bob' }).waitFor()
  t.strictSame(await findings(), [])
  t.strictSame(complaints, [])
})
