/** What codes and statuses mean, and what to do. */

/** @import { Failure } from './api.js' */
/** @import { Check, Grant, Tone } from './types.d.ts' */

/** @type {Readonly<Record<Grant['status'], { word: string, symbol: string, tone: Tone, meaning: string }>>} */
export const STATUSES = {
  active: { word: 'Active', symbol: '✓', tone: 'good', meaning: 'All is well.' },
  in_doubt: {
    word: 'In doubt',
    symbol: '?',
    tone: 'warning',
    meaning: 'A renewal had no outcome, and is tried again.',
  },
  reauthorization_required: {
    word: 'Needs re-authorization',
    symbol: '!',
    tone: 'bad',
    meaning: 'HealthTap has ended it: the person has to authorize again.',
  },
  revoking: {
    word: 'Revoking',
    symbol: '–',
    tone: 'quiet',
    meaning: 'Deleted here, and not yet confirmed by HealthTap.',
  },
}

/** @type {Readonly<Record<string, string>>} */
const CHECKS = {
  store: 'Store',
  provider: 'HealthTap',
  client: 'Our credentials',
  audit: 'Audit stream',
  output: 'Standard output',
  process: 'This gateway',
}

/** @param {Check} check */
export function checkName({ name }) {
  return CHECKS[name] ?? name
}

/** @type {Readonly<Record<Check['status'], { word: string, symbol: string, tone: Tone }>>} */
export const HEALTH = {
  ok: { word: 'works', symbol: '✓', tone: 'good' },
  degraded: { word: 'degraded', symbol: '!', tone: 'warning' },
  unavailable: { word: 'unavailable', symbol: '✕', tone: 'bad' },
}

/** @type {Readonly<Record<Grant['origin'], string>>} */
export const ORIGINS = {
  authorization_code: 'by the person, who signed in at HealthTap',
  provisioning: 'by making a HealthTap user for one of yours',
  import: 'by an import from elsewhere',
}

/** What a renewal came to grief by. @type {Readonly<Record<string, string>>} */
const ERRORS = {
  provider_unavailable: 'HealthTap could not be reached. Nothing was lost, and it is tried again.',
  provider_response_invalid:
    'HealthTap gave an answer that cannot be used. It is tried again; if it stays so, look at the log.',
  outcome_unknown: 'HealthTap was asked, and its answer was lost. The old refresh token is tried again after a while.',
  client_misconfigured:
    'HealthTap refuses our credentials. Check HEALTHTAP_APP_ID and HEALTHTAP_APP_SECRET: no grant is lost by it.',
}

/**
 * Why a grant has ended, and what to do.
 *
 * @param {string | null} code
 * @param {boolean} isAfterFailures
 */
export function whyEnded(code, isAfterFailures) {
  if (code !== 'reauthorization_required') return 'Nothing is recorded of why. Ask the person to authorize again.'
  return isAfterFailures
    ? 'HealthTap refused the refresh token after other renewals had failed: an answer was probably lost on the way, and the new pair with it. Ask the person to authorize again; if there are many, see GrantsLost in docs/metrics.md.'
    : 'HealthTap refused the refresh token at the first try: most often the person has disconnected the app, or HealthTap has ended it. Ask the person to authorize again, if they want to.'
}

/** The same in a few words. @param {Grant['last_error']} error */
export function whyEndedInShort(error) {
  if (error?.code !== 'reauthorization_required') return 'not recorded'
  return error.attempts > 1 ? 'refused after failures' : 'refused at the first try'
}

/** @param {NonNullable<Grant['last_error']>} error */
export function whyFailed({ code, attempts }) {
  return code === 'reauthorization_required' ? whyEnded(code, attempts > 1) : (ERRORS[code] ?? `Its code is ${code}.`)
}

/**
 * Why something was not done, for whoever wanted it.
 *
 * @param {Failure} failure
 */
export function tell({ code, message, retryAfterSeconds }) {
  switch (code) {
    case 'unauthorized':
      if (retryAfterSeconds !== null) return message
      return 'The gateway does not know this key, or not any more. Check that it is in CALLERS, and in time.'
    case 'forbidden':
      return `${message} Ask whoever looks after CALLERS for it.`
    case 'rate_limited':
      return `Too many requests: the gateway asks to wait ${retryAfterSeconds ?? 1} s.`
    case 'store_unavailable':
      return 'The gateway cannot reach its store. Nothing is lost by that.'
    default:
      return message
  }
}
