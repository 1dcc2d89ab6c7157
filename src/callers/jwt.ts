import { decodeJwt, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose'
import type { Clock } from '../ports/clock.ts'
import { type Caller, callerOf, PERMISSIONS } from './caller.ts'
import type { CallerEntry, Issuer } from './entries.ts'
import { IssuerUnavailable, type KeysByIssuer } from './key-sets.ts'

const DEFAULT_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA']
const DEFAULT_LEEWAY_SECONDS = 30

/**
 * Workloads that show a JWT of an issuer we know (RFC 7519; RFC 9068 where it has a `scope`): signed with one of its keys
 * by an algorithm that is configured, meant for us, in time.
 */
export function createJwts(
  entries: readonly CallerEntry[],
  issuers: readonly Issuer[],
  keys: KeysByIssuer,
  clock: Clock,
) {
  const known = new Map(issuers.map(issuer => [issuer.issuer, issuer]))

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
      const issuersKeys = keys.get(issuer?.issuer ?? '')
      if (issuer === undefined || issuersKeys === undefined) return null
      const payload = await verified(token, issuersKeys, {
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
