/** A running process whose certificates change: connections to come see the new ones, those that are open go on. */
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import t from 'tap'
import { newCaller } from '../../src/cli/keys.ts'
import { type Certificate, selfSigned, signedBy } from '../support/certificates.ts'
import { serveEnvironment } from '../support/environment.ts'
import { everythingFrom, parse, requestRaw } from '../support/raw.ts'
import { startRedis } from '../support/redis.ts'
import { startServe } from '../support/serve.ts'

const GET = 'GET /v1/grants HTTP/1.1\r\nhost: localhost\r\n'

t.test('server certificate and client CA change on SIGHUP, at every listener that speaks TLS', async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const subject = { subject: '/CN=localhost', san: 'DNS:localhost' }
  const [before, after] = [await selfSigned(t, 'before', subject), await selfSigned(t, 'after', subject)]
  const [oldCa, newCa] = [await selfSigned(t, 'old-ca'), await selfSigned(t, 'new-ca')]
  const [oldOps, newOps] = await Promise.all(
    [oldCa, newCa].map(ca => signedBy(t, ca, 'ops', { subject: '/O=Example/CN=ops' })),
  )
  const short = await selfSigned(t, 'short', { subject: '/CN=localhost', newKey: 'rsa:512' })
  const dir = mkdtempSync(join(tmpdir(), 'htgw-reload-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const write = (name: string, text: string) => writeFileSync(join(dir, name), text)
  function use({ cert, key }: Certificate, ca: Certificate) {
    write('cert', cert)
    write('key', key)
    write('ca', ca.cert)
  }
  use(before, oldCa)
  const caller = { name: 'ops', permissions: ['*' as const], certificate: { subject: 'O=Example,CN=ops' } }
  write('callers', JSON.stringify([caller]))
  const { CALLERS: _, ...environment } = serveEnvironment(t, redis.url, caller, {
    CALLERS_FILE: join(dir, 'callers'),
    PORT: '0',
    PUBLIC_PORT: '0',
    METRICS_PORT: '0',
    TLS_CERT_FILE: join(dir, 'cert'),
    TLS_KEY_FILE: join(dir, 'key'),
    TLS_CLIENT_CA_FILE: join(dir, 'ca'),
  })
  const { process: serve, url, doors, reload } = await startServe(t, environment)
  t.match([url, doors.public, doors.metrics], [/^https:/, /^https:/, /^http:/])

  async function handshake(address: string, options: ConnectionOptions): Promise<TLSSocket> {
    const { hostname, port } = new URL(address)
    const socket = connect({ host: hostname, port: Number(port), servername: 'localhost', ...options })
    t.teardown(() => socket.destroy())
    await once(socket, 'secureConnect')
    return socket
  }
  /** The status that whoever shows this certificate is answered, and whose certificate was seen. */
  async function ask(address: string, trusted: Certificate, shown?: Certificate) {
    const identity = shown === undefined ? {} : { cert: shown.cert, key: shown.key }
    const socket = await handshake(address, { ca: trusted.cert, ...identity })
    socket.write(`${GET}connection: close\r\n\r\n`)
    return parse(await everythingFrom(socket)).status
  }
  const isRefused = (address: string, trusted: Certificate) =>
    t.rejects(handshake(address, { ca: trusted.cert }), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })

  t.equal(await ask(url, before, oldOps), 200)
  t.equal(await ask(url, before, newOps), 401)
  t.equal(await ask(doors.public ?? '', before), 404, 'not behind this door')
  t.equal((await requestRaw(doors.metrics ?? '', 'GET', '/health/live')).status, 200, 'probes need no certificates')
  const open = await handshake(url, { ca: before.cert, cert: oldOps?.cert, key: oldOps?.key })

  write('key', after.key)
  t.match(await reload(/settings are not reloaded/), { problems: [/^TLS_KEY is not the key/] })
  t.equal(await ask(url, before, oldOps), 200, 'half of a change changes nothing')

  use(after, newCa)
  const half = newCa.cert.slice(0, 200)
  for (const [name, text] of [
    ['cert', after.cert + half],
    ['ca', newCa.cert + half],
  ] as const) {
    // With other callers beside: they stay, too.
    write('callers', JSON.stringify([{ ...caller, name: 'others', certificate: { subject: 'CN=others' } }]))
    write(name, text)
    t.match(await reload(/settings are not reloaded/), { problems: [/^TLS_(CERT|CLIENT_CA) has to be/] })
    t.equal(await ask(url, before, oldOps), 200, 'a file that is half written changes nothing, and ends nothing')
    use(after, newCa)
  }
  use(short, newCa)
  t.match(await reload(/settings are not reloaded/), { problems: [/^TLS_CERT cannot be used/] })
  t.equal(await ask(url, before, oldOps), 200, 'nor does one that OpenSSL refuses')

  write('callers', JSON.stringify([caller]))
  use(after, newCa)
  await reload(/settings are reloaded/)
  t.equal(await ask(url, after, newOps), 200)
  t.equal(await ask(url, after, oldOps), 401)
  t.equal(await ask(doors.public ?? '', after), 404)
  for (const address of [url, doors.public ?? '']) await isRefused(address, before)
  open.write(`${GET}\r\n`)
  t.match(String((await once(open, 'data'))[0]), /^HTTP\/1\.1 200 /, 'an open connection is who it was')
  write('callers', JSON.stringify([{ ...caller, certificate: { subject: 'O=Example,CN=others' } }]))
  await reload(/settings are reloaded/)
  open.write(`${GET}connection: close\r\n\r\n`)
  t.equal(parse(await everythingFrom(open)).status, 401, 'until its entry is taken out')

  serve.kill('SIGTERM')
  t.strictSame(await once(serve, 'exit'), [0, null])
})

t.test('no TLS before 1.2 is spoken, whatever Node is told to allow', async t => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const { cert, key } = await selfSigned(t, 'server', { subject: '/CN=localhost', san: 'DNS:localhost' })
  const { entry } = newCaller('ops', ['*'])
  const ciphers = 'DEFAULT:@SECLEVEL=0'
  const { url, doors, reload } = await startServe(
    t,
    serveEnvironment(t, redis.url, entry, {
      PORT: '0',
      PUBLIC_PORT: '0',
      TLS_CERT: cert,
      TLS_KEY: key,
      NODE_OPTIONS: `--tls-min-v1.0 --tls-cipher-list=${ciphers}`,
    }),
  )
  async function isSpoken(address: string, version: 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3'): Promise<boolean> {
    const { hostname, port } = new URL(address)
    const versions = { minVersion: version, maxVersion: version, ciphers }
    const socket = connect({ host: hostname, port: Number(port), servername: 'localhost', ca: cert, ...versions })
    t.teardown(() => socket.destroy())
    try {
      await once(socket, 'secureConnect')
      return socket.getProtocol() === version
    } catch (error) {
      t.match(error, { code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' }, `${version}: the server says no`)
      return false
    }
  }
  for (const when of ['at the start', 'after a reload']) {
    for (const address of [url, doors.public ?? '']) {
      const spoken = await Promise.all(
        (['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'] as const).map(version => isSpoken(address, version)),
      )
      t.strictSame(spoken, [false, false, true, true], when)
    }
    await reload(/settings are reloaded/)
  }
})
