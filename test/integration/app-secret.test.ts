/** The app's secret changes at HealthTap while the gateway works: in which order, and what is refused meanwhile. */
import t from 'tap'
import type { SandboxDriver } from '../../sandbox/driver.ts'
import { auditLinesIn } from '../support/audit.ts'
import { startRedis } from '../support/redis.ts'
import { type GatewayClient, startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

function change(sandbox: SandboxDriver, secret: string) {
  return sandbox.sendJson('/sandbox/settings', { app_secret: secret }, {}, 'PUT')
}

/** Whatever asks HealthTap for something in the app's name, once, for a person of its own. Returns what was answered. */
async function askForEverything(client: GatewayClient, sandbox: SandboxDriver, redirectUri: string, person: string) {
  const made = await client.send('POST', '/v1/users', { username: person })
  const code = await sandbox.code({ username: `${person}-tap-in` })
  const exchanged = await client.send('POST', '/v1/grants', { code, redirect_uri: redirectUri })
  const refreshed = await client.send('POST', `/v1/grants/${made.body.guid}/refresh`, { version: 1 })
  const revoked = await client.send('DELETE', `/v1/grants/${exchanged.body.guid}`)
  return [made, exchanged, refreshed, revoked].map(({ status }) => status)
}
const ALL_WELL = [201, 201, 200, 204]

t.test('with the next secret in place first, nobody is refused anything when HealthTap changes it', async t => {
  const { sandbox, redirectUri, gateway, logged } = await startStack(t, redis.url)
  const old = sandbox.options.appSecret
  const replicas = [
    await gateway({ HEALTHTAP_APP_SECRET_NEXT: 'new' }),
    await gateway({ HEALTHTAP_APP_SECRET_NEXT: 'new' }),
  ]
  for (const [index, secret] of [old, 'new', 'new', old, 'new'].entries()) {
    t.equal((await change(sandbox, secret)).status, 200)
    for (const [number, client] of replicas.entries()) {
      t.strictSame(await askForEverything(client, sandbox, redirectUri, `${index}-${number}`), ALL_WELL)
      t.match(await client.get('/health/ready'), { body: { status: 'ok' } })
    }
  }
  // The one that was taken is tried first from then on: one refusal for each replica and change, whatever is asked for.
  const { totals } = await sandbox.counts()
  const refusals = Object.values(totals).map(
    ({ invalid_client = 0, unauthorized = 0 }) => invalid_client + unauthorized,
  )
  t.equal(
    refusals.reduce((sum, each) => sum + each, 0),
    replicas.length * 3,
  )
  const lines = auditLinesIn(logged.join('')).map(line => String(JSON.parse(line).outcome))
  t.notOk(lines.includes('client_misconfigured'))
  t.notOk(logged.join('').includes('client.refused'))
})

t.test('many at once, and the change in the midst of them', async t => {
  const { sandbox, redirectUri, gateway } = await startStack(t, redis.url)
  const client = await gateway({ HEALTHTAP_APP_SECRET_NEXT: 'new' })
  const before = Array.from({ length: 10 }, (_, n) => askForEverything(client, sandbox, redirectUri, `many-${n}`))
  await change(sandbox, 'new')
  const after = Array.from({ length: 10 }, (_, n) => askForEverything(client, sandbox, redirectUri, `more-${n}`))
  for (const statuses of await Promise.all([...before, ...after])) t.strictSame(statuses, ALL_WELL)
})

t.test('both are wrong: said so, nothing spent, and all goes on when one of them is right', async t => {
  const { sandbox, redirectUri, gateway } = await startStack(t, redis.url)
  const client = await gateway({ HEALTHTAP_APP_SECRET: 'wrong', HEALTHTAP_APP_SECRET_NEXT: 'next' })
  const code = await sandbox.code()
  const exchange = () => client.send('POST', '/v1/grants', { code, redirect_uri: redirectUri })
  t.match(await exchange(), { status: 502, body: { code: 'client_misconfigured' } })
  await change(sandbox, 'next')
  t.match(await exchange(), { status: 201 })
})
