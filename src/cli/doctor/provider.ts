import { randomBytes } from 'node:crypto'
import { request } from 'undici'
import type { ServeConfig } from '../../config.ts'
import type { Failure } from '../../ports/provider.ts'
import { Secret } from '../../ports/secret.ts'
import { createHealthTap, type HealthTap } from '../../provider/healthtap.ts'
import { reasonOf } from '../reason.ts'
import { type Check, failed, named, ok, unknown, warning } from './check.ts'
import { clockLine } from './clock.ts'

/** `Date` has whole seconds, and may be as old as a proxy on the way lets it be. */
const DATE_IS_GOOD_TO_MS = 1_000

type Outcome = Awaited<ReturnType<HealthTap['probe']>>['kind']

/** HealthTap: whether it is there, takes our credentials, shares our time, and offers the grants we use. What it is asked for is made up: nobody's is spent. */
export async function providerChecks(config: ServeConfig, now: () => number): Promise<readonly Check[]> {
  const tokenEndpoint = `${config.apiUrl.replace(/\/+$/, '')}/oauth/token`
  // At once: each of them may have to wait for its deadline.
  const [met, ...rest] = await Promise.all([
    meet(tokenEndpoint, config, now),
    passwordGrantChecks(config),
    pageChecks(config, now),
    identityChecks(config, now),
  ])
  const others = rest.flat()
  if (typeof met === 'string') {
    const text = `no answer (${met}): check HEALTHTAP_API_URL, the network, and any proxy on the way`
    return [...named('provider reachable', [failed(text)], ok('')), ...others]
  }
  const isBroken = met.status >= 500
  return [
    ...named(
      'provider reachable',
      isBroken ? [failed(`answers ${met.status}: HealthTap, or a proxy before it, does not work just now`)] : [],
      ok('answers'),
    ),
    ...named('provider clock', [], clockOf(met)),
    ...(await credentialChecks(config)),
    ...others,
  ]
}

interface Met {
  readonly status: number
  readonly date: string | null
  readonly sentAtMs: number
  readonly answeredAtMs: number
}

/** An answer, whatever it is; else why there is none. */
async function meet(url: string, { providerTimeoutMs }: ServeConfig, now: () => number): Promise<Met | string> {
  try {
    const sentAtMs = now()
    const { body, headers, statusCode: status } = await request(url, { signal: AbortSignal.timeout(providerTimeoutMs) })
    const answeredAtMs = now()
    await body.dump()
    return { status, date: typeof headers.date === 'string' ? headers.date : null, sentAtMs, answeredAtMs }
  } catch (error) {
    return reasonOf(error)
  }
}

function clockOf({ date, sentAtMs, answeredAtMs }: Met) {
  const atMs = date === null ? Number.NaN : Date.parse(date)
  if (Number.isNaN(atMs)) return unknown('it does not tell the time')
  const roundTripMs = answeredAtMs - sentAtMs
  // Somewhere within the second that it names, and within the time that the answer took.
  const offsetMs = atMs + DATE_IS_GOOD_TO_MS / 2 - (sentAtMs + roundTripMs / 2)
  return clockLine(offsetMs, DATE_IS_GOOD_TO_MS / 2 + roundTripMs / 2)
}

async function credentialChecks(config: ServeConfig): Promise<readonly Check[]> {
  const first = await probe(config, config.appSecret)
  const next = config.appSecretNext === null ? null : await probe(config, config.appSecretNext)
  const isSame = config.appSecretNext?.equals(config.appSecret) === true
  return named('provider credentials', credentialLines(first, next, isSame), ok('accepted'))
}

