/**
 * Whether the provider may be asked just now. Three things keep us from it: it asks for patience (`Retry-After`, which all
 * replicas share through the store), it does not work, or it refuses our credentials. In the latter two, probes find out
 * when that is over: an exchange of a made-up code, by which nobody's refresh token can be lost.
 *
 *   closed ── 5 failures in a row ──▶ outage            ── a probe succeeds ──▶ closed, slowly at first
 *             of several subjects, or to connect; of one subject alone a probe has to fail as well
 *   closed, outage ── invalid_client ▶ client_refused   ── a probe succeeds ──▶ closed, slowly at first
 *
 * A subject is a grant, a code or a user that was asked about. What goes wrong with one of them alone must not stop all the
 * others: a row of failures about one subject is a suspicion, and a probe decides. One whose credentials are refused again
 * although they were taken meanwhile, or that is asked again to wait although others succeed, is refused or limited by itself.
 *
 * A probe says nothing about refreshes alone. So closed by a probe is closed on trial: until something else succeeds, one
 * failure opens it again, and probes go on as seldom as they had become. The events tell of the trouble as a whole, with
 * its relapses: once when it begins, and once when a trial has been stood.
 */
import { LRUCache } from 'lru-cache'
import { Problem } from '../errors.ts'
import {
  askedToWaitSeconds,
  type Failure,
  type Outcome,
  type Provider,
  reasonOf,
  type TokenAnswer,
} from '../ports/provider.ts'
import type { Pause } from '../ports/records.ts'
import type { Secret } from '../ports/secret.ts'
import type { Lane } from '../ports/slots.ts'
import { PROVIDER, RecordUnreadable, StoreUnavailable } from '../ports/store.ts'
import { type BrokerPorts, change, keep, problemOf, secondsUntil, within } from './context.ts'
import { fingerprint } from './grant.ts'
import { mustWait, RETRY_AFTER_LONGEST_MS } from './policy.ts'
import { createSuspects } from './suspects.ts'

type Kind = Outcome<unknown>['kind']

type Cause = 'outage' | 'client_refused'

/** When a request went out. */
interface Asked {
  readonly era: number
  readonly request: number
}

export type Trouble = Cause | 'paused'

export interface Breaker {
  /**
   * The provider, watched: each outcome is taken into account. In a pause nothing is sent but what a person waits for (a
   * code exchange, a new user): that is little, and a code does not keep.
   */
  readonly provider: Provider
  /** null: it may be asked. A reader's question is a reason to probe early. Throws `StoreUnavailable`. */
  whyNot(lane: Lane): Promise<Problem | null>
  /**
   * Runs a renewal as one of those that may run at once: after trouble these are few, and a reader's waits for its turn, for
   * a while. null: its turn did not come.
   */
  inTurn<T>(lane: Lane, renewal: () => Promise<T>): Promise<T | null>
  /** To be called again and again: probes when it is time. How many renewals may run in the background; 0: none now. */
  tend(): Promise<number>
  /** null: all is well, as far as this replica knows. */
  trouble(): Trouble | null
}

const FAILURES_TO_OPEN = 5
/** What fails with so many different grants, codes or users is not about one of them. */
const SUBJECTS_TO_OPEN = 3
const MOST_LONERS = 1_000
const PROBE_FIRST_MS = 1_000
/** One request from each replica: that is no load, and a provider that is back is found soon. */
const PROBE_LONGEST_MS = 5_000
/** After a relapse a renewal follows each probe, and a refresh token is risked. */
const PROBE_LONGEST_AFTER_RELAPSE_MS = 15_000
/** Without a failure for so long, and with nothing to do by which to stand it, a trial is over too. */
const TRIAL_MS = 30_000
const READERS_PROBE_EVERY_MS = 250
const READER_WAITS_MS = 2_000

