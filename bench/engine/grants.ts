/** Grants as they come from the provider, made by the engine's own rules. */
import { randomBytes } from 'node:crypto'
import { authorized, rotated, rotationFrom } from '../../src/broker/grant.ts'
import type { RefreshPolicy } from '../../src/broker/policy.ts'
import type { TokenAnswer } from '../../src/ports/provider.ts'
import type { Grant } from '../../src/ports/records.ts'
import { Secret } from '../../src/ports/secret.ts'

/** That of the default settings. */
export const POLICY: RefreshPolicy = {
  marginMs: 600_000,
  marginRatio: 0.2,
  minTtlMs: 30_000,
  defaultLifetimeMs: 3_600_000,
  leaseMs: 15_000,
  sendWithinMs: 2_500,
  idleAfterMs: 0,
}

const LIFETIME_SECONDS = 7_200

/** 32 hexadecimal digits, spread like random ones. */
export function guidOf(index: number): string {
  return (BigInt(index + 1) * 0x9e3779b97f4a7c15f39cc0605cedc835n).toString(16).slice(-32).padStart(32, '0')
}

/** A provisioned person's grant that has been renewed: with username, password, and all its times. */
export function grantOf(index: number, nowMs: number): Grant {
  const first = authorized(
    POLICY,
    null,
    {
      guid: guidOf(index),
      username: `person-${index}`,
      password: new Secret(randomBytes(32).toString('base64url')),
      origin: 'provisioning',
      requestedScope: SCOPE,
      answer: answer(),
      issuedAtMs: nowMs - 1,
    },
    nowMs - 1,
  )
  return renewed(first, nowMs)
}

export function renewed(grant: Grant, nowMs: number): Grant {
  return rotated(POLICY, grant, rotationFrom(POLICY, grant, answer(), nowMs), nowMs, false)
}

const SCOPE = 'profile_read profile_write'

function answer(): TokenAnswer {
  const times = { expiresInSeconds: LIFETIME_SECONDS, refreshTokenExpiresInSeconds: null }
  return { pair: { accessToken: secret(), refreshToken: secret() }, ...times, scope: SCOPE, guid: null }
}

/** As long as HealthTap's, and each another; made of nothing, since in the gateway it is the provider who makes them. */
function secret(): Secret {
  made += 1
  return new Secret(made.toString(16).padStart(64, '5'))
}
let made = 0
