/** How it stands with all grants: what `GET /v1/overview` says. */
import { barChart, sumOf } from './chart.js'
import { byId, h, number, refill } from './dom.js'
import { badge, grantTable, statusOf, timeOr } from './grants.js'
import { duration, time } from './time.js'
import { checkName, HEALTH, STATUSES, whyEnded, whyFailed } from './words.js'

/** @import { Check, Grant, Overview, Tone } from './types.d.ts' */

/** @param {Overview} overview */
export function showOverview(overview) {
  showCounted(overview)
  showChecks(overview.checks)
  showUrgent(overview)
  showTotals(overview)
  showCharts(overview)
  showSoonest(overview)
  showAttention(overview)
  showEnded(overview)
}

/** @param {Overview} overview */
function showCounted({ counted_at: countedAt, caller }) {
  refill(
    byId('counted'),
    ...(countedAt === null
      ? ['Nobody has counted the grants yet: a gateway does so when it starts, and then once a minute.']
      : ['Counted ', time(countedAt), ', by one gateway for all; a count is made once a minute.']),
    caller.narrowed
      ? h('span', {}, ' This key reaches some people alone: totals and charts are of all, lists are of those.')
      : null,
  )
}

/** @param {readonly Check[]} checks */
export function showChecks(checks) {
  const items = checks.map(check =>
    h(
      'li',
      {},
      h('span', { class: 'name' }, checkName(check)),
      badge(HEALTH[check.status]),
      check.detail === undefined ? null : h('p', {}, check.detail),
    ),
  )
  refill(byId('checks'), h('ul', { class: 'checks' }, ...items))
}

/** @param {Overview} overview */
function showUrgent({ backlog, lapsing }) {
  const isWaiting = backlog.due > 0 && backlog.oldest_age_seconds >= 60
  /** @type {(readonly [string, string, Tone, string])[]} */
  const rows = [
    ['Due and not taken up', number(backlog.due), isWaiting ? 'warning' : 'good', 'renewals that no gateway has begun'],
    [
      'The oldest has waited',
      backlog.due === 0 ? 'none' : duration(backlog.oldest_age_seconds),
      isWaiting ? 'warning' : 'good',
      'more than a minute is too long, unless HealthTap is away',
    ],
  ]
  if (lapsing !== null) {
    rows.push(
      ['Tokens that have lapsed', number(lapsing.lapsed), lapsing.lapsed > 0 ? 'bad' : 'good', 'and should not have'],
      [
        'Lapse within a minute',
        number(lapsing.within_60_seconds),
        lapsing.within_60_seconds > 0 ? 'bad' : 'good',
        'with those that have',
      ],
      ['Lapse within 5 minutes', number(lapsing.within_300_seconds), 'quiet', 'with those above'],
    )
  }
  const items = rows.map(([name, value, tone, hint]) => [
    h('dt', {}, name, h('span', { class: 'hint' }, hint)),
    h('dd', {}, badge({ word: value, symbol: SYMBOLS[tone], tone })),
  ])
  refill(byId('urgent'), h('dl', { class: 'figures' }, ...items.flat()))
}

/** @type {Readonly<Record<Tone, string>>} */
const SYMBOLS = { good: '✓', warning: '!', bad: '✕', quiet: '·' }

/** @param {Overview} overview */
function showTotals({ grants }) {
  if (grants === null) return refill(byId('totals'), uncounted())
  const all = Object.values(grants).reduce((sum, count) => sum + count, 0)
  const tiles = Object.entries(STATUSES).map(([status, how]) => {
    const count = grants[/** @type {Grant['status']} */ (status)]
    return h(
      'li',
      { class: `tile ${count === 0 ? 'quiet' : how.tone}`, 'data-status': status },
      h('span', { class: 'count' }, number(count)),
      badge({ ...how, tone: count === 0 ? 'quiet' : how.tone }),
      h('span', { class: 'hint' }, how.meaning),
    )
  })
  refill(byId('totals'), h('p', {}, `${number(all)} in all.`), h('ul', { class: 'tiles' }, ...tiles))
}

