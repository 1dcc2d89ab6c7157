/** A code that was used is put to another authorization (RFC 9700, section 4.5): nobody is answered somebody else's token. */
import t, { type Test } from 'tap'
import { newCaller } from '../../src/cli/keys.ts'
import { startRedis } from '../support/redis.ts'
import { type GatewayClient, startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

const REJECTED = { status: 400, body: { code: 'authorization_code_rejected', access_token: undefined } }

/** Somebody's Tap-in, as far as the code that it brought; and two replicas. */
async function startTapIn(t: Test, settings: Record<string, string> = {}) {
  const { gateway, redirectUri, sandbox } = await startStack(t, redis.url, {}, settings)
  const [client, other] = [await gateway(), await gateway()] as const
  const begin = async (body: object = {}) => (await client.send('POST', '/v1/authorizations', body)).body
  const victims = await begin()
  const code = await sandbox.code({
    code_challenge: new URL(victims.authorization_url).searchParams.get('code_challenge') ?? '',
    code_challenge_method: 'S256',
  })
  const exchange = (at: GatewayClient, body: object) =>
    at.send('POST', '/v1/grants', { code, redirect_uri: redirectUri, ...body })
  return { begin, client, code, exchange, other, redirectUri, sandbox, victims }
}

for (const requireState of ['false', 'true']) {
  t.test(`a code that was used, with another state or with none (REQUIRE_STATE=${requireState})`, async t => {
    const more = { REQUIRE_STATE: requireState, RETURN_TO_ORIGINS: 'https://good.example' }
    const { begin, client, code, exchange, other, victims } = await startTapIn(t, more)
    const { body, status } = await exchange(client, { state: victims.state })
    t.equal(status, 201)

    for (const replica of [client, other]) {
      for (const request of [{}, { guid: 'mallory' }]) {
        const own = await begin(request)
        t.match(await exchange(replica, { state: own.state }), REJECTED)
        t.match(await client.get(`/v1/authorizations/${own.state}`), {
          body: { status: 'failed', error: 'authorization_code_rejected', guid: undefined },
        })
      }
      const own = await begin({ return_to: 'https://good.example/back' })
      t.match(await replica.get(`/tap-in/callback?state=${own.state}&code=${code}`), { status: 303 })
      t.match(await client.get(`/v1/authorizations/${own.state}`), { body: { status: 'failed', guid: undefined } })
      const bare = await exchange(replica, {})
      t.match(bare, requireState === 'true' ? { status: 400, body: { code: 'state_invalid' } } : REJECTED)
      const again = await exchange(replica, { state: victims.state })
      t.match(again, { status: 200, body: { guid: body.guid } }, 'who has a right to it still has')
      t.match(await exchange(replica, { state: victims.state, guid: 'mallory' }), {
        status: 409,
        body: { code: 'guid_mismatch', access_token: undefined },
      })
    }
    t.match(await client.get(`/v1/authorizations/${victims.state}`), { body: { status: 'connected', guid: body.guid } })
  })
}

t.test('the same while the exchange is under way, in this process and in another', async t => {
  const { begin, client, exchange, other, sandbox, victims } = await startTapIn(t)
  const own = await Promise.all([begin(), begin({ guid: 'mallory' }), begin()])
  await sandbox.addFault({ operation: 'exchange', kind: 'latency', latency_ms: 300, times: 1 })
  const first = exchange(client, { state: victims.state })
  while ((await sandbox.counts()).peak_concurrency === 0);
  const others = await Promise.all([
    exchange(client, { state: own[0].state }),
    exchange(client, { state: own[1].state }),
    exchange(other, { state: own[2].state }),
    exchange(client, {}),
    exchange(other, { guid: 'mallory' }),
  ])
  for (const answer of others) t.match(answer, REJECTED)
  const { body } = await first
  t.match(await exchange(other, { state: victims.state }), { status: 200, body: { guid: body.guid } })
})

t.test('who puts a code to a state of their own first takes it from nobody', async t => {
  const { begin, client, exchange, other, sandbox, victims } = await startTapIn(t)
  const [own, another] = [await begin(), await begin()]
  await sandbox.addFault({ operation: 'exchange', kind: 'latency', latency_ms: 300, times: 1 })
  const first = exchange(client, { state: own.state })
  while ((await sandbox.counts()).peak_concurrency === 0);
  const answers = await Promise.all([
    exchange(client, { state: victims.state }),
    exchange(other, { state: victims.state }),
    exchange(other, { state: another.state }),
  ])
  t.match(await first, REJECTED, 'HealthTap refuses it: the verifier is of another authorization')
  t.strictSame(answers.map(({ status }) => status).sort(), [200, 201, 400])
  t.match(await client.get(`/v1/authorizations/${victims.state}`), { body: { status: 'connected' } })
})

t.test('a code without a state can be repeated without one, and not with one', async t => {
  const { begin, client, other, redirectUri, sandbox } = await startTapIn(t)
  const body = { code: await sandbox.code({ username: 'eve' }), redirect_uri: redirectUri }
  const { guid } = (await client.send('POST', '/v1/grants', body)).body
  t.match(await other.send('POST', '/v1/grants', body), { status: 200, body: { guid } })
  const { state } = await begin()
  t.match(await other.send('POST', '/v1/grants', { ...body, state }), REJECTED)
})

t.test('a caller that is narrowed to some people is answered nobody else by a code that was used', async t => {
  const [all, ofAda] = [newCaller('all', ['*']), newCaller('of-ada', ['authorize'])]
  const entries = [all.entry, { ...ofAda.entry, guids: ['ada'] }]
  const { gateway, redirectUri, sandbox } = await startStack(t, redis.url, {}, { CALLERS: JSON.stringify(entries) })
  const client = await gateway()
  const body = { code: await sandbox.code(), redirect_uri: redirectUri }
  const as = ({ apiKey }: { apiKey: string }, more: object = {}) =>
    client.send('POST', '/v1/grants', { ...body, ...more }, { authorization: `Bearer ${apiKey}` })
  t.match(await as(all), { status: 201 })
  t.match(await as(ofAda, { guid: 'ada' }), { status: 409, body: { code: 'guid_mismatch', access_token: undefined } })
})
