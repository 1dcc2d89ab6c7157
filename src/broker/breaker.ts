/**
 * Whether the provider may be asked just now. Three things keep us from it: it asks for patience (`Retry-After`, which all
 * replicas share through the store), it does not work, or it refuses our credentials. In the latter two, probes find out
 * when that is over: an exchange of a made-up code, by which nobody's refresh token can be lost.
 *
 *   closed ── 5 failures in a row ──▶ outage            ── a probe succeeds ──▶ closed, slowly at first
 *   closed, outage ── invalid_client ▶ client_refused   ── a probe succeeds ──▶ closed, slowly at first
 *
 * A probe says nothing about refreshes alone. So closed by a probe is closed on trial: until something else succeeds, one
 * failure opens it again, and probes go on as seldom as they had become.
 */
import { Problem } from '../errors.ts'
import { askedToWaitSeconds, type Outcome, type Provider, type TokenAnswer } from '../ports/provider.ts'
import type { Lane } from '../ports/slots.ts'
import { PROVIDER, StoreUnavailable } from '../ports/store.ts'
import { type BrokerPorts, change, keep, problemOf, secondsUntil, within } from './context.ts'

type Kind = Outcome<unknown>['kind']

export type Trouble = 'outage' | 'client_refused' | 'paused'

export interface Breaker {
  /**
   * The provider, watched: each outcome is taken into account. In a pause nothing is sent but what a person waits for (a
   * code exchange, a new user): that is little, and a code does not keep.
   */
  readonly provider: Provider
  /** null: it may be asked. A reader's question is a reason to probe early. Throws `StoreUnavailable`. */
  whyNot(lane: Lane): Promise<Problem | null>
  /** To be called again and again: probes when it is time. How many renewals may run in the background; 0: none now. */
  tend(): Promise<number>
  /** null: all is well, as far as this replica knows. */
  trouble(): Trouble | null
}

const FAILURES_TO_OPEN = 5
const PROBE_FIRST_MS = 1_000
/** One request from each replica: that is no load, and a provider that is back is found soon. */
const PROBE_LONGEST_MS = 5_000
const READERS_PROBE_EVERY_MS = 250
const READER_WAITS_MS = 2_000
/** A provider that asks for more patience than this is asked again anyway. */
const LONGEST_PAUSE_MS = 300_000

