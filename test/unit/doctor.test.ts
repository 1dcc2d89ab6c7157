/** What `doctor` says of settings that are complete, and not right: each line, and what is no reason for one. */
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { hashApiKey } from '../../src/callers/api-keys.ts'
import { callerChecks } from '../../src/cli/doctor/callers.ts'
import { type Check, formatCheck } from '../../src/cli/doctor/check.ts'
import { clientChecks } from '../../src/cli/doctor/client.ts'
import { clockLine } from '../../src/cli/doctor/clock.ts'
import { fileChecks } from '../../src/cli/doctor/files.ts'
import { issuerChecks } from '../../src/cli/doctor/issuers.ts'
import { keyChecks } from '../../src/cli/doctor/keys.ts'
import { portChecks } from '../../src/cli/doctor/ports.ts'
import { tlsChecks } from '../../src/cli/doctor/tls.ts'
import { type Environment, readConfig } from '../../src/config.ts'
import { createCodec } from '../../src/store/codec.ts'
import { createSealer } from '../../src/store/sealing.ts'
import { createFileJournal } from '../../src/system/journal.ts'
import { rotationOf } from '../contract/records.ts'
import { selfSigned } from '../support/certificates.ts'
import { startIssuer } from '../support/issuer.ts'
import { newKey } from '../support/keys.ts'
import { freePort } from '../support/redis.ts'
import { CALLER, LEAST } from '../support/settings.ts'

const NOW = Date.parse('2026-11-24T00:00:00Z')
const OTHER_HASH = hashApiKey('another API key')

function configOf(more: Environment = {}) {
  return readConfig({ ...LEAST, ...more })
}

/** `status text` of each check. */
function said(checks: readonly Check[]): string[] {
  return checks.map(({ status, text }) => `${status} ${text}`)
}

function ofCallers(...callers: readonly object[]): string[] {
  return said(callerChecks(configOf({ CALLERS: JSON.stringify(callers) }), NOW))
}

t.test('a line has a mark, a name and a text, under each other', async t => {
  t.equal(formatCheck({ name: 'redis version', status: 'failed', text: '5' }), 'FAIL  redis version            5')
  t.equal(formatCheck({ name: 'tls', status: 'unknown', text: 'x' }), '?     tls                      x')
})

t.test('callers', async t => {
  const withKeys = (...ends: readonly (string | undefined)[]) => ({
    name: 'scheduler',
    permissions: ['token:read'],
    keys: ends.map((not_after, index) => ({ sha256: hashApiKey(`key ${index}`), ...(not_after ? { not_after } : {}) })),
  })
  const [past, soon, far] = ['2026-11-23T00:00:00Z', '2026-11-30T00:00:00Z', '2027-11-23T00:00:00Z']
  t.strictSame(ofCallers(CALLER), ['ok 1 caller'])
  t.strictSame(ofCallers(withKeys(far, undefined)), ['ok 1 caller'])
  t.match(ofCallers(CALLER, withKeys(past)), [/^failed scheduler is refused, all its keys have expired/])
  t.match(ofCallers(withKeys(past, far)), [/^warning scheduler has 1 expired key:/])
  t.match(ofCallers(withKeys(soon)), [/^warning scheduler has no key beyond 2026-11-30/])
  t.strictSame(ofCallers(withKeys(soon, far)), ['ok 1 caller'])
  t.match(ofCallers({ ...CALLER, permissions: [] }), [
    /^warning appointments has no permission/,
    /^failed nobody has a/,
  ])
  t.match(ofCallers({ ...CALLER, permissions: ['grant:read'] }), [/^warning nobody has token:read/])
  t.strictSame(ofCallers({ ...CALLER, permissions: ['*'] }), ['ok 1 caller'])
  t.match(ofCallers(CALLER, { ...CALLER, key_sha256: OTHER_HASH }), [/^warning appointments is there twice/])
  t.match(ofCallers({ ...CALLER, key_sha256: hashApiKey('') }), [/^failed appointments has the hash of an empty key/])
  const issuers = JSON.stringify([{ issuer: 'https://a.example', audience: 'us', jwks_url: 'https://a.example/jwks' }])
  const workload = { permissions: ['token:read'], jwt: { issuer: 'https://a.example', subject: 'batch' } }
  const twins = JSON.stringify([
    { ...workload, name: 'one' },
    { ...workload, name: 'two' },
  ])
  t.match(said(callerChecks(configOf({ JWT_ISSUERS: issuers, CALLERS: twins }), NOW)), [
    /^failed one and two are known by the same subject/,
  ])
  t.match(said(callerChecks(configOf({ JWT_ISSUERS: issuers }), NOW)), [
    /^warning JWT_ISSUERS: no caller is of https:\/\/a\.example/,
  ])
})

