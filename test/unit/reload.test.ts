/** Which settings are named, when they are read again, as those that need a restart. */
import t from 'tap'
import { newAuditKey } from '../../src/cli/keys.ts'
import { type Environment, readConfig } from '../../src/config.ts'
import { needRestart } from '../../src/reload.ts'
import { selfSigned } from '../support/certificates.ts'
import { CALLER, LEAST } from '../support/settings.ts'

function named(before: Environment, after: Environment): readonly string[] {
  return needRestart(readConfig({ ...LEAST, ...before }), readConfig({ ...LEAST, ...after }))
}

t.test('what has changed and waits for a restart is named, a secret as well as anything else', async t => {
  const [key, otherKey] = [newAuditKey(), newAuditKey()]
  const changes: [string, string, string][] = [
    ['redis', 'redis://:one@redis:6379', 'redis://:two@redis:6379'],
    ['redis', 'redis://one@redis:6379', 'redis://redis:6379'],
    ['redis', 'redis+sentinel://u:one@a,b/main', 'redis+sentinel://u:two@a,b/main'],
    ['redis', 'redis+sentinel://a,b/main', 'redis+sentinel://:one@a,b/main'],
    ['redis', 'redis+cluster://u:one@a,b', 'redis+cluster://u:two@a,b'],
    ['redis', 'redis+cluster://a,b', 'redis+cluster://a,c'],
    ['redis', 'redis+cluster://a,b', 'redis+cluster://a'],
  ]
  for (const [name, before, after] of changes) {
    t.strictSame(named({ REDIS_URL: before }, { REDIS_URL: after }), [name], after)
    t.strictSame(named({ REDIS_URL: after }, { REDIS_URL: before }), [name], before)
    t.strictSame(named({ REDIS_URL: after }, { REDIS_URL: after }), [])
  }
  t.strictSame(named({ AUDIT_KEY: key }, { AUDIT_KEY: otherKey }), ['auditKey'])
  t.strictSame(named({ AUDIT_KEY: key }, {}), ['auditKey'])
  t.strictSame(named({}, { AUDIT_KEY: key }), ['auditKey'])
  t.strictSame(named({ AUDIT_KEY: key }, { AUDIT_KEY: key }), [])
  const scopes = { HEALTHTAP_SCOPES: 'a b' }
  t.strictSame(named(scopes, { HEALTHTAP_SCOPES: 'b a', PUBLIC_PORT: '0' }), ['publicPort', 'scopes'])
  t.strictSame(named(scopes, scopes), [])
})

t.test('what is taken over is not', async t => {
  const [one, other] = [await selfSigned(t, 'one'), await selfSigned(t, 'other')]
  const tls = { TLS_CERT: one.cert, TLS_KEY: one.key }
  t.strictSame(named(tls, { TLS_CERT: other.cert, TLS_KEY: other.key, TLS_CLIENT_CA: one.cert }), [])
  t.strictSame([named({}, tls), named(tls, {})], [['tls'], ['tls']], 'but for whether TLS is spoken')
  const reloaded = {
    CALLERS: JSON.stringify([{ ...CALLER, name: 'another' }]),
    HEALTHTAP_APP_SECRET: 'another',
    HEALTHTAP_APP_SECRET_NEXT: 'the next',
    ENCRYPTION_KEYS: `k2:${Buffer.alloc(32, 2).toString('base64')}`,
    LOG_LEVEL: 'debug',
  }
  t.strictSame(named({}, reloaded), [])
})