function credentialLines(first: Outcome, next: Outcome | null, isSame: boolean) {
  const doesNotSay = [first, next].some(outcome => outcome !== null && outcome !== 'ok' && outcome !== 'client_refused')
  if (doesNotSay) {
    return [failed('answers in a way that no HealthTap does, or not at all: check HEALTHTAP_API_URL')]
  }
  if (first === 'client_refused') {
    return next === 'ok'
      ? [
          warning(
            'HEALTHTAP_APP_SECRET is refused, HEALTHTAP_APP_SECRET_NEXT is accepted: make that the only one (docs/secrets.md)',
          ),
        ]
      : [failed('refused: check HEALTHTAP_APP_ID and HEALTHTAP_APP_SECRET')]
  }
  if (isSame) return [warning('accepted; HEALTHTAP_APP_SECRET_NEXT is the same as HEALTHTAP_APP_SECRET: empty it')]
  if (next === 'client_refused') return [ok('accepted; HEALTHTAP_APP_SECRET_NEXT is not accepted yet')]
  return next === 'ok' ? [ok('accepted; HEALTHTAP_APP_SECRET_NEXT is accepted too')] : []
}

async function probe(config: ServeConfig, appSecret: Secret): Promise<Outcome> {
  const { kind } = await asking({ ...config, appSecret, appSecretNext: null }, healthTap => healthTap.probe())
  return kind
}

async function asking<T>(config: ServeConfig, work: (healthTap: HealthTap) => Promise<T>): Promise<T> {
  const [redirectUri = ''] = config.redirectUris
  const healthTap = createHealthTap({ ...config, redirectUri, timeoutMs: config.providerTimeoutMs, connections: 1 })
  try {
    return await work(healthTap)
  } finally {
    await healthTap.close()
  }
}

/** Where the setting asks for it: whether HealthTap has the password grant. Its default is not to have it. */
async function passwordGrantChecks(config: ServeConfig): Promise<readonly Check[]> {
  if (!config.passwordGrant) return []
  // No user has this name: HealthTap says `invalid_grant`, or before that it says that there is no such flow.
  const username = `healthtap-gateway-doctor-${randomBytes(32).toString('hex')}`
  const password = new Secret(randomBytes(32).toString('hex'))
  const outcome = await asking(config, healthTap => healthTap.authenticate({ username, password }))
  if (outcome.kind === 'rejected') return named('password grant', [], ok('offered'))
  if (outcome.kind === 'ok') {
    const text = 'a made-up user and password are accepted, which no HealthTap does: check HEALTHTAP_API_URL'
    return named('password grant', [failed(text)], ok(''))
  }
  return named('password grant', [passwordGrantLine(outcome)], ok(''))
}

function passwordGrantLine({ kind, upstream }: Failure) {
  const { error, status } = upstream
  const remedy = 'ask HealthTap to enable it for this app, or set HEALTHTAP_PASSWORD_GRANT to false'
  if (error === 'unsupported_grant_type') return failed(`HealthTap does not offer it: ${remedy}`)
  // RFC 6749, section 5.2: the credentials are right, and this app may not use this flow.
  if (error === 'unauthorized_client') return failed(`HealthTap does not offer it to this app: ${remedy}`)
  if (kind === 'client_refused') {
    return unknown('cannot be seen while our credentials are refused: see provider credentials')
  }
  const answer = status === undefined ? 'no answer' : `answers ${status}${error === undefined ? '' : ` ${error}`}`
  return unknown(`cannot be seen (${answer}): mend what the other provider lines say, then run doctor again`)
}

/** Browsers go there, this machine need not be able to. */
async function pageChecks(config: ServeConfig, now: () => number): Promise<readonly Check[]> {
  const met = await meet(config.authorizeUrl, config, now)
  const hint = "no failure where only people's browsers can reach it; else check HEALTHTAP_AUTHORIZE_URL"
  const wrong = typeof met === 'string' ? `cannot be reached from here (${met})` : `answers ${met.status}`
  const isGood = typeof met !== 'string' && met.status !== 404 && met.status < 500
  return named('authorize page', isGood ? [] : [warning(`${wrong}: ${hint}`)], ok('answers'))
}

async function identityChecks(config: ServeConfig, now: () => number): Promise<readonly Check[]> {
  if (config.identityUrl === null) return []
  const met = await meet(config.identityUrl, config, now)
  const wrong = typeof met === 'string' ? `cannot be reached (${met})` : `answers ${met.status}`
  const isGood = typeof met !== 'string' && met.status !== 404 && met.status < 500
  const text = `${wrong}: whose tokens these are cannot be asked; check HEALTHTAP_IDENTITY_URL`
  return named('identity URL', isGood ? [] : [failed(text)], ok('answers'))
}
