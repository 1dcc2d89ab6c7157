/** Grants in a table, and the way to one of them. */
import { h, table } from './dom.js'
import { time } from './time.js'
import { STATUSES } from './words.js'

/** @import { Grant, Tone } from './types.d.ts' */
/** @import { Child } from './dom.js' */

const PLACE = '#grant/'

/** @param {string} guid */
export function addressOf(guid) {
  return `${PLACE}${encodeURIComponent(guid)}`
}

/** The guid that the page's address names; null: it is that of the overview. */
export function guidInAddress() {
  if (!location.hash.startsWith(PLACE)) return null
  try {
    return decodeURIComponent(location.hash.slice(PLACE.length))
  } catch {
    return null
  }
}

/** @param {Grant} grant */
export function nameOf({ guid, username }) {
  return username ?? guid
}

/**
 * Never a colour alone.
 *
 * @param {{ word: string, symbol: string, tone: Tone }} how
 */
export function badge({ word, symbol, tone }) {
  return h('span', { class: `badge ${tone}` }, h('span', { class: 'symbol', 'aria-hidden': 'true' }, symbol), word)
}

/** @param {Grant} grant */
export function person({ guid, username }) {
  return h(
    'span',
    { class: 'person' },
    h('a', { href: addressOf(guid), 'data-key': guid, title: guid }, username ?? guid),
    username === null ? null : h('span', { class: 'guid' }, guid),
  )
}

/**
 * @param {string} caption
 * @param {readonly Grant[]} grants
 * @param {Readonly<Record<string, (grant: Grant) => Child>>} columns beside who it is
 */
export function grantTable(caption, grants, columns) {
  const rows = grants.map(grant => [person(grant), ...Object.values(columns).map(cell => cell(grant))])
  return table(caption, ['Person', ...Object.keys(columns)], rows)
}

/** @param {Grant} grant */
export function statusOf({ status }) {
  return badge(STATUSES[status])
}

/** @param {string | null} at null: not by itself, or not known */
export function timeOr(at, otherwise = '–') {
  return at === null ? otherwise : time(at)
}
