/** The broker's records as they go over the wire: the one place where milliseconds become RFC 3339 and seconds. */
import type { Static } from 'typebox'
import type { Audited } from '../plugins/audit.ts'
import { lifeLeftMs, type RefreshPolicy, rotatesAtMs } from '../src/broker/policy.ts'
import type { Authorization, Grant } from '../src/ports/records.ts'
import type { AccessToken, AuthorizationOutcome, Grant as GrantSchema } from '../src/schemas/index.ts'

/** What stays the same from one rotation to the next is put together once for it. */
const standing = new WeakMap<Grant, Omit<Static<typeof AccessToken>, 'expires_in'>>()

export function accessTokenView(grant: Grant, policy: RefreshPolicy, nowMs: number): Static<typeof AccessToken> {
  const view = standing.get(grant) ?? standingView(grant, policy)
  return { ...view, expires_in: Math.max(0, Math.floor(lifeLeftMs(grant, nowMs) / 1000)) }
}

function standingView(grant: Grant, policy: RefreshPolicy) {
  const view = {
    guid: grant.guid,
    access_token: grant.pair.accessToken.reveal(),
    token_type: 'bearer' as const,
    scope: grant.scope,
    expires_at: timeOf(grant.accessTokenExpiresAtMs),
    rotates_at: timeOf(rotatesAtMs(policy, grant)),
    version: grant.version,
  }
  standing.set(grant, view)
  return view
}

export function grantView(grant: Grant): Static<typeof GrantSchema> {
  return {
    guid: grant.guid,
    username: grant.username,
    origin: grant.origin,
    scope: grant.scope,
    status: grant.status,
    version: grant.version,
    access_token_expires_at: timeOf(grant.accessTokenExpiresAtMs),
    refresh_token_expires_at: timeOrNull(grant.refreshTokenExpiresAtMs),
    refresh_due_at: timeOrNull(grant.dueAtMs),
    last_refreshed_at: timeOrNull(grant.lastRefreshedAtMs),
    last_error:
      grant.lastError === null
        ? null
        : { code: grant.lastError.code, at: timeOf(grant.lastError.atMs), attempts: grant.lastError.attempts },
    created_at: timeOf(grant.createdAtMs),
    updated_at: timeOf(grant.updatedAtMs),
  }
}

/** For the audit stream: a grant that is shown. */
export function auditedGrant({ guid, version }: Grant): Audited {
  return { guid, version }
}

/** For the audit stream: a grant whose token is handed out, or taken in. */
export function auditedToken({ guid, version, pair }: Grant): Audited {
  return { guid, version, accessToken: pair.accessToken }
}

export function outcomeView(authorization: Authorization): Static<typeof AuthorizationOutcome> {
  return {
    state: authorization.state,
    status: authorization.status,
    ...(authorization.guid === null ? {} : { guid: authorization.guid }),
    ...(authorization.error === null ? {} : { error: authorization.error }),
    expires_at: timeOf(authorization.expiresAtMs),
  }
}

/** RFC 3339, whole seconds, never later than the moment itself. */
export function timeOf(atMs: number): string {
  return `${new Date(atMs).toISOString().slice(0, -'.000Z'.length)}Z`
}

export function timeOrNull(atMs: number | null): string | null {
  return atMs === null ? null : timeOf(atMs)
}
