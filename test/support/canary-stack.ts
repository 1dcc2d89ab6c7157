/** A gateway as production runs it, with everything on that it has, and a secret wherever one can stand. */
import { createPrivateKey } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type SandboxDriver, startDriven } from '../../sandbox/driver.ts'
import type { CallerEntry } from '../../src/callers/entries.ts'
import { newAuditKey, newCaller, newEncryptionKey } from '../../src/cli/keys.ts'
import { Canaries, newCanary } from './canaries.ts'
import { type Certificate, selfSigned, signedBy } from './certificates.ts'
import { type Collector, startCollector } from './collector.ts'
import { AUDIENCE, ISSUER, startIssuer, type TestIssuer } from './issuer.ts'
import { freePort, type RedisServer, startRedis } from './redis.ts'
import { startWiretap, type Wiretap } from './wiretap.ts'

export interface CanaryStack {
  readonly canaries: Canaries
  /** No secret: what is called so is named in every place, and has to be found in each. */
  readonly planted: string
  readonly sandbox: SandboxDriver
  readonly wiretap: Wiretap
  readonly issuer: TestIssuer
  readonly collector: Collector
  /** Of the server, and of the one caller who has one. */
  readonly server: Certificate
  readonly client: Certificate
  readonly keys: { readonly everything: string; readonly planted: string; readonly entry: CallerEntry }
  readonly redis: {
    readonly port: number
    readonly dir: string
    readonly password: string
    start(): Promise<RedisServer>
  }
  /** Holds what the process writes, and what it reads settings from. */
  readonly dir: string
  readonly environment: Readonly<Record<string, string>>
}

export const REDIS = ['redis', 'commands to redis', 'dump.rdb', 'append-only file']
export const RETURN_TO_ORIGIN = 'https://app.example'

export async function startCanaryStack(t: Test): Promise<CanaryStack> {
  const canaries = new Canaries()
  const planted = newCanary()
  const dir = newDirectory(t)
  const { driver: sandbox, close } = await startDriven({ appSecret: canaries.make('APP_SECRET') })
  t.teardown(close)
  const wiretap = await startWiretap(t, sandbox.options.url, (name, secret) => canaries.add(`${name} (wire)`, secret))
  const issuer = await startIssuer(t, Date.now())
  const collector = await startCollector(t)
  const server = await selfSigned(t, 'server', { subject: '/CN=localhost', san: 'IP:127.0.0.1' })
  const ca = await selfSigned(t, 'ca')
  const client = await signedBy(t, ca, 'client', { subject: '/CN=holder' })
  const redis = await redisSettings(t, canaries)

  const callers = [newCaller('everything', ['*']), newCaller(planted, ['grant:read'])] as const
  for (const { apiKey, entry } of callers) canaries.add(`API key of ${entry.name}`, apiKey)
  const encryptionKeys = [newEncryptionKey(), newEncryptionKey()]
  const auditKey = newAuditKey()
  for (const [index, entry] of encryptionKeys.entries())
    addKey(canaries, `encryption key ${index}`, entry.split(':')[1])
  addKey(canaries, 'AUDIT_KEY', auditKey)
  addPrivateKey(canaries, server.key)

  const callersFile = join(dir, 'callers.json')
  const entries = [
    ...callers.map(({ entry }) => entry),
    { name: 'workload', permissions: ['*'], jwt: { issuer: ISSUER, subject: 'scheduler' } },
    { name: 'holder', permissions: ['*'], certificate: { subject: 'CN=holder' } },
  ]
  writeFileSync(callersFile, JSON.stringify(entries))
  const environment = {
    PORT: '0',
    PUBLIC_PORT: '0',
    METRICS_PORT: '0',
    HEALTHTAP_APP_ID: sandbox.options.appId,
    HEALTHTAP_APP_SECRET: sandbox.options.appSecret,
    HEALTHTAP_AUTHORIZE_URL: `${sandbox.options.url}/oauth/authorize`,
    HEALTHTAP_API_URL: wiretap.url,
    HEALTHTAP_IDENTITY_URL: `${wiretap.url}/api/v2.1/me.json`,
    HEALTHTAP_REDIRECT_URIS: sandbox.options.redirectUri,
    RETURN_TO_ORIGINS: RETURN_TO_ORIGIN,
    REDIS_URL: `redis://:${redis.password}@127.0.0.1:${redis.port}`,
    ENCRYPTION_KEYS: encryptionKeys.join(),
    AUDIT_KEY: auditKey,
    AUDIT_LOG: join(dir, 'audit', 'audit.log'),
    JOURNAL_DIR: join(dir, 'journal'),
    CALLERS_FILE: callersFile,
    JWT_ISSUERS: JSON.stringify([{ issuer: ISSUER, audience: AUDIENCE, jwks_url: issuer.jwksUrl }]),
    TLS_CERT: server.cert,
    TLS_KEY: server.key,
    TLS_CLIENT_CA: ca.cert,
    RATE_LIMIT_PER_CALLER: '100000',
    RATE_LIMIT_PER_GUID: '3',
    LOG_LEVEL: 'trace',
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_EXPORTER_OTLP_HEADERS: `authorization=${canaries.make('key of the collector')}`,
  }
  const keys = { everything: callers[0].apiKey, planted: callers[1].apiKey, entry: callers[0].entry }
  return { canaries, planted, sandbox, wiretap, issuer, collector, server, client, keys, redis, dir, environment }
}

/** A name of an authorization is known to the browser that bears it, and to Redis, which looks for it. */
export const STATE = { mayBeIn: ['answers', ...REDIS] }
/** What people are called in the product is answered, and stands in the record that is theirs. */
export const NAME = { mayBeIn: ['answers', 'journal', ...REDIS] }

function newDirectory(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'htgw-canary-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** It keeps its data as production's does; uncompressed, so that a search sees it. */
async function redisSettings(t: Test, canaries: Canaries): Promise<CanaryStack['redis']> {
  const [port, dir, password] = [await freePort(), newDirectory(t), canaries.make('Redis password')]
  const keeps = [
    '--appendonly',
    'yes',
    '--save',
    '3600 1',
    '--rdbcompression',
    'no',
    '--maxmemory-policy',
    'noeviction',
  ]
  const args = ['--requirepass', password, '--dir', dir, ...keeps]
  return { port, dir, password, start: () => startRedis({ port, args }) }
}

function addKey(canaries: Canaries, name: string, base64 = ''): void {
  canaries.add(name, base64)
  canaries.add(`${name}, its bytes`, Buffer.from(base64, 'base64'))
}

/** The number alone, which is found in the PEM text too: all else there is public, and in the certificate. */
function addPrivateKey(canaries: Canaries, pem: string): void {
  const { d = '' } = createPrivateKey(pem).export({ format: 'jwk' })
  addKey(canaries, 'TLS key', d)
}