t.test('redirect URIs', async t => {
  const of = (uris: string, more: Environment = {}) =>
    said(clientChecks(configOf({ HEALTHTAP_REDIRECT_URIS: uris, ...more })).filter(({ name }) => name !== 'scopes'))
  const sandbox = { HEALTHTAP_API_URL: 'http://127.0.0.1:3001' }
  t.strictSame(of('https://a.example/cb,myapp://oauth/healthtap'), ['ok 2 redirect URIs'])
  t.match(of('http://a.example/cb'), [/^failed .* is not https/])
  t.match(of('https://*.a.example/cb'), [/^failed .* has a \*/])
  t.match(of('https://ada:secret@a.example/cb'), [/^failed an address at a\.example has a user/])
  t.notMatch(of('https://ada:secret@a.example/cb').join(), /secret/)
  t.match(of('https://a.example/cb?state=1'), [/^failed .* has a code, state or error/])
  t.match(of('http://127.0.0.1:3000/cb'), [/^warning .* on each person's own machine/])
  t.strictSame(of('http://localhost:3000/cb', sandbox), ['ok 1 redirect URI'])
  t.match(of('https://a.example/cb,https://a.example/cb'), [/^warning .* is there twice/])
  t.match(of('https://a.example/cb,https://a.example/cb/'), [/^warning .* with and without a slash/])
  const origins = { RETURN_TO_ORIGINS: 'https://app.example' }
  t.match(of('https://a.example/cb', origins), [/^warning RETURN_TO_ORIGINS has no effect/])
  t.strictSame(of('https://a.example/tap-in/callback', origins), ['ok 1 redirect URI'])
})

t.test('scopes', async t => {
  const of = (scopes: string) =>
    said(clientChecks(configOf({ HEALTHTAP_SCOPES: scopes })).filter(({ name }) => name === 'scopes'))
  t.strictSame(of('profile_read pay'), ['ok profile_read pay'])
  t.match(of('profile_read,profile_write'), [/^failed profile_read,profile_write is taken for one scope/])
  t.match(of('profile_raed'), [/^warning HealthTap does not document profile_raed/])
  t.match(of('pay pay'), [/^warning pay is there twice/])
})

t.test('keys', async t => {
  const entry = (id: string, bytes: Buffer) => `${id}:${bytes.toString('base64')}`
  const [one, two] = [randomBytes(32), randomBytes(32)]
  const of = (keys: string, auditKey: Buffer | null = randomBytes(32)) =>
    said(
      keyChecks(configOf({ ENCRYPTION_KEYS: keys, ...(auditKey ? { AUDIT_KEY: auditKey.toString('base64') } : {}) })),
    )
  t.strictSame(of(entry('k1', one)), ['ok k1 seals', 'ok set'])
  t.strictSame(of(`${entry('k2', two)},${entry('k1', one)}`), ['ok k2 seals, k1 open', 'ok set'])
  t.match(of(`${entry('k2', one)},${entry('k1', one)}`), [/^warning k1 is the same key as another/])
  t.match(of(entry('k1', Buffer.alloc(32, 'password'))), [/^failed k1 is not random/])
  t.match(of(entry('k1', one), null), [/^ok/, /^warning AUDIT_KEY is not set/])
  t.match(of(entry('k1', one), one), [/^ok/, /^failed AUDIT_KEY is one of ENCRYPTION_KEYS/])
})

t.test('clocks: what the round trip leaves open counts for nobody', async t => {
  t.match(clockLine(300, 10), { status: 'ok' })
  t.match(clockLine(-2_000, 10), { status: 'warning', text: /^2\.0 s behind this machine/ })
  t.match(clockLine(6_000, 10), { status: 'failed', text: /^6\.0 s ahead of this machine/ })
  t.match(clockLine(6_000, 5_500), { status: 'ok' })
})

t.test('tls', async t => {
  const pair = await selfSigned(t, 'gateway')
  const tls = { TLS_CERT: pair.cert, TLS_KEY: pair.key }
  const of = (nowMs: number, more: Environment = tls) => said(tlsChecks(configOf(more), nowMs))
  const day = 86_400_000
  t.match(of(Date.now()), [/^warning TLS_CERT: CN=gateway expires at .*: renew it soon/], 'it lives two days')
  t.match(of(Date.now() + 3 * day), [/^failed TLS_CERT: CN=gateway has expired/])
  t.match(of(Date.now() - day), [/^failed TLS_CERT: CN=gateway is not good before/])
  const withCa = { ...tls, TLS_CLIENT_CA: (await selfSigned(t, 'ca')).cert }
  t.match(of(Date.now() + 3 * day, withCa), [/TLS_CERT/, /^failed TLS_CLIENT_CA: CN=ca has expired/, /has no effect/])
  const long = await selfSigned(t, 'long', { subject: '/CN=long', days: 400 })
  t.strictSame(of(Date.now() + 1_000, { TLS_CERT: long.cert, TLS_KEY: long.key }), ['ok good for 399 days'])
  t.match(of(NOW, {}), [/^ok none needed on 127\.0\.0\.1/])
  t.match(of(NOW, { HOST: '0.0.0.0' }), [/^warning none: API keys and tokens travel as they are/])
})

t.test('jwt issuers', async t => {
  const issuer = await startIssuer(t, NOW)
  const of = async (url: string) => {
    const issuers = [{ issuer: 'https://a.example', audience: 'us', jwks_url: url }]
    return said(await issuerChecks(configOf({ JWT_ISSUERS: JSON.stringify(issuers) })))
  }
  t.strictSame(await issuerChecks(configOf()), [])
  t.strictSame(await of(issuer.jwksUrl), ['ok https://a.example: 1 key'])
  issuer.answerWith(500)
  t.match(await of(issuer.jwksUrl), [/^failed .* answers 500/])
  issuer.answerWith(200)
  issuer.jwks.keys = []
  t.match(await of(issuer.jwksUrl), [/^failed .* has no key/])
  t.match(await of(`http://127.0.0.1:${await freePort()}/jwks`), [/^failed .* cannot be reached \(ECONNREFUSED\)/])
  const page = await listening(t, '<html>')
  t.match(await of(`http://127.0.0.1:${page}`), [/^failed .* answers no JSON Web Key Set/])
  const dir = directoryOf(t)
  const inFile = async (keys: readonly object[]) => {
    const file = join(dir, 'jwks.json')
    writeFileSync(file, JSON.stringify({ keys }))
    const issuers = [{ issuer: 'https://a.example', audience: 'us', jwks_file: file }]
    return said(await issuerChecks(configOf({ JWT_ISSUERS: JSON.stringify(issuers) })))
  }
  t.match(await inFile([]), [/^failed .* its jwks_file holds no key/])
  t.strictSame(await inFile([{ kty: 'EC' }]), ['ok https://a.example: 1 key in its file'])
})

t.test('ports', async t => {
  const free = await freePort()
  const of = async (more: Environment) => said(await portChecks(configOf(more)))
  t.strictSame(await of({ PORT: '0' }), [])
  t.strictSame(await of({ PORT: String(free) }), [`ok PORT ${free}: free`])
  t.strictSame(await of({ PORT: String(free), HOST: '0.0.0.0' }), [`ok PORT ${free}: free`])
  t.match(await of({ PORT: '3000', METRICS_PORT: '3000' }), [/^failed METRICS_PORT and PORT are both 3000/])
  const other = await listening(t, '{"status":"ok"}')
  t.match(await of({ PORT: String(free), PUBLIC_PORT: String(other) }), [
    /^ok PORT/,
    /^failed PUBLIC_PORT .*something else/,
  ])
  t.match(await of({ PORT: String(free), HOST: 'nowhere.invalid' }), [/^unknown PORT .* cannot be asked/])
})

t.test('the journal, and the audit log', async t => {
  const dir = directoryOf(t)
  const of = async (more: Environment) => said(await fileChecks(configOf({ JOURNAL_DIR: dir, ...more })))
  t.match(await of({}), [/^ok .* is writable, nothing waits/, /^ok goes to standard output/])
  t.match(await of({ JOURNAL_DIR: join(dir, 'not', 'yet') }), [/^ok/], 'it will be made')
  const file = join(dir, 'a-file')
  writeFileSync(file, '')
  t.match(await of({ JOURNAL_DIR: file }), [/^failed it is no directory: /])
  t.match(await of({ JOURNAL_DIR: join(file, 'below') }), [/^failed it cannot be made \(ENOTDIR\)/])
  t.match(await of({ AUDIT_LOG: join(dir, 'audit.log') }), [/^ok/, /^ok .* is writable/])
  t.match(await of({ AUDIT_LOG: file }), [/^ok/, /^ok .* is writable/])
  t.match(await of({ AUDIT_LOG: dir }), [/^ok/, /^failed it is a directory/])
  t.match(await of({ AUDIT_LOG: join(file, 'below') }), [/^ok/, /^failed it cannot be made/])
  // Not even root may write there.
  t.match(await of({ JOURNAL_DIR: '/proc/sys' }), [/^failed it is not writable \(E[A-Z]+\)/, /^ok/])
  t.match(await of({ AUDIT_LOG: '/proc/sys/audit.log' }), [/^ok/, /^failed it is not writable \(E[A-Z]+\)/])
})

t.test('what waits in the journal is told, and whether it opens', async t => {
  const dir = join(directoryOf(t), 'journal')
  mkdirSync(dir)
  chmodSync(dir, 0o700)
  const key = newKey('k1')
  const settings = { JOURNAL_DIR: dir, ENCRYPTION_KEYS: `k1:${key.key.export().toString('base64')}` }
  const journalBy = (sealing: typeof key) => createFileJournal(dir, createCodec(createSealer([sealing])), () => {})
  const put = (sealing: typeof key, guid: string) => journalBy(sealing).put(rotationOf(guid))
  await put(key, 'ada')
  t.match(said(await fileChecks(configOf(settings)))[0], /^warning 1 renewal wait to be stored: start a gateway here/)
  await put(newKey('k0'), 'bob')
  t.match(said(await fileChecks(configOf(settings))), [/^failed \w+\.rotation cannot be opened/, /^warning 1 renewal/])
})

function directoryOf(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'htgw-doctor-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** A server that is no gateway. Returns its port. */
async function listening(t: Test, answer: string): Promise<number> {
  const server = createServer((_request, response) => void response.end(answer))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}
