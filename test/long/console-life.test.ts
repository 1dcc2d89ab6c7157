/** The console over time: it looks again by itself, outlives outages, and ends a session that has to end. Time is the page's, and moved. */
import t from 'tap'
import { change } from '../../src/broker/context.ts'
import type { GrantCounts } from '../../src/ports/records.ts'
import { GRANTS } from '../../src/ports/store.ts'
import { encryptionKeys } from '../../src/settings/forms.ts'
import { systemClock } from '../../src/system/clock.ts'
import { openRedisStores } from '../contract/redis-stores.ts'
import { launchBrowser } from '../support/browser.ts'
import { CALLERS, type Opened, startConsole } from '../support/console.ts'
import { until } from '../support/process.ts'
import { startRedis } from '../support/redis.ts'

const LOOK_MS = 15_000
const MINUTE_MS = 60_000

const browser = await launchBrowser(t)
const redis = await startRedis()
t.teardown(() => redis.stop())
const world = await startConsole(t, browser, redis)
const { guids } = world

async function signedIn(as: keyof typeof CALLERS = 'everything') {
  const opened = await world.open()
  await opened.signIn(as)
  await opened.page.locator('#totals .tile').first().waitFor()
  opened.asked.length = 0
  return opened
}

/** What is said while something is not as it should be. */
const trouble = ({ page }: Opened, text: string) => page.locator('#trouble').filter({ hasText: text }).waitFor()
const isOver = ({ page }: Opened) => page.locator('#trouble:empty').waitFor({ state: 'attached' })

/** The tab gets out of sight, or back into it. */
async function setHidden({ page }: Opened, isHidden: boolean): Promise<void> {
  await page.evaluate(`Object.defineProperty(document, 'hidden', { configurable: true, get: () => ${isHidden} })
    document.dispatchEvent(new Event('visibilitychange'))`)
}

t.test('it looks by itself every 15 seconds, and not while nobody sees it', async t => {
  const opened = await signedIn()
  const { page, asked } = opened
  await page.clock.fastForward(LOOK_MS)
  await until(() => asked.length === 1)
  await page.getByText(/^Fetched (now|\d s ago)$/).waitFor()
  await page.getByRole('link', { name: 'ada', exact: true }).click()
  await page.locator('#facts code').waitFor()
  asked.length = 0
  await page.clock.fastForward(LOOK_MS)
  await until(() => asked.length === 2)
  t.strictSame(asked, ['GET /v1/overview', `GET /v1/grants/${guids.ada}`], 'with the grant that is shown')

  await setHidden(opened, true)
  await page.clock.fastForward(5 * MINUTE_MS)
  t.equal(asked.length, 2)
  await setHidden(opened, false)
  await until(() => asked.length === 4)
  t.strictSame(opened.complaints, [])
})

t.test('what one reads stays as it is when the figures are fetched anew', async t => {
  const { page, asked } = await signedIn()
  await page.locator('#due summary').click()
  await page.locator('#soonest a').nth(2).focus()
  const before = await page.evaluate<string>('document.activeElement.title')
  await page.clock.fastForward(LOOK_MS)
  await until(() => asked.length === 1)
  await page.getByText('Fetched now').waitFor()
  t.ok(await page.locator('#due table').isVisible())
  t.notOk(await page.locator('#renewed table').isVisible())
  t.equal(await page.evaluate('document.activeElement.title'), before)
})

t.test('the gateway goes away and comes back', async t => {
  const opened = await signedIn()
  const { page } = opened
  await world.client().close()
  await page.clock.fastForward(LOOK_MS)
  await trouble(opened, 'The gateway cannot be reached. What is shown is older')
  t.equal(await page.locator('[data-status=active] .count').textContent(), '5', 'what was seen stays')
  await page.getByLabel('Guid or username').fill('ada')
  await page.keyboard.press('Enter')
  await page.locator('#search-message').filter({ hasText: 'The gateway cannot be reached.' }).waitFor()
  await page.getByRole('button', { name: 'Show who they are' }).click()
  await page.locator('#ended-message').filter({ hasText: 'The gateway cannot be reached.' }).waitFor()
  await world.restart()
  await page.clock.fastForward(LOOK_MS)
  await isOver(opened)
  await page.getByRole('button', { name: 'Try again' }).click()
  await page.getByText('25 shown, and there may be more.').waitFor()
})

t.test('the store goes away and comes back', async t => {
  const opened = await signedIn()
  const { page } = opened
  t.teardown(() => redis.kill('SIGCONT'))
  await redis.kill('SIGSTOP')
  await page.getByRole('button', { name: 'Refresh' }).click()
  await trouble(opened, 'The gateway cannot reach its store.')
  // Degraded, where a token that lives was read here before: that one is answered all the same.
  await page
    .locator('#checks li')
    .filter({ hasText: 'Store' })
    .getByText(/unavailable|degraded/)
    .first()
    .waitFor()
  await redis.kill('SIGCONT')
  await until(async () => {
    await page.clock.fastForward(LOOK_MS)
    return await page.locator('#trouble').evaluate(element => element.textContent === '')
  })
  await page.locator('#checks li').filter({ hasText: 'Store' }).getByText('works').waitFor()
  t.strictSame(opened.complaints, [])
})

