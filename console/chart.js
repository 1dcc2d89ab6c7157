/** Counts by time as bars, and the same as a table for whoever does not see them. */
import { h, number, svg, table } from './dom.js'
import { absolute, clockTime } from './time.js'

/** @import { Stretch } from './types.d.ts' */

const HEIGHT = 100
const WIDTH = 10
const GAP = 1.5
/** One of a million is seen all the same. */
const LEAST = 2

/**
 * @param {{ key: string, stretches: readonly Stretch[], summary: string, counted: string, axis: readonly string[] }} chart
 *   `summary`: what it shows, in one sentence; `counted`: what the numbers are of; `axis`: words below it, from left to right
 */
export function barChart({ key, stretches, summary, counted, axis }) {
  const most = Math.max(1, ...stretches.map(({ count }) => count))
  const bars = stretches.map(({ from, to, count }, index) => {
    const height = count === 0 ? 0 : Math.max(LEAST, (HEIGHT * count) / most)
    const place = { x: index * WIDTH + GAP / 2, y: HEIGHT - height, width: WIDTH - GAP, height }
    const title = svg('title', {}, `${spoken({ from, to, count })}: ${number(count)}`)
    return svg('rect', { ...place, class: from === null ? 'before' : null }, title)
  })
  const line = svg('line', { x1: 0, x2: stretches.length * WIDTH, y1: HEIGHT, y2: HEIGHT })
  const viewBox = `0 0 ${stretches.length * WIDTH} ${HEIGHT}`
  const rows = stretches.map(stretch => [spoken(stretch), number(stretch.count)])
  return h(
    'figure',
    { class: 'chart' },
    h('figcaption', { id: `${key}-summary` }, summary),
    h('p', { class: 'scale', 'aria-hidden': 'true' }, number(most)),
    svg(
      'svg',
      { role: 'img', 'aria-labelledby': `${key}-summary`, viewBox, preserveAspectRatio: 'none' },
      ...bars,
      line,
    ),
    h('div', { class: 'axis', 'aria-hidden': 'true' }, ...axis.map(word => h('span', {}, word))),
    h(
      'details',
      { 'data-key': `${key}-table` },
      h('summary', { 'data-key': `${key}-summary` }, 'As a table'),
      table(summary, ['Time (UTC)', counted], rows),
    ),
  )
}

/** @param {Stretch} stretch */
function spoken({ from, to }) {
  return from === null ? `before ${absolute(Date.parse(to)).slice(11)}` : `${clockTime(from)} to ${clockTime(to)}`
}

/** @param {readonly Stretch[]} stretches */
export function sumOf(stretches) {
  return stretches.reduce((sum, { count }) => sum + count, 0)
}
