/** Names that some part on the way would read as another, or as none. */
import t from 'tap'
import { startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'

t.test('a name that is no text, or blank, is nobody', async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
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
