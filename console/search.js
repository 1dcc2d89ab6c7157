/** Finds people by their guid, or by what they are called in your product. */
import { byId, h, refill } from './dom.js'
import { addressOf, person } from './grants.js'
import { tell } from './words.js'

/** @import { Api, Failure } from './api.js' */
/** @import { Grant, GrantList } from './types.d.ts' */

const NONE = ['grant_not_found', 'validation_failed']

const field = /** @type {HTMLInputElement} */ (byId('query'))
const message = byId('search-message')

/** How often it was searched: who comes late with an older answer is not heard. */
let searches = 0

export function clearSearch() {
  searches += 1
  field.value = ''
  refill(message)
}

/**
 * @param {Api} api
 * @param {(failure: unknown) => Failure} failed sees to what concerns the whole session
 */
export async function search(api, failed) {
  searches += 1
  const mine = searches
  const wanted = field.value
  if (wanted.trim() === '') {
    refill(message, 'Type a guid or a username.')
    return field.focus()
  }
  refill(message, 'Searching…')
  try {
    // What was pasted may have white space around it; and a username may have some of its own.
    const usernames = [...new Set([wanted, wanted.trim()])]
    const found = await anyOf([byGuid(api, wanted.trim()), ...usernames.map(username => byUsername(api, username))])
    if (mine === searches) show(wanted, [...new Map(found.map(grant => [grant.guid, grant])).values()])
  } catch (error) {
    const failure = failed(error)
    if (failure.code !== 'closed' && mine === searches) refill(message, tell(failure))
  }
}

/**
 * @param {Api} api
 * @param {string} guid
 * @returns {Promise<Grant[]>}
 */
async function byGuid(api, guid) {
  // A step in a path is no guid, and would be another address.
  if (guid === '.' || guid === '..') return []
  return await noneIf(async () => [await api.get(`v1/grants/${encodeURIComponent(guid)}`)])
}

/**
 * @param {Api} api
 * @param {string} username
 * @returns {Promise<Grant[]>}
 */
async function byUsername(api, username) {
  return await noneIf(async () => {
    /** @type {GrantList} */
    const { items } = await api.get(`v1/grants?${new URLSearchParams({ username })}`)
    return items
  })
}

/**
 * Where one of them finds somebody, it does not matter what kept the other: a narrowed caller may not even ask for most guids.
 *
 * @param {readonly Promise<Grant[]>[]} searches
 */
async function anyOf(searches) {
  const ends = await Promise.allSettled(searches)
  const found = ends.flatMap(end => (end.status === 'fulfilled' ? end.value : []))
  const failed = ends.find(end => end.status === 'rejected')
  if (found.length === 0 && failed !== undefined) throw failed.reason
  return found
}

/**
 * What is no guid may be a username, and the other way round.
 *
 * @param {() => Promise<Grant[]>} ask
 */
async function noneIf(ask) {
  try {
    return await ask()
  } catch (error) {
    if (NONE.includes(/** @type {Failure} */ (error).code)) return []
    throw error
  }
}

/**
 * @param {string} wanted
 * @param {readonly Grant[]} found
 */
function show(wanted, found) {
  const [only] = found
  if (only === undefined) return refill(message, `No grant has the guid or the username ${wanted}.`)
  if (found.length > 1) {
    return refill(message, 'Two have that name: ', h('ul', {}, ...found.map(grant => h('li', {}, person(grant)))))
  }
  refill(message)
  location.hash = addressOf(only.guid)
}
