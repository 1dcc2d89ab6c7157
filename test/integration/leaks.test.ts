import { Redis } from 'ioredis'
import t from 'tap'
import { auditLinesIn } from '../support/audit.ts'
import { startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'

t.test('no secret stands in a log line, an error, or the store', async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const { sandbox, redirectUri, apiKey, keyFor, logged, gateway } = await startStack(t, redis.url)
  const client = await gateway()
  const secrets = new Set([apiKey, keyFor('token:read'), sandbox.options.appSecret])
  const errors: string[] = []

  async function remember(work: ReturnType<typeof client.send>): Promise<{ guid: string; version: number }> {
    const { status, body } = await work
    if (status >= 400) errors.push(JSON.stringify(body))
    else if (body.access_token) secrets.add(body.access_token)
    return body
  }
  const { guid } = await remember(client.send('POST', '/v1/users', { username: '4711' }))
  await remember(client.send('POST', `/v1/grants/${guid}/refresh`, { version: 1 }))
  const begun = await client.send('POST', '/v1/authorizations', {})
  t.equal(begun.status, 201)
  const code = await sandbox.code()
  secrets.add(code)
  await remember(client.send('POST', '/v1/grants', { code, redirect_uri: redirectUri }))
  const imported = { access_token: 'canary-access-1f4e', refresh_token: 'canary-refresh-2a9c', expires_in: 60 }
  secrets.add(imported.access_token).add(imported.refresh_token)
  await remember(client.send('PUT', '/v1/grants/imported', imported))
  for (const fault of ['malformed', 'status_after', 'wrong_credentials', 'drop_after'] as const) {
    await sandbox.addFault({ operation: 'refresh', kind: fault, times: 1, body: 'canary-upstream-77aa' })
    const { version } = (await client.get(`/v1/grants/${guid}`)).body
    await remember(client.send('POST', `/v1/grants/${guid}/refresh`, { version }))
  }
  secrets.add('canary-upstream-77aa')
  for (const body of ['{"code":"canary-body-91d2"', { code: 'canary-body-91d2', x: 'canary-body-91d2' }]) {
    await remember(client.send('POST', '/v1/grants', body))
  }
  await client.get('/tap-in/callback?state=canary-state-55ee&code=canary-body-91d2')
  await client.get('/nothing?secret=canary-body-91d2')
  secrets.add('canary-body-91d2')

  const reader = new Redis(redis.port)
  const stored: string[] = []
  for (const key of await reader.keys('*')) {
    stored.push(key, ((await reader.type(key)) === 'string' ? await reader.get(key) : null) ?? '')
  }
  reader.disconnect()
  await client.close()

  t.ok(
    secrets.size >= 9 && stored.length >= 10 && errors.length >= 4 && logged.length >= 10,
    'there is something to find',
  )
  t.ok(auditLinesIn(logged.join('')).length >= 15, 'also in the audit stream, which goes where the log goes')
  const places = { logs: logged.join(''), errors: errors.join(''), store: stored.join('\n') }
  for (const [place, text] of Object.entries(places)) {
    for (const secret of secrets) {
      const forms = [
        secret,
        Buffer.from(secret).toString('base64'),
        Buffer.from(secret).toString('hex'),
        encodeURIComponent(secret),
      ]
      t.notOk(
        forms.some(form => text.includes(form.replace(/=+$/, ''))),
        `${place}: ${secret.slice(0, 12)}…`,
      )
    }
  }
})
