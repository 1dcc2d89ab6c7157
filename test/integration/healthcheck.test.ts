/** `healthcheck` finds the gateway of its own settings, whichever doors it has, and says how it is by its exit code. */
import t from 'tap'
import { healthcheck } from '../../src/cli/healthcheck.ts'
import { ConfigError, type Environment } from '../../src/config.ts'
import { selfSigned } from '../support/certificates.ts'
import { freePort, startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

async function asked(what: 'live' | 'ready', environment: Environment) {
  const lines: string[] = []
  const exitCode = await healthcheck(what, line => lines.push(line), environment)
  return { exitCode, text: lines.join('\n') }
}

t.test('on the main door, in clear and by TLS; on the metrics door, which never speaks TLS', async t => {
  const { cert, key } = await selfSigned(t, 'gateway')
  const tls = { TLS_CERT: cert, TLS_KEY: key }
  const { gateway } = await startStack(t, redis.url)
  for (const doors of [{}, tls, { METRICS_PORT: '' }, { ...tls, METRICS_PORT: '' }]) {
    const PORT = String(await freePort())
    const METRICS_PORT = 'METRICS_PORT' in doors ? String(await freePort()) : ''
    const settings = { ...doors, PORT, METRICS_PORT, HOST: '0.0.0.0' }
    await gateway(settings)
    for (const what of ['live', 'ready'] as const) {
      const seen = await asked(what, settings)
      t.match(seen, { exitCode: 0, text: '"status":"ok"' }, `${what}, ${Object.keys(doors).join(' ')}`)
    }
  }
})

t.test('without Redis it lives, and is not ready', async t => {
  const own = await startRedis()
  t.teardown(() => own.stop())
  const { gateway } = await startStack(t, own.url)
  const PORT = String(await freePort())
  await gateway({ PORT })
  await own.stop()
  t.match(await asked('live', { PORT }), { exitCode: 0 })
  t.match(await asked('ready', { PORT }), { exitCode: 1, text: '"name":"store","status":"unavailable"' })
})

t.test('nobody there', async t => {
  const PORT = String(await freePort())
  const { exitCode, text } = await asked('live', { PORT, HOST: '::' })
  t.equal(exitCode, 1)
  // Which of them: whether this machine has IPv6.
  t.match(text, /^no answer from ::1:\d+ \((ECONNREFUSED|EADDRNOTAVAIL)\)$/)
})

t.test('settings that it cannot read', async t => {
  await t.rejects(asked('live', { PORT: 'a secret', TLS_CERT_FILE: '/nowhere' }), ConfigError)
})
