/** Two replicas that keep tokens in memory: what one changes the other forgets; and a Redis that is away. */
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { newCaller } from '../../src/cli/keys.ts'
import { createKeys } from '../../src/store/redis/keys.ts'
import { connectedGateways } from '../../src/store/redis/server-facts.ts'
import { answers, ask, startRedis } from '../support/redis.ts'
import { type GatewayClient, startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(redis.stop)

async function two(t: Test, settings: Record<string, string> = {}) {
  const stack = await startStack(t, redis.url, {}, settings)
  const [one, other] = [await stack.gateway(), await stack.gateway()]
  const channel = createKeys(stack.environment.REDIS_PREFIX ?? '').channel
  await answers(redis.port, `PUBSUB NUMSUB ${channel}`, /\r\n:2\r\n/)
  const { guid } = (await one.send('POST', '/v1/users', { username: 'ada' })).body
  return { ...stack, one, other, guid, channel }
}

const tokenOf = (client: GatewayClient, guid: string) => client.get(`/v1/grants/${guid}/token`)

/** How many tokens a replica has answered from memory. */
async function fromMemory(client: GatewayClient): Promise<number> {
  const { body } = await client.get('/metrics')
  return Number(/^htgw_tokens_served_total\{source="memory"\} (\d+)$/m.exec(body)?.[1])
}

t.test('a token that was read once is answered from memory', async t => {
  const { other, guid } = await two(t)
  const first = await tokenOf(other, guid)
  t.equal(await fromMemory(other), 0)
  const second = await tokenOf(other, guid)
  t.equal(await fromMemory(other), 1)
  t.equal(second.body.access_token, first.body.access_token)
})

t.test('with TOKEN_CACHE_SIZE 0 none is', async t => {
  const { other, guid } = await two(t, { TOKEN_CACHE_SIZE: '0' })
  for (let reads = 0; reads < 3; reads += 1) t.match(await tokenOf(other, guid), { status: 200 })
  t.equal(await fromMemory(other), 0)
})

t.test('whatever one replica does to a grant, the other has forgotten it when the answer is there', async t => {
  const { one, other, guid } = await two(t)
  for (let version = 1; version <= 30; version += 1) {
    t.match(await tokenOf(other, guid), { body: { version } })
    await one.send('POST', `/v1/grants/${guid}/refresh`, { version })
    t.match(await tokenOf(other, guid), { status: 200, body: { version: version + 1 } }, `version ${version + 1}`)
  }
  const pair = { access_token: 'a1', refresh_token: 'r1', expires_in: 7200 }
  await one.send('PUT', `/v1/grants/${guid}`, pair)
  t.match(await tokenOf(other, guid), { body: { access_token: 'a1' } }, 'an import')
  await one.send('DELETE', `/v1/grants/${guid}`)
  t.match(await tokenOf(other, guid), { status: 404 }, 'a revocation')
})

t.test('a grant that HealthTap has ended is forgotten', async t => {
  const { one, other, guid, sandbox } = await two(t)
  t.match(await tokenOf(other, guid), { status: 200 })
  await sandbox.send(`/sandbox/revoke-user/${guid}`, { method: 'POST' })
  t.match(await one.send('POST', `/v1/grants/${guid}/refresh`, { version: 1 }), { status: 409 })
  t.match(await tokenOf(other, guid), { status: 409, body: { code: 'reauthorization_required' } })
})

t.test('while words cannot come, nothing is answered from memory that Redis can be asked for', async t => {
  const { one, other, guid, channel } = await two(t)
  await tokenOf(other, guid)
  await ask(redis.port, 'CLIENT KILL TYPE pubsub')
  await one.send('POST', `/v1/grants/${guid}/refresh`, { version: 1 })
  t.match(await tokenOf(other, guid), { body: { version: 2 } })
  await answers(redis.port, `PUBSUB NUMSUB ${channel}`, /\r\n:2\r\n/)
  t.match(await tokenOf(other, guid), { body: { version: 2 } })
})

t.test('where Redis refuses to let it listen, the log says so, and nothing is kept in memory', async t => {
  const server = await startRedis()
  t.teardown(server.stop)
  await ask(server.port, 'ACL SETUSER default resetchannels')
  const { environment, gateway, logged } = await startStack(t, server.url)
  const client = await gateway()
  const { guid } = (await client.send('POST', '/v1/users', { username: 'ada' })).body
  for (let reads = 0; reads < 3; reads += 1) t.match(await tokenOf(client, guid), { status: 200 })
  t.equal(await fromMemory(client), 0)
  const raw = new Redis(server.url)
  t.teardown(() => raw.disconnect())
  const keys = createKeys(environment.REDIS_PREFIX ?? '')
  t.equal(await connectedGateways(raw, keys), 1, 'who moves grants elsewhere sees it all the same')
  t.equal(await connectedGateways(raw, createKeys('other')), 0)
  t.ok(logged.some(line => line.includes('redis connection') && line.includes('"warn"')))
  await server.kill('SIGKILL')
  t.match(await tokenOf(client, guid), { status: 503 }, 'nobody knows how it stands')
})

t.test(
  'a Redis that hangs: the living are answered again and again, and what is revoked after that is gone',
  async t => {
    const server = await startRedis()
    t.teardown(server.stop)
    const { gateway, environment } = await startStack(t, server.url)
    const [reader, other] = [await gateway(), await gateway()]
    await answers(server.port, `PUBSUB NUMSUB ${createKeys(environment.REDIS_PREFIX ?? '').channel}`, /\r\n:2\r\n/)
    const { guid } = (await reader.send('POST', '/v1/users', { username: 'ada' })).body
    t.match(await tokenOf(reader, guid), { status: 200 })
    await server.kill('SIGSTOP')
    for (let reads = 0; reads < 10; reads += 1) t.match(await tokenOf(reader, guid), { status: 200 })
    await server.kill('SIGCONT')
    while ((await other.send('DELETE', `/v1/grants/${guid}`)).status !== 204);
    while ((await tokenOf(reader, guid)).status !== 404);
    await server.kill('SIGKILL')
    t.not((await tokenOf(reader, guid)).status, 200)
  },
)

t.test(
  'Redis is away: living tokens are answered, everything else is told so, and readiness says degraded',
  async t => {
    const server = await startRedis()
    t.teardown(server.stop)
    const { gateway, environment } = await startStack(t, server.url)
    const narrowed = newCaller('narrowed', ['token:read'])
    const callers = [...JSON.parse(environment.CALLERS ?? ''), { ...narrowed.entry, scopes: ['member_public'] }]
    const [reader, fresh] = [await gateway({ CALLERS: JSON.stringify(callers) }), await gateway()]
    await answers(server.port, `PUBSUB NUMSUB ${createKeys(environment.REDIS_PREFIX ?? '').channel}`, /\r\n:2\r\n/)
    const { guid } = (await reader.send('POST', '/v1/users', { username: 'ada' })).body
    const unread = (await reader.send('POST', '/v1/users', { username: 'bob' })).body.guid
    const { body: before } = await tokenOf(reader, guid)
    await server.kill('SIGKILL')
    t.match(await reader.get(`/v1/grants/${guid}/token`, narrowed.apiKey), { status: 200 }, 'by its scope, too')
    for (let reads = 0; reads < 3; reads += 1) {
      t.match(await tokenOf(reader, guid), { status: 200, body: { access_token: before.access_token } })
    }
    t.match(await tokenOf(reader, unread), { status: 503, body: { code: 'store_unavailable' } })
    const refused = await reader.send('POST', `/v1/grants/${guid}/refresh`, { version: 1 })
    t.match(refused, { status: 503, body: { code: 'store_unavailable' } }, 'one that is refused is not answered again')
    t.match(await reader.get('/health/ready'), { status: 200, body: { status: 'degraded' } })
    t.match(
      await fresh.get('/health/ready'),
      { status: 503, body: { status: 'unavailable' } },
      'who has none is not ready',
    )
    const again = await startRedis({ port: server.port })
    t.teardown(again.stop)
    while ((await fresh.get('/health/ready')).status !== 200);
    let after = await tokenOf(fresh, guid)
    while (after.status === 404) after = await tokenOf(fresh, guid)
    const asBefore = { status: 200, body: { access_token: before.access_token } }
    t.match(after, asBefore, 'this Redis has kept nothing: the gateway that wrote it writes it again')
  },
)