export function createBreaker(
  ports: Pick<BrokerPorts, 'clock' | 'random' | 'stores' | 'events' | 'provider'>,
  /** Renewals at once when all is well. */
  concurrency: number,
): Breaker {
  const { clock, events, provider, random } = ports
  const { pauses } = ports.stores
  let open: Exclude<Trouble, 'paused'> | null = null
  /** Grows when it opens or closes: an answer to what was asked before says nothing about now. */
  let era = 0
  let failures = 0
  /** Nothing but a probe has succeeded yet since it was open. */
  let isOnTrial = false
  /** It did not stand its last trial. */
  let hasRelapsed = false
  /** Renewals at once: after trouble one, and one more each time as many as are allowed have succeeded. */
  let allowance = concurrency
  let pausedUntilMs = 0
  let probes = 0
  let probedAtMs = 0
  let nextProbeAtMs = 0
  let probing: Promise<void> | null = null

  function turn(next: typeof open): void {
    if (open === 'outage') events.emit({ type: 'provider.available' })
    if (open === 'client_refused' && next === null) events.emit({ type: 'client.accepted' })
    if (next === 'outage') events.emit({ type: 'provider.unavailable' })
    if (next === 'client_refused') events.emit({ type: 'client.refused' })
    hasRelapsed = next !== null && open === null && isOnTrial
    isOnTrial = next === null
    if (next !== null && !hasRelapsed) probes = 0
    open = next
    era += 1
    failures = 0
    allowance = 1
    nextProbeAtMs = clock.now() + nextProbeInMs()
  }

  function nextProbeInMs(): number {
    const waitMs = Math.min(PROBE_LONGEST_MS, PROBE_FIRST_MS * 2 ** Math.min(probes, 10))
    return waitMs * (0.5 + random.fraction() / 2)
  }

  function report(outcome: Outcome<unknown>, askedIn: number, knowsUsBy: readonly Kind[]): void {
    const patienceSeconds = askedToWaitSeconds(outcome)
    if (patienceSeconds !== null) pause(patienceSeconds)
    else if (askedIn === era) takeIntoAccount(outcome, knowsUsBy)
  }

  /** `knowsUsBy`: the outcomes of this request by which the provider has looked at our credentials, and taken them. */
  function takeIntoAccount(outcome: Outcome<unknown>, knowsUsBy: readonly Kind[]): void {
    switch (outcome.kind) {
      case 'ok':
      case 'rejected':
      case 'conflict':
        failures = 0
        if (open === 'client_refused' && !knowsUsBy.includes(outcome.kind)) return
        if (open !== null) turn(null)
        else standTrial()
        return
      case 'client_refused':
        if (open !== 'client_refused') turn('client_refused')
        return
      case 'refused':
        // An OAuth error comes from the token endpoint itself; anything else may come from whatever stands in its place.
        if (outcome.upstream.error !== undefined) {
          failures = 0
          if (open === 'outage') turn(null)
          return
        }
    }
    failures += 1
    if (open === null && (isOnTrial || failures >= FAILURES_TO_OPEN)) turn('outage')
  }

  function standTrial(): void {
    isOnTrial = false
    allowance = Math.min(concurrency, allowance + 1 / Math.floor(allowance))
  }

  function pause(seconds: number): void {
    const untilMs = clock.now() + Math.min(seconds * 1000, LONGEST_PAUSE_MS)
    if (untilMs <= pausedUntilMs) return
    pausedUntilMs = untilMs
    allowance = 1
    events.emit({ type: 'provider.paused', untilMs })
    // The others hear of it from the store; where it is away, from the provider.
    change(pauses, PROVIDER, current => ((current?.untilMs ?? 0) < untilMs ? { untilMs } : keep)).catch(() => {})
  }

  /** Takes over what another replica was asked. */
  async function look(): Promise<void> {
    const untilMs = (await pauses.read(PROVIDER))?.record.untilMs ?? 0
    if (untilMs <= pausedUntilMs) return
    pausedUntilMs = untilMs
    allowance = 1
  }

  function isPaused(): boolean {
    return pausedUntilMs > clock.now()
  }

  function probe(): Promise<void> {
    probing ??= probeOnce().finally(() => {
      probing = null
    })
    return probing
  }

  async function probeOnce(): Promise<void> {
    const askedIn = era
    probedAtMs = clock.now()
    report(await provider.probe(), askedIn, ['ok'])
    probes += 1
    nextProbeAtMs = clock.now() + nextProbeInMs()
  }

  function isTimeToProbe(lane: Lane): boolean {
    const nowMs = clock.now()
    if (open === null || isPaused()) return false
    if (lane === 'reader' && !hasRelapsed) return nowMs - probedAtMs >= READERS_PROBE_EVERY_MS
    return nowMs >= nextProbeAtMs
  }

  function problem(): Problem | null {
    const nowMs = clock.now()
    if (isPaused()) {
      const detail = 'HealthTap has asked us to wait before we ask it anything again. Nothing was lost.'
      return new Problem('provider_unavailable', detail, { retryAfterSeconds: secondsUntil(pausedUntilMs, nowMs) })
    }
    if (open === null) return null
    return open === 'client_refused'
      ? problemOf({ kind: 'client_refused', upstream: {} }, 'a renewal')
      : problemOf({ kind: 'unavailable', upstream: {}, retryAfterSeconds: null }, 'a renewal')
  }

  async function watched<T>(ask: () => Promise<Outcome<T>>, knowsUsBy: readonly Kind[]): Promise<Outcome<T>> {
    const askedIn = era
    const outcome = await ask()
    report(outcome, askedIn, knowsUsBy)
    return outcome
  }

  async function unlessPaused<T>(ask: () => Promise<Outcome<T>>, knowsUsBy: readonly Kind[]): Promise<Outcome<T>> {
    if (!isPaused()) return await watched(ask, knowsUsBy)
    return { kind: 'unavailable', upstream: {}, retryAfterSeconds: secondsUntil(pausedUntilMs, clock.now()) }
  }

  async function createUser(user: Parameters<Provider['createUser']>[0]): Promise<Outcome<TokenAnswer>> {
    const askedIn = era
    const outcome = await provider.createUser(user)
    // An app may have no right to make users, and be a good client for all else.
    if (outcome.kind !== 'client_refused') report(outcome, askedIn, ['ok', 'conflict'])
    return outcome
  }

  return {
    provider: {
      authorizationUrl: request => provider.authorizationUrl(request),
      exchange: request => watched(() => provider.exchange(request), ['ok', 'rejected']),
      // A refresh token that is not good is refused before our credentials are looked at.
      refresh: refreshToken => unlessPaused(() => provider.refresh(refreshToken), ['ok']),
      createUser,
      // 200, whatever was sent (RFC 7009, section 2.2).
      revoke: token => unlessPaused(() => provider.revoke(token), []),
      probe: () => provider.probe(),
      // Another address, maybe another server: it says nothing about the token endpoint.
      identify: accessToken => provider.identify(accessToken),
    },

    async whyNot(lane) {
      if (lane === 'reader') await look()
      if (lane === 'reader' && isTimeToProbe(lane)) {
        await within({ clock }, clock.now() + READER_WAITS_MS, probe)
      }
      return problem()
    },

    async tend() {
      await look().catch(error => {
        if (!(error instanceof StoreUnavailable)) throw error
      })
      if (isPaused()) return 0
      if (isTimeToProbe('background')) await probe()
      return open === null ? Math.floor(allowance) : 0
    },

    trouble: () => open ?? (isPaused() ? 'paused' : null),
  }
}
