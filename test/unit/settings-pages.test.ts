/** What people read about the settings is what the gateway does. */
import { parseEnv } from 'node:util'
import t from 'tap'
import { readConfig } from '../../src/config.ts'
import { misspelledIn } from '../../src/settings/misspelled.ts'
import { SECTIONS } from '../../src/settings/schema.ts'
import { textOf } from '../support/deploy.ts'
import { LEAST, problemsOf } from '../support/settings.ts'
import { envExample, withSettingsTable } from '../support/settings-pages.ts'

const EXAMPLE = textOf('.env.example')

t.test("the README's table and .env.example are made from the declaration of the settings", async t => {
  t.equal(withSettingsTable(textOf('README.md')), textOf('README.md'), 'run: npm run settings')
  t.equal(envExample(), EXAMPLE, 'run: npm run settings')
  t.throws(() => withSettingsTable('a README that has lost the marks'), /has lost one of/)
})

t.test('a copy of .env.example asks for what is required, and for nothing else', async t => {
  const missing = Object.keys(LEAST).map(name => `${name} is missing`)
  t.strictSame(problemsOf(parseEnv(EXAMPLE)).toSorted(), missing.toSorted())
})

t.test('a line of it that is taken in changes nothing: it shows what is taken anyway', async t => {
  const all = parseEnv(EXAMPLE.replaceAll(/^#(?=[A-Z])/gm, ''))
  t.strictSame(misspelledIn(all), [])
  t.equal(Object.keys(all).length, Object.values(SECTIONS).flatMap(Object.keys).length)
  t.strictSame(readConfig({ ...all, ...LEAST }), readConfig(LEAST))
})

t.test('a name that is no setting, and is meant for one, is found', async t => {
  const environment = {
    ...LEAST,
    HEALTHTAP_SCOPE: 'profile_read',
    HEALTHTAP_TIMEOUT: '5000',
    HEALTHTAP_GATEWAY_SERVICE_HOST: '10.0.0.1',
    REQUIRE_STAT: 'true',
    AUDIT_KEY_FIEL: '/run/secrets/audit_key',
    PATH: '/usr/bin',
    PORTS: '3000',
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://collector:4318/v1/traces',
    REDIS_PORT: 'tcp://10.0.0.2:6379',
  }
  t.strictSame(misspelledIn(environment), [
    { name: 'HEALTHTAP_SCOPE', meant: 'HEALTHTAP_SCOPES' },
    { name: 'HEALTHTAP_TIMEOUT', meant: null },
    { name: 'REQUIRE_STAT', meant: 'REQUIRE_STATE' },
    { name: 'AUDIT_KEY_FIEL', meant: 'AUDIT_KEY_FILE' },
    { name: 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', meant: 'OTEL_EXPORTER_OTLP_ENDPOINT' },
  ])
})
