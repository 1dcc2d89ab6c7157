/** What has happened to a grant, and what will, by its own times. */
import { h } from './dom.js'
import { absolute, now, time } from './time.js'
import { ORIGINS, whyFailed } from './words.js'

/** @import { Grant, Tone } from './types.d.ts' */

/** @typedef {{ at: string, what: string, more?: string, tone?: Tone }} Moment */

/** @param {Grant} grant */
function momentsOf(grant) {
  const { last_error: error, status } = grant
  const hasEnded = status === 'reauthorization_required'
  /** @type {Moment[]} */
  const moments = [
    { at: grant.created_at, what: 'First authorized', more: `Here ${ORIGINS[grant.origin]}.` },
    { at: grant.access_token_expires_at, what: 'Access token expires' },
  ]
  if (grant.last_refreshed_at !== null)
    moments.push({ at: grant.last_refreshed_at, what: 'Renewed last', tone: 'good' })
  if (error !== null) {
    const what = hasEnded ? 'Ended by HealthTap' : `Failed, ${times(error.attempts)}`
    moments.push({ at: error.at, what, more: whyFailed(error), tone: hasEnded ? 'bad' : 'warning' })
  }
  if (grant.refresh_due_at !== null) moments.push({ at: grant.refresh_due_at, what: dueFor(grant) })
  if (grant.refresh_token_expires_at !== null) {
    moments.push({
      at: grant.refresh_token_expires_at,
      what: 'Refresh token expires',
      more: 'Unless it is renewed before.',
    })
  }
  const isTold = moments.some(({ at }) => at === grant.updated_at)
  if (!isTold) moments.push({ at: grant.updated_at, what: 'Record changed last' })
  return moments.sort((first, second) => Date.parse(first.at) - Date.parse(second.at))
}

/** @param {Grant} grant */
function dueFor({ last_error: error, status }) {
  if (status === 'revoking') return 'Revocation tried again'
  return error === null ? 'Renewal due' : 'Renewal tried again'
}

/** @param {number} attempts */
function times(attempts) {
  return attempts === 1 ? 'once' : `${attempts} times in a row`
}

/** An ordered list, with now in its place. @param {Grant} grant */
export function timeline(grant) {
  const nowMs = now()
  const moments = momentsOf(grant)
  const isPast = (/** @type {Moment} */ { at }) => Date.parse(at) <= nowMs
  const items = (/** @type {Moment[]} */ some, /** @type {string} */ when) =>
    some.map(({ at, what, more, tone }) =>
      h(
        'li',
        { class: `${when} ${tone ?? 'quiet'}` },
        h('span', { class: 'what' }, what),
        time(at),
        h('span', { class: 'absolute' }, absolute(Date.parse(at))),
        more === undefined ? null : h('p', {}, more),
      ),
    )
  return h(
    'ol',
    { class: 'timeline' },
    ...items(moments.filter(isPast), 'past'),
    h('li', { class: 'now', 'aria-current': 'time' }, h('span', { class: 'what' }, 'Now')),
    ...items(
      moments.filter(moment => !isPast(moment)),
      'future',
    ),
  )
}
