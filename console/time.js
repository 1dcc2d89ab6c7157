/** Times as people read them, by the gateway's clock: this machine's may be wrong. */
import { h } from './dom.js'

/** The gateway's clock is so much ahead of ours. */
let aheadMs = 0

/** @param {string | null} date the `Date` of an answer: whole seconds */
export function learnTime(date) {
  const atMs = Date.parse(date ?? '')
  // Cut off, and some time ago: half a second of it is nobody's fault.
  if (Number.isFinite(atMs)) aheadMs = Math.abs(atMs - Date.now()) < 2_000 ? 0 : atMs - Date.now()
}

export function now() {
  return Date.now() + aheadMs
}

/** @param {number} atMs */
export function absolute(atMs) {
  return `${new Date(atMs).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

/** @param {string} at */
export function clockTime(at) {
  return at.slice(11, 16)
}

const UNITS = /** @type {const} */ ([
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
  ['s', 1],
])
const FEW = 10

/**
 * `1 h 5 min`, `25 min`: the second unit where there are few of the first.
 *
 * @param {number} seconds
 */
export function duration(seconds) {
  const [larger, smaller] = UNITS.slice(UNITS.findIndex(([, size]) => seconds >= size || size === 1))
  if (larger === undefined) return ''
  const count = Math.floor(seconds / larger[1])
  const rest = smaller === undefined ? 0 : Math.floor((seconds % larger[1]) / smaller[1])
  return count >= FEW || rest === 0 ? `${count} ${larger[0]}` : `${count} ${larger[0]} ${rest} ${smaller?.[0]}`
}

/** @param {number} atMs */
function relative(atMs) {
  const seconds = (atMs - now()) / 1000
  if (Math.abs(seconds) < 1) return 'now'
  return seconds < 0 ? `${duration(-seconds)} ago` : `in ${duration(seconds)}`
}

/**
 * Relative to now, and kept so by `tick`; absolute where one points at it.
 *
 * @param {string} at RFC 3339
 */
export function time(at) {
  const atMs = Date.parse(at)
  return h('time', { datetime: at, title: absolute(atMs) }, relative(atMs))
}

/** Time has gone by. */
export function tick() {
  for (const element of document.querySelectorAll('time')) {
    const text = relative(Date.parse(element.dateTime))
    if (element.textContent !== text) element.textContent = text
  }
}
