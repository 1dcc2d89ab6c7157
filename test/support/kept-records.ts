/** One record of each kind and status, with secrets that are made up and fixed: what is written down as a fixture. */
import type { Grant, GrantStatus } from '../../src/ports/records.ts'
import { Secret } from '../../src/ports/secret.ts'
import type { Stores } from '../../src/ports/store.ts'

export const KEPT_AT_MS = Date.parse('2026-11-25T09:00:00Z')
/** Not a secret: it opens made-up records alone. */
export const KEPT_KEY = `kept:${Buffer.alloc(32, 'healthtap-gateway fixture').toString('base64')}`
export const KEPT_PREFIX = 'kept'

const HOUR_MS = 3_600_000
const STATUSES: readonly GrantStatus[] = ['active', 'in_doubt', 'reauthorization_required', 'revoking']

function grantOf(status: GrantStatus): Grant {
  return {
    guid: `guid-${status}`,
    username: `user ${status}`,
    password: new Secret(`password ${status}`),
    origin: 'provisioning',
    scope: 'profile_read profile_write',
    status,
    version: 7,
    pair: { accessToken: new Secret(`access-${status}`), refreshToken: new Secret(`refresh-${status}`) },
    authorizedAtMs: KEPT_AT_MS - HOUR_MS,
    authorizedFingerprint: 'fingerprint',
    issuedAtMs: KEPT_AT_MS,
    accessTokenExpiresAtMs: KEPT_AT_MS + 2 * HOUR_MS,
    refreshTokenExpiresAtMs: KEPT_AT_MS + 1_000 * HOUR_MS,
    refreshDueAtMs: KEPT_AT_MS + HOUR_MS,
    dueAtMs: status === 'reauthorization_required' ? null : KEPT_AT_MS + HOUR_MS,
    attempt: {
      owner: 'replica',
      startedAtMs: KEPT_AT_MS,
      leaseUntilMs: KEPT_AT_MS + 15_000,
      refreshTokenFingerprint: 'spent',
    },
    doubtUntilMs: status === 'in_doubt' ? KEPT_AT_MS + 30_000 : null,
    lastRefreshedAtMs: KEPT_AT_MS,
    lastReadAtMs: KEPT_AT_MS,
    lastError: { code: 'provider_unavailable', atMs: KEPT_AT_MS, attempts: 2 },
    createdAtMs: KEPT_AT_MS - 24 * HOUR_MS,
    updatedAtMs: KEPT_AT_MS,
  }
}

type RecordsOf = { [Kind in 'grants' | 'authorizations' | 'exchanges' | 'provisionings' | 'pauses' | 'censuses']: Kind }

export type KeptKind = keyof RecordsOf

/** By store, then by key. */
export function keptRecords(): Readonly<Record<KeptKind, Readonly<Record<string, unknown>>>> {
  const expiresAtMs = KEPT_AT_MS + HOUR_MS
  const authorization = {
    redirectUri: 'myapp://oauth/healthtap',
    scope: 'profile_read',
    returnTo: new Secret('https://app.example/done?a=1'),
    expectedGuid: 'guid-active',
    expiresAtMs,
  }
  const waits = { status: 'pending', exchangeKey: null, guid: null, error: null }
  const came = { status: 'connected', exchangeKey: 'exchange', guid: 'guid-active', error: null }
  const underWay = { status: 'under_way', owner: 'replica', leaseUntilMs: KEPT_AT_MS + 15_000 }
  return {
    grants: Object.fromEntries(STATUSES.map(status => [`guid-${status}`, grantOf(status)])),
    authorizations: {
      waits: { ...authorization, ...waits, state: 'waits', codeVerifier: new Secret('verifier') },
      came: { ...authorization, ...came, state: 'came', codeVerifier: null },
    },
    exchanges: {
      'exchange-under-way': { ...underWay, state: 'waits', expiresAtMs },
      'exchange-done': { status: 'done', state: 'came', guid: 'guid-active', expiresAtMs },
      'exchange-failed': { status: 'failed', state: null, code: 'outcome_unknown', detail: 'Lost.', expiresAtMs },
    },
    provisionings: {
      'user under way': { ...underWay, password: new Secret('password'), inDoubt: true },
      'user in doubt': { status: 'in_doubt', password: new Secret('password') },
      'user answered': { status: 'answered', grant: grantOf('active') },
      'user active': { status: 'done', guid: 'guid-active' },
    },
    pauses: { provider: { untilMs: expiresAtMs } },
    // As 0.1.0 counts: without a survey.
    censuses: {
      grants: {
        owner: null,
        leaseUntilMs: 0,
        counts: {
          atMs: KEPT_AT_MS,
          byStatus: { active: 1, in_doubt: 1, reauthorization_required: 1, revoking: 1 },
          lapsing: { '0': 0, '60': 0, '300': 0 },
        },
      },
    },
  }
}

/** The store of a kind, for records of any kind. */
export function storeOf(stores: Stores, kind: KeptKind) {
  return stores[kind] as {
    read(key: string): Promise<{ readonly record: unknown } | null>
    write(key: string, ifRevision: number, next: unknown): Promise<{ readonly ok: boolean }>
  }
}
