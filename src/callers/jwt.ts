import {
  createLocalJWKSet,
  createRemoteJWKSet,
  decodeJwt,
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwtVerify,
} from 'jose'
import type { Clock } from '../ports/clock.ts'
import { type Caller, callerOf, PERMISSIONS } from './caller.ts'
import type { CallerEntry, Issuer } from './entries.ts'

/** The keys of a token's issuer could not be fetched, and none were fetched before: nobody can say whose token it is. */
export class IssuerUnavailable extends Error {
  override readonly name = 'IssuerUnavailable'
}

const DEFAULT_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA']
const DEFAULT_LEEWAY_SECONDS = 30
const FETCH_DEADLINE_MS = 3_000
/** How long fetched keys are taken for the issuer's, and how soon an unknown key id makes us look again. */
const FETCHED_KEYS_LIVE_MS = 600_000
const FETCH_AGAIN_AFTER_MS = 30_000

/**
 * Workloads that show a JWT of an issuer we know (RFC 7519; RFC 9068 where it has a `scope`): signed with one of its keys
 * by an algorithm that is configured, meant for us, in time.
 */
export function createJwts(entries: readonly CallerEntry[], issuers: readonly Issuer[], clock: Clock) {
  const known = new Map(issuers.map(issuer => [issuer.issuer, { ...issuer, keys: keysOf(issuer) }]))

  function entryFor(issuer: string, subject: string): CallerEntry | undefined {
    const ofIssuer = entries.filter(({ jwt }) => jwt?.issuer === issuer)
    return (
      ofIssuer.find(({ jwt }) => jwt?.subject === subject) ?? ofIssuer.find(({ jwt }) => jwt?.subject === undefined)
    )
  }

  return {
    /** Whose token this is; null: nobody's, or it is not valid. Throws `IssuerUnavailable`. */
    async identify(token: string): Promise<Caller | null> {
      const issuer = known.get(issuerOf(token) ?? '')
      if (issuer === undefined) return null
      const payload = await verified(token, issuer.keys, {
        issuer: issuer.issuer,
        audience: issuer.audience,
        algorithms: [...(issuer.algorithms ?? DEFAULT_ALGORITHMS)],
        clockTolerance: issuer.clock_leeway_seconds ?? DEFAULT_LEEWAY_SECONDS,
        currentDate: new Date(clock.now()),
        requiredClaims: ['exp', 'sub'],
      })
      const entry = payload === null ? undefined : entryFor(issuer.issuer, payload.sub ?? '')
      if (payload === null || entry === undefined) return null
      return entry.jwt?.subject === undefined ? callerByScope(entry, payload) : callerOf(entry)
    },
  }
}

/** One of many workloads: its `scope` says what it may do, as far as the entry allows it to anybody. */
function callerByScope(entry: CallerEntry, payload: JWTPayload): Caller {
  const named = typeof payload.scope === 'string' ? payload.scope.split(' ') : []
  const caller = callerOf(entry)
  const allowed = caller.permissions.includes('*') ? PERMISSIONS : caller.permissions
  return {
    ...caller,
    subject: payload.sub ?? null,
    permissions: allowed.filter(permission => named.includes(permission)),
  }
}

function issuerOf(token: string): string | undefined {
  try {
    return decodeJwt(token).iss
  } catch {
    return undefined
  }
}

/** null: not valid. */
async function verified(
  token: string,
  keys: JWTVerifyGetKey,
  options: NonNullable<Parameters<typeof jwtVerify>[2]>,
): Promise<JWTPayload | null> {
  try {
    return (await jwtVerify(token, keys, options)).payload
  } catch (error) {
    if (error instanceof IssuerUnavailable) throw error
    if (error instanceof errors.JOSEError || error instanceof TypeError) return null
    throw error
  }
}

function keysOf({ jwks, jwks_url: url }: Issuer): JWTVerifyGetKey {
  if (jwks !== undefined) return createLocalJWKSet(jwks as Parameters<typeof createLocalJWKSet>[0])
  return remoteKeys(new URL(url ?? ''))
}

/** Fetched when first needed, and now and then again. An issuer that is away is believed by the keys it had last. */
function remoteKeys(url: URL): JWTVerifyGetKey {
  const remote = createRemoteJWKSet(url, {
    timeoutDuration: FETCH_DEADLINE_MS,
    cacheMaxAge: FETCHED_KEYS_LIVE_MS,
    cooldownDuration: FETCH_AGAIN_AFTER_MS,
  })
  return async (header, token) => {
    try {
      return await remote(header, token)
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys) throw error
      const last = remote.jwks()
      if (last === undefined) throw new IssuerUnavailable('The keys of a token issuer cannot be fetched.')
      return await createLocalJWKSet(last)(header, token)
    }
  }
}
