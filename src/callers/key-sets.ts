import { createLocalJWKSet, createRemoteJWKSet, errors, type JWTVerifyGetKey } from 'jose'
import type { Clock } from '../ports/clock.ts'
import type { Issuer } from './entries.ts'

/** The keys of a token's issuer could not be fetched, and none were fetched before: nobody can say whose token it is. */
export class IssuerUnavailable extends Error {
  override readonly name = 'IssuerUnavailable'
}

const FETCH_DEADLINE_MS = 3_000
/** How long fetched keys are taken for the issuer's. */
const FETCHED_KEYS_LIVE_MS = 600_000
/** However many tokens with an unknown key id come, and whether or not the issuer answers: no sooner than this. */
const FETCH_AGAIN_AFTER_MS = 30_000
/** As above while there are no keys to go by; callers are told to come again after as long. */
const FETCH_FIRST_AGAIN_AFTER_MS = 5_000

/** What verifies the tokens of each issuer, by `iss`. */
export type KeysByIssuer = ReadonlyMap<string, JWTVerifyGetKey>

export interface KeySets {
  /**
   * From here on those of these issuers. Keys that were fetched are fetched anew when next needed, and stay good where that
   * fails: an issuer that is away is believed by the keys it had last.
   */
  use(issuers: readonly Issuer[]): KeysByIssuer
}

/** Their getters throw `IssuerUnavailable`. */
export function createKeySets(clock: Clock): KeySets {
  let fetched = new Map<string, RemoteKeys>()
  return {
    use(issuers) {
      const next = new Map<string, RemoteKeys>()
      const keys = issuers.map(({ issuer, jwks, jwks_url: url = '' }) => {
        if (jwks !== undefined) return [issuer, createLocalJWKSet(jwks as LocalKeys)] as const
        const place = JSON.stringify([issuer, url])
        const remote = fetched.get(place) ?? remoteKeys(new URL(url), clock)
        next.set(place, remote)
        return [issuer, remote.get] as const
      })
      fetched = next
      for (const remote of next.values()) remote.expire()
      return new Map(keys)
    },
  }
}

type LocalKeys = Parameters<typeof createLocalJWKSet>[0]
type RemoteKeys = ReturnType<typeof remoteKeys>

function remoteKeys(url: URL, clock: Clock) {
  // When to fetch is decided here, by our clock.
  const remote = createRemoteJWKSet(url, {
    timeoutDuration: FETCH_DEADLINE_MS,
    cacheMaxAge: Number.POSITIVE_INFINITY,
    cooldownDuration: Number.POSITIVE_INFINITY,
  })
  let triedAtMs = Number.NEGATIVE_INFINITY
  let fetchedAtMs = Number.NEGATIVE_INFINITY
  let fetching: Promise<void> | null = null

  async function fetchKeys(): Promise<void> {
    triedAtMs = clock.now()
    try {
      await remote.reload()
      // Not later: what was asked for before they expired does not make them fresh.
      fetchedAtMs = triedAtMs
    } catch {
      // Away, or it answers no keys: those of before stay.
    } finally {
      fetching = null
    }
  }

  /** Resolves when the fetch under way is over, a new one if it is time for one; else at once. */
  async function fetchInTime(): Promise<void> {
    const afterMs = remote.jwks() === undefined ? FETCH_FIRST_AGAIN_AFTER_MS : FETCH_AGAIN_AFTER_MS
    if (fetching === null && clock.now() - triedAtMs >= afterMs) fetching = fetchKeys()
    await fetching
  }

  const get: JWTVerifyGetKey = async (header, token) => {
    if (clock.now() - fetchedAtMs >= FETCHED_KEYS_LIVE_MS) await fetchInTime()
    if (remote.jwks() === undefined) throw new IssuerUnavailable('The keys of a token issuer cannot be fetched.')
    try {
      return await remote(header, token)
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
      await fetchInTime()
      return await remote(header, token)
    }
  }

  return {
    get,
    /** Somebody wants to know: the next token has them fetched anew, however short a while ago that was. */
    expire() {
      triedAtMs = Number.NEGATIVE_INFINITY
      fetchedAtMs = Number.NEGATIVE_INFINITY
    },
  }
}
