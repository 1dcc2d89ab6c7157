/** The unit: that its settings and secrets are those of a gateway, and that it stays locked in. */
import t from 'tap'
import { graceMs } from '../../src/cli/serve.ts'
import { configOf, filesNamedIn, isSetting, textOf } from '../support/deploy.ts'

const lines = textOf('deploy/systemd/healthtap-gateway.service')
  .split('\n')
  .filter(line => /^\w+=/.test(line))
  .map(line => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const)

function all(name: string): readonly string[] {
  return lines.filter(([directive]) => directive === name).map(([, value]) => value)
}

const environment = Object.fromEntries(all('Environment').map(entry => entry.split('=', 2)))

t.test('a gateway takes the settings, and each secret is one that it is given', async t => {
  for (const name of Object.keys(environment)) t.ok(isSetting(name) || name === 'NODE_ENV', name)
  const config = configOf({ ...environment, HEALTHTAP_REDIRECT_URIS: 'https://app.example.com/callback' })
  t.match(config, { journalDir: /^%S\/healthtap-gateway\//, auditLog: /^%L\/healthtap-gateway\// })
  const given = all('LoadCredential').map(credential => credential.split(':')[0])
  t.strictSame(given.sort(), filesNamedIn(environment))
  for (const [name, value] of Object.entries(environment)) if (name.endsWith('_FILE')) t.match(value, /^%d\/\w+$/, name)
  t.ok(Number(all('TimeoutStopSec')[0]) * 1000 > graceMs(config), 'it is not killed before it is done')
})

t.test('it may write where it has to, and nothing else', async t => {
  const yes = ['DynamicUser', 'NoNewPrivileges', 'ProtectHome', 'PrivateTmp', 'PrivateDevices', 'ProtectKernelTunables']
  for (const name of [...yes, 'ProtectControlGroups', 'RestrictNamespaces']) t.strictSame(all(name), ['yes'], name)
  t.strictSame(all('ProtectSystem'), ['strict'])
  t.strictSame(all('CapabilityBoundingSet'), [''])
  t.strictSame([...all('StateDirectory'), ...all('LogsDirectory')], ['healthtap-gateway', 'healthtap-gateway'])
  t.strictSame(all('ReadWritePaths'), [])
  t.strictSame(all('UMask'), ['0077'])
})
