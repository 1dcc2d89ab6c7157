/** Who has to authorize again, a page at a time: there may be many, and all grants are looked through for them. */
import { byId, number, refill } from './dom.js'
import { grantTable, timeOr } from './grants.js'
import { time } from './time.js'
import { tell, whyEndedInShort } from './words.js'

/** @import { Api, Failure } from './api.js' */
/** @import { Grant, GrantList } from './types.d.ts' */

const PAGE = 25

const button = byId('more')

/** @type {Map<string, Grant>} */
const found = new Map()
/** @type {string | null} null: from the beginning */
let cursor = null
let isLooking = false

/** Forgets whom it has shown. */
export function clearEnded() {
  found.clear()
  cursor = null
  isLooking = false
  show('', 'Show who they are')
  refill(byId('ended'))
}

/**
 * @param {Api} api
 * @param {(failure: unknown) => Failure} failed sees to what concerns the whole session
 */
export async function showMoreEnded(api, failed) {
  if (isLooking) return
  isLooking = true
  show('Looking through the grants…', button.textContent)
  try {
    const from = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`
    /** @type {GrantList} */
    const page = await api.get(`v1/grants?status=reauthorization_required&limit=${PAGE}${from}`)
    for (const grant of page.items) found.set(grant.guid, grant)
    cursor = page.next_cursor
    refill(byId('ended'), ...(found.size === 0 ? [] : [tableOf([...found.values()])]))
    show(
      `${number(found.size)} shown${cursor === null ? ': these are all' : ', and there may be more'}.`,
      cursor && 'More',
    )
    isLooking = false
  } catch (error) {
    const failure = failed(error)
    // Whoever has signed out, or in again, is not told what came too late.
    if (failure.code === 'closed') return
    isLooking = false
    show(tell(failure), 'Try again')
  }
}

/** @param {readonly Grant[]} grants */
function tableOf(grants) {
  return grantTable('Grants whose person has to authorize again', grants, {
    Ended: ({ last_error: error, updated_at: at }) => time(error?.at ?? at),
    Why: ({ last_error: error }) => whyEndedInShort(error),
    'Renewed last': ({ last_refreshed_at: at }) => timeOr(at, 'never'),
  })
}

/**
 * @param {string} text
 * @param {string | null} next what the button is called; null: there is nothing more
 */
function show(text, next) {
  byId('ended-message').textContent = text
  button.hidden = next === null
  if (next !== null) button.textContent = next
}