t.test('HealthTap is away: what is degraded says so in words', async t => {
  const { sandbox, client, keyOf } = world
  const { page } = await signedIn()
  t.teardown(() => sandbox.clearFaults())
  await sandbox.addFault({ operation: 'any', kind: 'status_before', times: 1_000 })
  const report = () =>
    client().send('POST', `/v1/grants/${guids.ada}/refresh`, { version: 2 }, bearer(keyOf('everything')))
  await until(async () => {
    await report()
    return (await client().get('/health/ready')).body.status === 'degraded'
  })
  await page.getByRole('button', { name: 'Refresh' }).click()
  const check = page.locator('#checks li').filter({ hasText: 'HealthTap does not work just now.' })
  await check.getByText('degraded').waitFor()
  t.equal(await check.locator('.badge.warning .symbol').textContent(), '!', 'not by its colour alone')
  await sandbox.clearFaults()
  await until(async () => (await client().get('/health/ready')).body.status === 'ok')
})

const bearer = (key: string) => ({ authorization: `Bearer ${key}` })

t.test('where the gateway asks to wait, nobody asks', async t => {
  const opened = await signedIn('limited')
  const { page, asked } = opened
  const button = page.getByRole('button', { name: 'Refresh' })
  await until(async () => (await world.client().get('/v1/overview', world.keyOf('limited'))).status === 429)
  await button.click()
  await trouble(opened, 'the gateway asks to wait')
  const [, seconds] = /wait (\d+) s/.exec((await page.locator('#trouble').textContent()) ?? '') ?? []
  await page.locator('#checks .badge').first().waitFor()
  t.equal(asked.length, 1)
  await button.click()
  t.equal(asked.length, 1)
  await page.clock.fastForward((Number(seconds) + LOOK_MS / 1000) * 1000)
  await until(() => asked.length === 2)
})

t.test('a key, or a permission, that is taken away ends the session', async t => {
  const cases = [
    [[CALLERS.everything.entry], 'The gateway does not know this key, or not any more.'],
    [
      [CALLERS.everything.entry, { ...CALLERS.reader.entry, permissions: ['token:read'] }],
      'The caller reader lacks the permission grant:read.',
    ],
  ] as const
  for (const [entries, reason] of cases) {
    const { page, findings } = await signedIn('reader')
    await world.restart({ CALLERS: JSON.stringify(entries) })
    await page.clock.fastForward(LOOK_MS)
    await page.getByRole('alert').filter({ hasText: reason }).waitFor()
    t.notMatch(await page.content(), guids.ada, 'nothing stays')
    t.strictSame(await findings(), [])
    await world.restart()
  }
})

t.test('whoever does nothing for a quarter of an hour, or reloads, is signed out', async t => {
  const { page, asked, findings } = await signedIn()
  await page.clock.fastForward(14 * MINUTE_MS)
  await page.keyboard.press('Shift')
  await page.clock.fastForward(14 * MINUTE_MS)
  t.ok(await page.getByText('Signed in as everything').isVisible())
  await page.clock.fastForward(MINUTE_MS)
  await page.getByRole('alert').filter({ hasText: 'nothing was done for 15 minutes' }).waitFor()
  t.notMatch(await page.content(), guids.ada)
  asked.length = 0
  await page.clock.fastForward(LOOK_MS)
  t.strictSame(asked, [], 'nothing is asked any more')

  t.equal(await page.title(), 'Console')

  const other = await signedIn()
  await other.page.goto(`${world.client().url}/health/live`)
  await other.page.goBack()
  await other.page.getByRole('heading', { name: 'Sign in to the console' }).waitFor()
  await other.signIn()
  await other.page.locator('#totals .tile').first().waitFor()
  await other.page.reload()
  await other.page.getByRole('heading', { name: 'Sign in to the console' }).waitFor()
  t.strictSame([...(await findings()), ...(await other.findings())], [])
})

t.test('where nobody has counted, or an earlier version has, it says so', async t => {
  const { REDIS_PREFIX: prefix = '', ENCRYPTION_KEYS: keys = '' } = world.environment
  const stores = openRedisStores(redis, systemClock, { prefix, keys: encryptionKeys(keys) })
  t.teardown(() => stores.close())
  const { page } = await signedIn()
  // While somebody has the lease, nobody else counts.
  const put = (counts: GrantCounts | null) =>
    change(stores.censuses, GRANTS, () => ({ owner: 'test', leaseUntilMs: Date.now() + MINUTE_MS, counts }))
  await put(null)
  await page.getByRole('button', { name: 'Refresh' }).click()
  await page.getByText('Nobody has counted the grants yet').waitFor()
  t.equal(await page.getByText('Not counted yet.').count(), 6)
  const byStatus = { active: 1_234_567, in_doubt: 0, reauthorization_required: 0, revoking: 0 }
  await put({ atMs: Date.now(), byStatus, lapsing: { '0': 0, '60': 0, '300': 0 } })
  await page.getByRole('button', { name: 'Refresh' }).click()
  await page.getByText('1,234,567 in all.').waitFor()
  t.equal(await page.getByText('made by a gateway of an earlier version').count(), 5)
})
