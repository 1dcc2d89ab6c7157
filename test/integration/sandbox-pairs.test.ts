/** `GET /sandbox/pairs`: what a check of histories has to know about the provider. */
import t, { type Test } from 'tap'
import { nameOf, type SeenPair, type SeenRequest } from '../../sandbox/control/pair-book.ts'
import { startDriven, tokensOf } from '../../sandbox/driver.ts'

async function start(t: Test, rotation: 'instant' | 'on_use') {
  const { driver, close } = await startDriven({ rotation, keepsPairBook: true })
  t.teardown(close)
  async function book() {
    const { text } = await driver.send('/sandbox/pairs')
    const { pairs, requests } = JSON.parse(text) as { pairs: SeenPair[]; requests: SeenRequest[] }
    return { text, requests, pair: (accessToken: string) => pairs.find(({ pair }) => pair === nameOf(accessToken)) }
  }
  return { driver, book }
}

t.test('instant: a refresh ends the pair before, a revocation the one that it names', async t => {
  const { driver, book } = await start(t, 'instant')
  const first = await driver.grant()
  const second = tokensOf(await driver.refresh(first.refresh_token))
  await driver.revoke(second.refresh_token)
  const { pair, requests, text } = await book()
  t.match(pair(first.access_token), { guid: first.guid, parent: null, refreshed: 1, died: { by: 'refresh' } })
  t.match(pair(second.access_token), { parent: nameOf(first.access_token), refreshed: 0, died: { by: 'revoke' } })
  t.match(
    requests.map(({ operation, subject, brought, answer }) => ({ operation, subject, brought, answer })),
    [
      { operation: 'exchange', brought: nameOf(first.access_token), answer: 'whole' },
      { operation: 'refresh', subject: nameOf(first.access_token), brought: nameOf(second.access_token) },
      { operation: 'revoke', subject: nameOf(second.access_token), brought: null },
    ],
  )
  for (const { access_token, refresh_token } of [first, second]) {
    t.notOk(text.includes(access_token) || text.includes(refresh_token), 'no token stands in it')
  }
})

t.test('on_use: the first use of a pair ends the one before', async t => {
  const { driver, book } = await start(t, 'on_use')
  const first = await driver.grant()
  const second = tokensOf(await driver.refresh(first.refresh_token))
  t.match((await book()).pair(first.access_token), { died: null, refreshed: 1 })
  await driver.me(second.access_token)
  t.match((await book()).pair(first.access_token), { died: { by: 'use' } })
})

t.test('a pair whose answer was dropped, or replaced by a failure, is told apart from one that arrived', async t => {
  const { driver, book } = await start(t, 'on_use')
  const { refresh_token: refreshToken } = await driver.grant()
  await driver.addFault({ operation: 'refresh', kind: 'drop_after', times: 1 })
  await t.rejects(driver.refresh(refreshToken))
  await driver.addFault({ operation: 'refresh', kind: 'status_after', times: 1 })
  await driver.refresh(refreshToken)
  await driver.addFault({ operation: 'refresh', kind: 'drop_before', times: 1 })
  await t.rejects(driver.refresh(refreshToken))
  const refreshes = (await book()).requests.filter(({ operation }) => operation === 'refresh')
  t.match(refreshes, [
    { outcome: 'ok', brought: String, answer: 'lost' },
    { outcome: 'ok', brought: String, answer: 'failed' },
    { outcome: null, brought: null, answer: 'lost' },
  ])
})

t.test('a sandbox that keeps no book has no such route', async t => {
  const { driver, close } = await startDriven()
  t.teardown(close)
  t.equal((await driver.send('/sandbox/pairs')).status, 404)
})
