/** What a sandbox with a data file still knows after it was killed; and where it listens when it is not for this machine alone. */
import { appendFileSync, readFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startDriven, tokensOf } from '../../sandbox/driver.ts'
import { selfSigned } from '../support/certificates.ts'
import { freePort } from '../support/redis.ts'

const APP = { appId: 'an app', appSecret: 'its secret' }

/** Starts sandboxes on one file. What was there before is left as a kill would leave it: nothing is written at the end. */
function lives(t: Test, options: Parameters<typeof startDriven>[0] = {}) {
  const dataFile = join(t.testdir(), 'sandbox.jsonl')
  async function next() {
    const { driver, close } = await startDriven({ ...APP, ...options, dataFile })
    t.teardown(close)
    return driver
  }
  return { dataFile, next }
}

for (const rotation of ['instant', 'on_use'] as const) {
  t.test(`pairs outlive a restart (${rotation})`, async t => {
    const { next } = lives(t, { rotation })
    const before = await next()
    const first = await before.grant({ username: 'ada' })
    const second = tokensOf(await before.refresh(first.refresh_token))
    const revoked = await before.grant({ username: 'grace' })
    await before.revoke(revoked.refresh_token)

    const after = await next()
    t.equal(await after.livePairs(first.guid), rotation === 'instant' ? 1 : 2)
    t.match(await after.me(second.access_token), { status: 200, body: { guid: first.guid, username: 'ada' } })
    t.equal((await after.me(revoked.access_token)).status, 401)

    const last = await next()
    t.match(await last.refresh(first.refresh_token), { status: 400, body: { error: 'invalid_grant' } }, 'used, so dead')
    t.equal((await last.refresh(second.refresh_token)).status, 200)
    t.equal((await last.grant({ username: 'ada' })).guid, first.guid, 'a name is the same person')
    t.match(await last.createUser('grace'), { status: 422 })
  })
}

t.test('half a line that a kill has left is no line, and the next one is not spoilt by it', async t => {
  const { dataFile, next } = lives(t)
  const { guid } = await (await next()).grant({ username: 'ada' })
  appendFileSync(dataFile, '{"person":{"guid":"half')
  const { guid: other } = await (await next()).grant({ username: 'grace' })
  const last = await next()
  t.equal(await last.livePairs(guid), 1)
  t.equal(await last.livePairs(other), 1)
  t.notMatch(readFileSync(dataFile, 'utf8'), 'half')
})

t.test('without a file everything is forgotten', async t => {
  const first = await startDriven(APP)
  const { refresh_token } = await first.driver.grant()
  await first.close()
  const second = await startDriven(APP)
  t.teardown(second.close)
  t.match(await second.driver.refresh(refresh_token), { status: 400 })
})

t.test('for other containers: any address, and TLS beside the plain one', async t => {
  const { cert, key } = await selfSigned(t, 'sandbox', { subject: '/CN=sandbox', san: 'DNS:sandbox' })
  const tls = { port: await freePort(), cert, key }
  const { driver, close } = await startDriven({ ...APP, host: '0.0.0.0', beyondThisMachine: true, tls })
  const { access_token } = await driver.grant({ username: 'ada' })
  const answered = await new Promise<{ status: number | undefined; text: string }>((resolve, reject) => {
    const headers = { authorization: `Bearer ${access_token}` }
    const options = { host: '127.0.0.1', port: tls.port, servername: 'sandbox', ca: cert, path: '/api/v2.1/me.json' }
    request({ ...options, headers, agent: false }, response => {
      response.setEncoding('utf8').on('data', text => resolve({ status: response.statusCode, text }))
    })
      .on('error', reject)
      .end()
  })
  t.match(answered, { status: 200, text: '"username":"ada"' })
  await close()
  await t.rejects(fetch(`https://127.0.0.1:${tls.port}/`), 'closed together with the plain one')
})
