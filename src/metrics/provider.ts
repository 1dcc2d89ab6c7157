import { Histogram, type Registry } from 'prom-client'
import type { Outcome, Provider } from '../ports/provider.ts'
import { SECONDS } from './buckets.ts'
import { gaugeOf } from './gauge.ts'

/** The provider's clock, as a `Date` header shows it, and ours before and after the request. Milliseconds since the epoch. */
export interface Dated {
  readonly dateMs: number
  readonly sentAtMs: number
  readonly receivedAtMs: number
}

export interface ProviderMetrics {
  /** The same provider; each request of it is counted and timed. `hasIdentityUrl` false: `identify` asks nobody. */
  measured(provider: Provider, options: { readonly hasIdentityUrl: boolean }): Provider
  dated(answer: Dated): void
}

export function providerMetrics(registers: Registry[]): ProviderMetrics {
  const duration = new Histogram({
    name: 'htgw_provider_request_duration_seconds',
    help: 'How long requests to the provider took, by what was asked and what it meant.',
    labelNames: ['operation', 'outcome'],
    buckets: SECONDS,
    registers,
  })
  let skewSeconds: number | null = null
  gaugeOf({
    name: 'htgw_provider_clock_skew_seconds',
    help: "How far the provider's clock is ahead of ours (behind: negative), at least, by its last answer. 0: not so far that it shows. Absent: it has not answered yet.",
    registers,
    value: () => skewSeconds,
  })

  async function timed<T>(operation: string, ask: () => Promise<Outcome<T>>): Promise<Outcome<T>> {
    const end = duration.startTimer({ operation })
    const outcome = await ask()
    end({ outcome: outcome.kind })
    return outcome
  }

  return {
    measured: (provider, { hasIdentityUrl }) => ({
      authorizationUrl: request => provider.authorizationUrl(request),
      exchange: request => timed('exchange', () => provider.exchange(request)),
      refresh: refreshToken => timed('refresh', () => provider.refresh(refreshToken)),
      authenticate: user => timed('password', () => provider.authenticate(user)),
      present: accessToken => timed('present', () => provider.present(accessToken)),
      createUser: user => timed('create_user', () => provider.createUser(user)),
      revoke: token => timed('revoke', () => provider.revoke(token)),
      probe: () => timed('probe', () => provider.probe()),
      identify(accessToken) {
        const ask = () => provider.identify(accessToken)
        return hasIdentityUrl ? timed('identify', ask) : ask()
      },
    }),
    dated(answer) {
      skewSeconds = certainSkewSeconds(answer)
    },
  }
}

/** A `Date` is cut off to whole seconds, and was written somewhere between our two looks at the clock. */
export function certainSkewSeconds({ dateMs, sentAtMs, receivedAtMs }: Dated): number {
  const aheadMs = Math.max(0, dateMs - receivedAtMs)
  const behindMs = Math.max(0, sentAtMs - (dateMs + 1_000))
  return (aheadMs - behindMs) / 1000
}
