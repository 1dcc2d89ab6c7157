import type { X509Certificate } from 'node:crypto'
import type { Clock } from '../ports/clock.ts'
import { createApiKeys } from './api-keys.ts'
import type { Caller } from './caller.ts'
import { createCertificates } from './certificates.ts'
import type { CallerEntry, Issuer } from './entries.ts'
import { createJwts } from './jwt.ts'
import { createKeySets, type KeySets } from './key-sets.ts'

export interface CallerSettings {
  readonly callers: readonly CallerEntry[]
  readonly jwtIssuers: readonly Issuer[]
}

export interface Callers {
  /** Who holds this bearer token, an API key or a JWT; null: nobody we know. Throws `IssuerUnavailable`. */
  bearer(token: string): Caller | null | Promise<Caller | null>
  /** Whose client certificate this is, which TLS has verified already; null: nobody's we know. */
  certificate(certificate: X509Certificate): Caller | null
  /** From here on these. */
  use(settings: CallerSettings): void
}

export function createCallers(settings: CallerSettings, clock: Clock): Callers {
  const keySets = createKeySets(clock)
  let ways = waysIn(settings, keySets, clock)
  return {
    bearer: token => ways.apiKeys.identify(token) ?? ways.jwts.identify(token),
    certificate: certificate => ways.certificates.identify(certificate),
    use(next) {
      ways = waysIn(next, keySets, clock)
    },
  }
}

function waysIn({ callers, jwtIssuers }: CallerSettings, keySets: KeySets, clock: Clock) {
  return {
    apiKeys: createApiKeys(callers, clock),
    jwts: createJwts(callers, jwtIssuers, keySets.use(jwtIssuers), clock),
    certificates: createCertificates(callers),
  }
}
