/** Names that some part on the way would read as another, or as none. */
import t from 'tap'
import { requestRaw } from '../support/raw.ts'
import { startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

t.test('a name that is no text, or blank, is nobody', async t => {
  const { gateway } = await startStack(t, redis.url)
  const client = await gateway()
  const pair = { access_token: 'a', refresh_token: 'r', expires_in: 60 }
  for (const username of ['\ud800', 'a\udfff', 'a\ud800b', ' ', '\u00a0\u3000']) {
    const refused = { status: 400, body: { code: 'validation_failed', errors: [{ path: '/username' }] } }
    t.match(await client.send('POST', '/v1/users', { username }), refused, JSON.stringify(username))
    t.match(await client.send('PUT', '/v1/grants/g', { ...pair, username }), refused)
  }
  t.match(await client.get('/v1/grants?username=%20'), { status: 400 })
  for (const username of ['😀', '\ufffd', 'a b', '__proto__', 'ß']) {
    const { status, body } = await client.send('POST', '/v1/users', { username })
    t.equal(status, 201, username)
    t.match(await client.get(`/v1/grants/${body.guid}`), { status: 200, body: { username } })
    const listed = await client.get(`/v1/grants?username=${encodeURIComponent(username)}`)
    t.match(listed.body.items, [{ guid: body.guid }])
  }
})

t.test('a step in a path is no guid, in an address or in a body', async t => {
  const { gateway, apiKey, redirectUri } = await startStack(t, redis.url)
  const client = await gateway()
  const pair = JSON.stringify({ access_token: 'a', refresh_token: 'r', expires_in: 60 })
  const headers = [
    `authorization: Bearer ${apiKey}`,
    'content-type: application/json',
    `content-length: ${pair.length}\r\n\r\n${pair}`,
  ]
  for (const guid of ['.', '..', '%2e', '%2E%2e']) {
    const { status, body } = await requestRaw(client.url, 'PUT', `/v1/grants/${guid}`, headers)
    t.match({ status, body: JSON.parse(body) }, { status: 400, body: { errors: [{ path: 'path/guid' }] } }, guid)
  }
  for (const guid of ['.', '..']) {
    const refused = { status: 400, body: { code: 'validation_failed', errors: [{ path: '/guid' }] } }
    t.match(await client.send('POST', '/v1/authorizations', { guid }), refused)
    t.match(await client.send('POST', '/v1/grants', { code: 'c', redirect_uri: redirectUri, guid }), refused)
  }
  t.match(await client.send('PUT', '/v1/grants/...', pair), { status: 201 })
  t.match(await client.send('PUT', '/v1/grants/a..b', pair), { status: 201 })
})