export function createBreaker(
  ports: Pick<BrokerPorts, 'clock' | 'random' | 'stores' | 'events' | 'provider'>,
  /** Renewals at once when all is well. */
  concurrency: number,
): Breaker {
  const { clock, events, provider, random } = ports
  const { pauses } = ports.stores
  let open: Cause | null = null
  /** Grows when it opens or closes: an answer to what was asked before says nothing about now. */
  let era = 0
  /** How many requests have gone out. */
  let requests = 0
  let failures = 0
  /** Whom the failures in a row were about. */
  const failedSubjects = new Set<string>()
  /** Subjects that fail although the provider works. */
  const loners = new LRUCache<string, true>({ max: MOST_LONERS })
  /** For whom our credentials were refused. */
  const refusals = createSuspects(MOST_LONERS)
  /** For whom the provider asked for patience. */
  const pauseReasons = createSuspects(MOST_LONERS)
  /** Until when a subject that is limited alone may not be asked about. */
  const pausedAlone = new LRUCache<string, number>({ max: MOST_LONERS })
  /** Whose failure ended the last trial; null: none has, or a probe did. */
  let relapsedOn: string | null = null
  /** What it was open for before the trial; null: nothing, or the trial has been stood. */
  let triedFor: Cause | null = null
  let closedAtMs = 0
  /** A trial of this trouble was not stood. */
  let hasRelapsed = false
  /** Renewals at once: after trouble one, and one more each time as many as are allowed have succeeded. */
  let allowance = concurrency
  let running = 0
  /** Readers whose turn has not come. */
  const waiting: (() => void)[] = []
  let pausedUntilMs = 0
  let probes = 0
  let probedAtMs = 0
  let nextProbeAtMs = 0
  let probing: Promise<void> | null = null

  /** `reason`: of an outage, what the failure that opens it said. */
  function turn(next: Cause | null, reason: string | null = null): void {
    const before: Cause | null = open ?? triedFor
    if (next !== null && next !== before) {
      if (before !== null) isOver(before)
      events.emit(next === 'outage' ? { type: 'provider.unavailable', reason } : { type: 'client.refused' })
      probes = 0
      hasRelapsed = false
    } else if (next !== null) {
      hasRelapsed = true
    }
    triedFor = next === null ? before : null
    if (next === null) closedAtMs = clock.now()
    open = next
    era += 1
    noteSuccess()
    allowance = 1
    nextProbeAtMs = clock.now() + nextProbeInMs()
    wakeReaders()
  }

  function noteSuccess(): void {
    failures = 0
    failedSubjects.clear()
  }

  function wakeReaders(): void {
    for (const wake of waiting.splice(0)) wake()
  }

  function isOver(cause: Cause): void {
    events.emit({ type: cause === 'outage' ? 'provider.available' : 'client.accepted' })
  }

  function nextProbeInMs(): number {
    const longestMs = hasRelapsed ? PROBE_LONGEST_AFTER_RELAPSE_MS : PROBE_LONGEST_MS
    const waitMs = Math.min(longestMs, PROBE_FIRST_MS * 2 ** Math.min(probes, 10))
    return waitMs * (0.5 + random.fraction() / 2)
  }

  function asking(): Asked {
    requests += 1
    return { era, request: requests }
  }

  /** `subject` null: a probe, which is about none. */
  function report(outcome: Outcome<unknown>, asked: Asked, knowsUsBy: readonly Kind[], subject: string | null): void {
    const patienceSeconds = askedToWaitSeconds(outcome) ?? 0
    if (patienceSeconds > 0) askedForPatience(subject, patienceSeconds)
    // Too many requests: it works, and that is all there is to it. What fails and asks for patience fails all the same.
    const isBusy = outcome.kind === 'unavailable' && patienceSeconds > 0
    if (asked.era === era && !isBusy) takeIntoAccount(outcome, asked, knowsUsBy, subject)
  }

  /** `knowsUsBy`: the outcomes of this request by which the provider has looked at our credentials, and taken them. */
  function takeIntoAccount(
    outcome: Outcome<unknown>,
    { request }: Asked,
    knowsUsBy: readonly Kind[],
    subject: string | null,
  ): void {
    switch (outcome.kind) {
      case 'ok':
      case 'rejected':
      case 'conflict':
        noteSuccess()
        if (subject !== null) loners.delete(subject)
        pauseReasons.succeeded(subject, request)
        // A probe alone is no evidence: credentials may be good for codes, and not for refreshes.
        if (subject !== null && knowsUsBy.includes(outcome.kind)) refusals.succeeded(subject, request)
        if ((open ?? triedFor) === 'client_refused' && !knowsUsBy.includes(outcome.kind)) return
        if (open !== null) return void turn(null)
        endTrial()
        allowance = Math.min(concurrency, allowance + 1 / Math.floor(allowance))
        return
      case 'client_refused':
        if (open === 'client_refused') return
        if (subject !== null) refusals.add(subject, requests)
        return void turn('client_refused')
      case 'refused':
        // An OAuth error comes from the token endpoint itself; anything else may come from whatever stands in its place.
        if (outcome.upstream.error !== undefined) {
          noteSuccess()
          if (open === 'outage') turn(null)
          return
        }
    }
    fail(subject, outcome)
  }

  function fail(subject: string | null, failure: Failure): void {
    const { kind, upstream } = failure
    // A request that was never sent is about no subject.
    const wasSent = kind !== 'unavailable' || upstream.status !== undefined
    if (wasSent && subject !== null && isLoner(subject)) return
    failures += 1
    if (open !== null) return
    failedSubjects.add(wasSent && subject !== null ? subject : `not sent ${failures}`)
    if (subject === null || triedFor !== null) {
      relapsedOn = subject
      return void turn('outage', reasonOf(failure))
    }
    if (failures < FAILURES_TO_OPEN) return
    if (failedSubjects.size >= SUBJECTS_TO_OPEN) turn('outage', reasonOf(failure))
    else void probe()
  }

  /** Whether the provider works for the others: a probe has succeeded beside its failures. */
  function isLoner(subject: string): boolean {
    // The trial before was not stood for its sake, and a probe has succeeded since.
    if (triedFor !== null && subject === relapsedOn) loners.set(subject, true)
    return loners.has(subject)
  }

  /**
   * Credentials that are refused for one subject again, and were good meanwhile, are good: this is a no to the subject, whatever it
   * says. They were good for others; or for a probe, without which it would be open. A probe is enough only where few subjects
   * are refused: all refreshes may be refused, and codes not.
   */
  function meantBy<T>(outcome: Outcome<T>, asked: Asked, subject: string): Outcome<T> {
    if (outcome.kind !== 'client_refused') return outcome
    const wasAccepted = asked.era === era && open !== 'client_refused' && refusals.has(subject)
    const isOwn = refusals.isAlone(subject) || (wasAccepted && refusals.size < SUBJECTS_TO_OPEN)
    return isOwn ? { kind: 'refused', upstream: outcome.upstream } : outcome
  }

  function endTrial(): void {
    if (triedFor !== null) isOver(triedFor)
    triedFor = null
    hasRelapsed = false
  }

  /** A subject that is limited alone waits alone: its `Retry-After` counts for that subject only. */
  function askedForPatience(subject: string | null, seconds: number): void {
    if (subject === null) return void pause(seconds)
    if (pauseReasons.isAlone(subject)) return void pauseAlone(subject, seconds)
    // It has waited, and is asked to wait again. No other was asked since, so a probe has to tell whether that is meant for all.
    const isSuspicion = pauseReasons.has(subject) && !isPaused() && open === null && triedFor === null
    pauseReasons.add(subject, requests)
    if (!isSuspicion) return void pause(seconds)
    void probe().then(() => {
      if (pauseReasons.isAlone(subject)) pauseAlone(subject, seconds)
      else pause(seconds)
    })
  }

  function pauseAlone(subject: string, seconds: number): void {
    pausedAlone.set(subject, clock.now() + Math.min(seconds * 1000, RETRY_AFTER_LONGEST_MS))
  }

  function pause(seconds: number): void {
    const untilMs = clock.now() + Math.min(seconds * 1000, RETRY_AFTER_LONGEST_MS)
    if (isPaused() && untilMs <= pausedUntilMs) return
    pausedUntilMs = untilMs
    allowance = 1
    events.emit({ type: 'provider.paused', untilMs })
    // The others hear of it from the store; where it is away, from the provider.
    const isLonger = (known: Pause | null) => known !== null && isPause(known.untilMs) && known.untilMs >= untilMs
    change(pauses, PROVIDER, known => (isLonger(known) ? keep : { untilMs })).catch(() => {})
  }

  /** Takes over what another replica was asked. */
  async function look(): Promise<void> {
    const stored = await pauses.read(PROVIDER).catch(error => {
      // A pause that does not open is none: the provider asks again where it means it.
      if (error instanceof RecordUnreadable) return null
      throw error
    })
    const untilMs = stored?.record.untilMs ?? 0
    if (!isPause(untilMs) || (isPaused() && untilMs <= pausedUntilMs)) return
    pausedUntilMs = untilMs
    allowance = 1
  }

  function isPaused(): boolean {
    // One that is over because the clock was set back does not begin again when the clock comes there.
    if (!isPause(pausedUntilMs)) pausedUntilMs = 0
    return pausedUntilMs > 0
  }

  function isPause(untilMs: number): boolean {
    return mustWait(untilMs, RETRY_AFTER_LONGEST_MS, clock.now())
  }

  function probe(): Promise<void> {
    probing ??= probeOnce().finally(() => {
      probing = null
    })
    return probing
  }

  async function probeOnce(): Promise<void> {
    const asked = asking()
    probedAtMs = clock.now()
    const suspects = open === null ? [...failedSubjects] : []
    const outcome = await provider.probe()
    if (outcome.kind === 'ok') for (const subject of suspects) loners.set(subject, true)
    report(outcome, asked, ['ok'], null)
    probes += 1
    nextProbeAtMs = clock.now() + nextProbeInMs()
  }

  function isTimeToProbe(lane: Lane): boolean {
    const nowMs = clock.now()
    if (open === null || isPaused()) return false
    if (lane === 'reader' && !hasRelapsed)
      return !mustWait(probedAtMs + READERS_PROBE_EVERY_MS, READERS_PROBE_EVERY_MS, nowMs)
    return !mustWait(nextProbeAtMs, PROBE_LONGEST_AFTER_RELAPSE_MS, nowMs)
  }

  function isFull(): boolean {
    return open === null && !isPaused() && allowance < concurrency && running >= Math.floor(allowance)
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

  async function watched<T>(
    subject: string,
    ask: () => Promise<Outcome<T>>,
    knowsUsBy: readonly Kind[],
  ): Promise<{ answered: Outcome<T>; meant: Outcome<T> }> {
    const asked = asking()
    const answered = await ask()
    const meant = meantBy(answered, asked, subject)
    report(meant, asked, knowsUsBy, subject)
    return { answered, meant }
  }

  async function unlessPaused<T>(
    subject: string,
    ask: () => Promise<Outcome<T>>,
    knowsUsBy: readonly Kind[],
  ): Promise<Outcome<T>> {
    const aloneUntilMs = pausedAlone.get(subject) ?? 0
    if (mustWait(aloneUntilMs, RETRY_AFTER_LONGEST_MS, clock.now())) return paused(aloneUntilMs)
    return isPaused() ? paused(pausedUntilMs) : (await watched(subject, ask, knowsUsBy)).meant
  }

  function paused(untilMs: number) {
    const retryAfterSeconds = secondsUntil(untilMs, clock.now())
    return { kind: 'unavailable', upstream: {}, retryAfterSeconds } as const
  }

  async function createUser(user: Parameters<Provider['createUser']>[0]): Promise<Outcome<TokenAnswer>> {
    const asked = asking()
    const outcome = await provider.createUser(user)
    // An app may have no right to make users, and be a good client for all else.
    if (outcome.kind !== 'client_refused') reportOfAnother(outcome, asked, ['ok', 'conflict'], user.username)
    return outcome
  }

  async function revoke(token: Secret): Promise<Outcome<null>> {
    if (isPaused()) return paused(pausedUntilMs)
    const asked = asking()
    const outcome = await provider.revoke(token)
    // 200, whatever was sent (RFC 7009, section 2.2).
    reportOfAnother(outcome, asked, [], fingerprint(token))
    return outcome
  }

  /** Another endpoint than that for tokens: it may fail alone. */
  function reportOfAnother(outcome: Outcome<unknown>, asked: Asked, knowsUsBy: readonly Kind[], subject: string): void {
    const isFailure = outcome.kind === 'unavailable' || outcome.kind === 'unknown' || outcome.kind === 'refused'
    if (!isFailure || askedToWaitSeconds(outcome)) report(outcome, asked, knowsUsBy, subject)
  }

  return {
    provider: {
      authorizationUrl: request => provider.authorizationUrl(request),
      // A code has no next try that is put off: its caller is told what the provider has answered.
      exchange: async request => {
        const ask = () => provider.exchange(request)
        return (await watched(fingerprint(request.code), ask, ['ok', 'rejected'])).answered
      },
      // A refresh token that is not good is refused before our credentials are looked at.
      refresh: token => unlessPaused(fingerprint(token), () => provider.refresh(token), ['ok']),
      createUser,
      revoke,
      probe: () => provider.probe(),
      // The user and the password are looked at before or after our credentials, depending on the server.
      authenticate: user => unlessPaused(user.username, () => provider.authenticate(user), ['ok']),
      // Another address, maybe another server: it says nothing about the token endpoint.
      identify: accessToken => provider.identify(accessToken),
      present: accessToken => provider.present(accessToken),
    },

    async whyNot(lane) {
      if (lane === 'reader') await look()
      if (lane === 'reader' && isTimeToProbe(lane)) {
        await within({ clock }, clock.now() + READER_WAITS_MS, probe)
      }
      return problem()
    },

    async inTurn(lane, renewal) {
      const untilMs = clock.now() + READER_WAITS_MS
      // How many of the background run is for `tend` to say.
      while (lane === 'reader' && isFull()) {
        if (clock.now() >= untilMs) return null
        await within({ clock }, untilMs, () => new Promise<void>(resolve => waiting.push(resolve)))
      }
      running += 1
      try {
        return await renewal()
      } finally {
        running -= 1
        wakeReaders()
      }
    },

    async tend() {
      await look().catch(error => {
        if (!(error instanceof StoreUnavailable)) throw error
      })
      if (open === null && triedFor !== null && clock.now() - closedAtMs >= TRIAL_MS) endTrial()
      if (isPaused()) return 0
      if (isTimeToProbe('background')) await probe()
      return open === null ? Math.floor(allowance) : 0
    },

    trouble: () => open ?? (hasRelapsed ? triedFor : null) ?? (isPaused() ? 'paused' : null),
  }
}
