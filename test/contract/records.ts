import { createHash, randomBytes } from 'node:crypto'
import type { Rotation } from '../../src/ports/journal.ts'
import type { Authorization, Exchange, Grant, Provisioning } from '../../src/ports/records.ts'
import { Secret } from '../../src/ports/secret.ts'

/** What the records below hold that must never be read in a store. */
export const SECRETS = {
  accessToken: randomBytes(32).toString('hex'),
  refreshToken: randomBytes(32).toString('hex'),
  password: `pass-${randomBytes(24).toString('base64url')}`,
  codeVerifier: randomBytes(32).toString('base64url'),
  provisionedPassword: `prov-${randomBytes(24).toString('base64url')}`,
}

/** Guids as the provider makes them: 32 hex digits, the same for the same name in every run. */
export function guidOf(name: string | number): string {
  return createHash('sha256').update(String(name)).digest('hex').slice(0, 32)
}

export function grantOf(guid: string, nowMs: number, more: Partial<Grant> = {}): Grant {
  return {
    guid,
    username: `user-${guid.slice(0, 8)}`,
    password: new Secret(SECRETS.password),
    origin: 'provisioning',
    scope: 'profile_read profile_write',
    status: 'active',
    version: 1,
    pair: { accessToken: new Secret(SECRETS.accessToken), refreshToken: new Secret(SECRETS.refreshToken) },
    issuedAtMs: nowMs,
    accessTokenExpiresAtMs: nowMs + 7_199_000,
    refreshTokenExpiresAtMs: null,
    refreshDueAtMs: nowMs + 6_600_000,
    dueAtMs: nowMs + 6_600_000,
    attempt: { owner: 'replica-1', startedAtMs: nowMs, leaseUntilMs: nowMs + 15_000, refreshTokenFingerprint: 'abc' },
    doubtUntilMs: null,
    lastRefreshedAtMs: nowMs,
    lastError: { code: 'provider_unavailable', atMs: nowMs, attempts: 2 },
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
    ...more,
  }
}

export function authorizationOf(state: string, expiresAtMs: number): Authorization {
  return {
    state,
    redirectUri: 'myapp://oauth/healthtap',
    scope: 'profile_read',
    returnTo: new Secret('https://app.example.com/done?a=1&b=ü'),
    expectedGuid: null,
    codeVerifier: new Secret(SECRETS.codeVerifier),
    status: 'pending',
    exchangeKey: null,
    guid: null,
    error: null,
    expiresAtMs,
  }
}

export function exchangeOf(expiresAtMs: number): Exchange {
  return { status: 'under_way', state: null, owner: 'replica-1', leaseUntilMs: expiresAtMs - 1_000, expiresAtMs }
}

export function provisioningOf(nowMs: number): Provisioning {
  const password = new Secret(SECRETS.provisionedPassword)
  return { status: 'under_way', owner: 'replica-1', leaseUntilMs: nowMs + 15_000, password, inDoubt: false }
}

/** A renewal's pair, as it waits in the journal. */
export function rotationOf(guid: string): Rotation {
  return {
    guid,
    replacesVersion: 1,
    spentFingerprint: 'abc',
    base: grantOf(guid, 1),
    pair: { accessToken: new Secret('access'), refreshToken: new Secret('refresh') },
    scope: null,
    issuedAtMs: 1,
    accessTokenExpiresAtMs: 2,
    refreshTokenExpiresAtMs: null,
  }
}

/** A record (or settings) with its secrets told, to compare: a `Secret` looks like any other from outside. */
export function told(value: unknown): unknown {
  if (value instanceof Secret) return { secret: value.reveal() }
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(told)
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, told(field)]))
}
