/** A running process whose settings change: files are written anew, and SIGHUP is sent. */
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { startDriven } from '../../sandbox/driver.ts'
import { newCaller, newEncryptionKey } from '../../src/cli/keys.ts'
import { startRedis } from '../support/redis.ts'
import { startServe } from '../support/serve.ts'

t.test('secret, keys and callers change without a restart; what is wrong changes nothing', async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const { driver: sandbox, close } = await startDriven()
  t.teardown(close)
  const dir = mkdtempSync(join(tmpdir(), 'htgw-reload-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const [first, second] = [newCaller('first', ['*']), newCaller('second', ['*'])]
  const [oldKey, newKey] = [newEncryptionKey(), newEncryptionKey()]
  const write = (name: string, text: string) => writeFileSync(join(dir, name), text)
  write('callers', JSON.stringify([first.entry]))
  write('keys', oldKey)
  write('secret', 'wrong')
  const environment = {
    PORT: '0',
    HEALTHTAP_APP_ID: sandbox.options.appId,
    HEALTHTAP_APP_SECRET_FILE: join(dir, 'secret'),
    HEALTHTAP_API_URL: sandbox.options.url,
    HEALTHTAP_REDIRECT_URIS: sandbox.options.redirectUri,
    REDIS_URL: redis.url,
    ENCRYPTION_KEYS_FILE: join(dir, 'keys'),
    CALLERS_FILE: join(dir, 'callers'),
    JOURNAL_DIR: join(dir, 'journal'),
  }
  const { process: serve, url, reload } = await startServe(t, environment)
  const send = async (caller: { apiKey: string }, method: string, path: string, body?: unknown) => {
    const headers = { authorization: `Bearer ${caller.apiKey}`, 'content-type': 'application/json' }
    const response = await fetch(`${url}${path}`, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
    })
    return { status: response.status, body: JSON.parse(await response.text()) }
  }
  const provision = (caller: { apiKey: string }, username: string) => send(caller, 'POST', '/v1/users', { username })

  t.match(await provision(first, '4711'), { status: 502, body: { code: 'client_misconfigured' } })
  write('secret', sandbox.options.appSecret)
  await reload(/settings are reloaded/)
  const { body, status } = await provision(first, '4711')
  t.equal(status, 201)

  write('callers', '[{"name":7}]')
  t.match(await reload(/settings are not reloaded/), { problems: [/^CALLERS \[0\]/] })
  t.match(await send(first, 'GET', `/v1/grants/${body.guid}`), { status: 200 })
  write('callers', JSON.stringify([second.entry]))
  await reload(/settings are reloaded/)
  t.match(await send(first, 'GET', `/v1/grants/${body.guid}`), { status: 401 })
  t.match(await send(second, 'GET', `/v1/grants/${body.guid}`), { status: 200 })

  write('keys', `${newKey},${oldKey}`)
  await reload(/settings are reloaded/)
  t.match(await provision(second, '4712'), { status: 201 })
  write('keys', newKey)
  await reload(/settings are reloaded/)
  t.match(await send(second, 'GET', '/v1/grants?username=4712'), { body: { items: [{ username: '4712' }] } })
  t.match(await send(second, 'GET', `/v1/grants/${body.guid}/token`), { status: 500, body: { code: 'internal_error' } })

  serve.kill('SIGTERM')
  t.strictSame(await once(serve, 'exit'), [0, null])
})