/** @param {Overview} overview */
function showCharts({ counted_at: countedAt, due, renewed }) {
  if (renewed === null || due === null) {
    const missing = () => (countedAt === null ? uncounted() : byEarlierVersion())
    refill(byId('renewed'), missing())
    return refill(byId('due'), missing())
  }
  const [overdue = 0] = due.map(({ count }) => count)
  const summary = `${number(sumOf(renewed))} grants were renewed last in the two hours before the count, in steps of five minutes.`
  const axis = ['2 h before', '1 h before', 'the count']
  refill(
    byId('renewed'),
    barChart({ key: 'renewed', stretches: renewed, summary, counted: 'Grants renewed last', axis }),
  )
  refill(
    byId('due'),
    barChart({
      key: 'due',
      stretches: due,
      summary: `${number(sumOf(due) - overdue)} renewals are due in the six hours after the count, in steps of 15 minutes; ${number(overdue)} were overdue (the first bar).`,
      counted: 'Renewals due',
      axis: ['overdue, then the count', '3 h after', '6 h after'],
    }),
  )
}

/** @param {Overview} overview */
function showSoonest({ counted_at: countedAt, soonest }) {
  if (soonest === null) return refill(byId('soonest'), countedAt === null ? uncounted() : byEarlierVersion())
  if (soonest.length === 0) {
    return refill(byId('soonest'), h('p', {}, 'None: all that would have been here were renewed since the count.'))
  }
  const caption = 'Grants to be kept alive whose access tokens expire first'
  const columns = {
    Status: statusOf,
    'Access token expires': (/** @type {Grant} */ grant) => time(grant.access_token_expires_at),
    'Renewal due': (/** @type {Grant} */ grant) => timeOr(grant.refresh_due_at),
    'Last error': (/** @type {Grant} */ { last_error: error }) => error?.code ?? 'none',
  }
  refill(byId('soonest'), grantTable(caption, soonest, columns))
}

/** @param {Overview} overview */
function showAttention({ caller, counted_at: countedAt, needs_attention: attention }) {
  if (attention === null) return refill(byId('attention'), countedAt === null ? uncounted() : byEarlierVersion())
  const { count, grants } = attention
  const summary =
    count === 0
      ? 'None: no grant has failed to be refreshed five times in a row.'
      : `${number(count)} by the last count: their refresh has failed five times in a row or more. ${number(grants.length)} are shown${caller.narrowed ? ', of those that this key reaches' : ''}; grants that were refreshed since are left out. See GrantsNeedAttention in docs/metrics.md.`
  const columns = {
    Status: statusOf,
    'Failures in a row': (/** @type {Grant} */ { last_error: error }) => number(error?.attempts ?? 0),
    'Failed last': (/** @type {Grant} */ { last_error: error }) => timeOr(error?.at ?? null),
    'Last error': (/** @type {Grant} */ { last_error: error }) => (error === null ? 'none' : whyFailed(error)),
    'Tried again': (/** @type {Grant} */ grant) => timeOr(grant.refresh_due_at),
  }
  refill(
    byId('attention'),
    h('p', {}, summary),
    grants.length === 0 ? null : grantTable('Grants whose refresh fails again and again', grants, columns),
  )
}

/** @param {Overview} overview */
function showEnded({ counted_at: countedAt, needs_reauthorization: reasons }) {
  if (reasons === null) return refill(byId('reasons'), countedAt === null ? uncounted() : byEarlierVersion())
  if (reasons.length === 0) return refill(byId('reasons'), h('p', {}, 'Nobody.'))
  const items = reasons.map(({ code, after_failures: isAfterFailures, count }) =>
    h('li', {}, h('strong', {}, number(count)), ` ${whyEnded(code, isAfterFailures)}`),
  )
  refill(byId('reasons'), h('ul', { class: 'reasons' }, ...items))
}

function uncounted() {
  return h('p', { class: 'absent' }, 'Not counted yet.')
}

function byEarlierVersion() {
  return h(
    'p',
    { class: 'absent' },
    'The last count was made by a gateway of an earlier version, which does not tell this.',
  )
}
