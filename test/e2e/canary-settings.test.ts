/** Settings that are wrong, with a secret in each: what is said about them does not repeat it. */
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { type CanaryStack, startCanaryStack } from '../support/canary-stack.ts'
import { run } from '../support/process.ts'

type Settings = Readonly<Record<string, string>>

/** By what is wrong with them. `secret` makes one. */
function wrongSettings(secret: (name: string) => string): Readonly<Record<string, Settings>> {
  const nonsense = [
    'REDIS_URL',
    'ENCRYPTION_KEYS',
    'AUDIT_KEY',
    'TLS_KEY',
    'TLS_CERT',
    'TLS_CLIENT_CA',
    'JWT_ISSUERS',
    'HEALTHTAP_API_URL',
    'HEALTHTAP_IDENTITY_URL',
    'HEALTHTAP_IDENTITY_POINTER',
    'HEALTHTAP_REDIRECT_URIS',
    'RETURN_TO_ORIGINS',
    'REDIS_PREFIX',
    'PORT',
    'LOG_LEVEL',
    'OTEL_EXPORTER_OTLP_ENDPOINT',
    'OTEL_EXPORTER_OTLP_HEADERS',
    'OTEL_TRACES_SAMPLER',
  ]
  const key = randomBytes(32).toString('base64')
  return {
    'text instead of anything': Object.fromEntries(nonsense.map(name => [name, `${secret(name)} x`])),
    'nearly good': {
      REDIS_URL: `redis://user:${secret('REDIS_URL')}@127.0.0.1:port`,
      ENCRYPTION_KEYS: `k1:${key},k1:${secret('ENCRYPTION_KEYS')}`,
      AUDIT_KEY: `${secret('AUDIT_KEY')}==`,
      TLS_KEY: `-----BEGIN PRIVATE KEY-----\n${secret('TLS_KEY')}\n-----END PRIVATE KEY-----`,
      JWT_ISSUERS: `[{"issuer":"${secret('JWT_ISSUERS')}`,
      HEALTHTAP_API_URL: `https://user:${secret('HEALTHTAP_API_URL')}@api.example`,
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://user:${secret('OTEL_EXPORTER_OTLP_ENDPOINT')}@collector`,
      OTEL_EXPORTER_OTLP_HEADERS: `authorization=${secret('OTEL_EXPORTER_OTLP_HEADERS')}%zz`,
      HEALTHTAP_IDENTITY_URL: `http://api.example/?token=${secret('HEALTHTAP_IDENTITY_URL')}`,
    },
    'a secret that is in the wrong place': {
      REDIS_URL: `redis+sentinel://user:${secret('REDIS_URL')}@127.0.0.1`,
      HEALTHTAP_APP_SECRET_FILE: `/nowhere`,
      HEALTHTAP_APP_SECRET: secret('HEALTHTAP_APP_SECRET'),
      JWT_ISSUERS: JSON.stringify([{ issuer: { key: secret('JWT_ISSUERS') }, audience: [secret('JWT_ISSUERS')] }]),
      CALLERS_FILE: '',
      CALLERS: JSON.stringify([{ name: `${secret('CALLERS')} x`, key_sha256: secret('CALLERS'), permissions: 7 }]),
    },
  }
}

async function saidOf(t: Test, { environment }: CanaryStack, command: readonly string[], wrong: Settings) {
  const program = run(t, command, { ...environment, ...wrong })
  const code = await program.ended()
  return { code, said: `${program.stdout()}${program.stderr()}` }
}

t.test('what is wrong with a setting is said without it', async t => {
  const stack = await startCanaryStack(t)
  const { canaries, redis, environment } = stack
  const server = await redis.start()
  t.teardown(() => server.stop())
  const wrong = wrongSettings(name => canaries.make(`wrong ${name}`))

  const all = Object.entries(wrong).map(async ([what, settings]) => {
    const { code, said } = await saidOf(t, stack, what === 'nearly good' ? ['doctor'] : ['serve'], settings)
    t.equal(code, 1, what)
    for (const [name, value] of Object.entries(settings)) {
      if (value !== '') t.match(said, name.replace(/_FILE$/, ''), `${what}: ${name} is complained about`)
    }
    t.strictSame(canaries.search('what it says', said), [], what)
  })
  await Promise.all(all)

  await t.test('a password that Redis refuses', async t => {
    const REDIS_URL = `redis://:${canaries.make('wrong Redis password')}@127.0.0.1:${redis.port}`
    const commands = [['doctor'], ['rotate-keys'], ['audit', 'verify', '/dev/null']]
    for (const { code, said } of await Promise.all(commands.map(command => saidOf(t, stack, command, { REDIS_URL })))) {
      t.equal(code, 1)
      t.strictSame(canaries.search('what it says', said), [])
    }
    const gateway = run(t, ['serve'], { ...environment, REDIS_URL })
    await gateway.line(/redis connection/)
    gateway.kill('SIGTERM')
    await gateway.ended()
    t.strictSame(canaries.search('what it says', `${gateway.stdout()}${gateway.stderr()}`), [])
  })
})
