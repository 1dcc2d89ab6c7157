/**
 * The operators' console. The key lives in this page's memory: whoever reloads, signs out, or does nothing for a quarter of an
 * hour types it again.
 */
import { createApi, Failure } from './api.js'
import { byId, refill } from './dom.js'
import { clearEnded, showMoreEnded } from './ended.js'
import { showGrant, showNoGrant } from './grant.js'
import { guidInAddress, nameOf } from './grants.js'
import { showChecks, showOverview } from './overview.js'
import { startPolling } from './polling.js'
import { askToRevoke, stopAsking } from './revoke.js'
import { clearSearch, search } from './search.js'
import { now, tick, time } from './time.js'
import { tell } from './words.js'

/** @import { Api } from './api.js' */
/** @import { Polling } from './polling.js' */
/** @import { Grant, Overview } from './types.d.ts' */

const LOOK_EVERY_MS = 15_000
const IDLE_AFTER_MS = 15 * 60_000
const TICK_EVERY_MS = 1_000
/** What can be sent in a header, and no more than a gateway reads of one. */
const KEY = /^[\x21-\x7e]{1,8000}$/

const keyField = /** @type {HTMLInputElement} */ (byId('key'))
const problem = byId('sign-in-problem')

/** @typedef {{ api: Api, polling: Polling, permissions: readonly string[], lookedAtMs: number, failure: Failure | null }} Session */

/** @type {Session | null} null: nobody has signed in */
let session = null
/** The one that is shown; null: none, or not yet. @type {Grant | null} */
let grant = null
let lastActionMs = Date.now()
let isSigningIn = false

/** @param {string} key */
async function signIn(key) {
  if (!KEY.test(key)) return complain('That is no key: it has no spaces, and no letters beyond ASCII.')
  const api = createApi(key)
  complain('Asking the gateway…')
  try {
    /** @type {Overview} */
    const overview = await api.get('v1/overview')
    keyField.value = ''
    complain('')
    begin(api, overview)
  } catch (error) {
    complain(tell(failureOf(error)))
    keyField.focus()
  }
}

/**
 * @param {Api} api
 * @param {Overview} overview
 */
function begin(api, overview) {
  const polling = startPolling(LOOK_EVERY_MS, look)
  session = { api, polling, permissions: overview.caller.permissions, lookedAtMs: now(), failure: null }
  lastActionMs = Date.now()
  byId('caller').textContent = overview.caller.name
  byId('version').textContent = `Gateway ${overview.version}`
  showOverview(overview)
  document.body.dataset.signedIn = ''
  showTrouble()
  void goThere()
}

/** Nothing of what was shown stays in the page. @param {string} reason */
function signOut(reason) {
  session?.polling.stop()
  session?.api.close()
  session = null
  grant = null
  delete document.body.dataset.signedIn
  document.title = 'Console'
  stopAsking()
  clearSearch()
  clearEnded()
  for (const id of ['counted', 'checks', 'urgent', 'totals', 'renewed', 'due', 'soonest', 'attention', 'reasons']) {
    refill(byId(id))
  }
  for (const id of ['caller', 'version', 'fetched', 'trouble', 'facts', 'timeline', 'grant-message', 'grant-name']) {
    refill(byId(id))
  }
  show('sign-in')
  complain(reason)
  keyField.focus()
}

/** @param {string} text */
function complain(text) {
  problem.textContent = text
}

/** @param {unknown} error */
function failureOf(error) {
  return error instanceof Failure ? error : new Failure('internal', 'This page has a fault of its own: reload it.')
}

/** What any request may meet that ends the session. @param {unknown} error */
function failed(error) {
  const failure = failureOf(error)
  const isRefused = failure.code === 'unauthorized' && failure.retryAfterSeconds === null
  if (isRefused && session !== null) signOut(tell(failure))
  return failure
}

/** @returns {Promise<number | null>} */
async function look() {
  if (session === null) return null
  const mine = session
  try {
    /** @type {Overview} */
    const overview = await mine.api.get('v1/overview')
    if (session !== mine) return null
    Object.assign(mine, { lookedAtMs: now(), permissions: overview.caller.permissions, failure: null })
    showOverview(overview)
    await lookAtGrant()
    showTrouble()
    return null
  } catch (error) {
    return await notSeen(failed(error))
  }
}

/** What was seen before stays. @param {Failure} failure */
async function notSeen(failure) {
  if (session === null || failure.code === 'closed') return null
  if (failure.code === 'forbidden') {
    signOut(tell(failure))
    return null
  }
  session.failure = failure
  showTrouble()
  const checks = await session.api.checks()
  if (session !== null && checks !== null) showChecks(checks)
  return failure.retryAfterSeconds === null ? null : failure.retryAfterSeconds * 1000
}

/** Said once, when it begins and when it is over. */
function showTrouble() {
  if (session === null) return
  const { failure, lookedAtMs } = session
  const at = new Date(lookedAtMs).toISOString()
  refill(byId('fetched'), 'Fetched ', time(at))
  const text = failure === null ? '' : `${tell(failure)} What is shown is older; it is asked for again by itself.`
  const trouble = byId('trouble')
  if (trouble.textContent !== text) trouble.textContent = text
}

/** Shows what the page's address names, as after a link was followed. */
async function goThere() {
  if (session === null) return
  const guid = guidInAddress()
  show(guid === null ? 'overview' : 'grant')
  byId('grant-message').textContent = ''
  const isAnother = grant?.guid !== guid
  if (guid === null || isAnother) grant = null
  if (guid !== null && isAnother) showNoGrant(guid)
  document.title = guid === null ? 'Console' : `${guid}: console`
  byId(guid === null ? 'overview-name' : 'grant-heading').focus()
  await lookAtGrant()
}

async function lookAtGrant() {
  const guid = guidInAddress()
  if (session === null || guid === null) return
  const { api } = session
  try {
    if (guid === '' || guid === '.' || guid === '..') throw new Failure('grant_not_found', 'The address names nobody.')
    /** @type {Grant} */
    const found = await api.get(`v1/grants/${encodeURIComponent(guid)}`)
    if (guidInAddress() !== guid || session?.api !== api) return
    grant = found
    document.title = `${nameOf(found)}: console`
    showGrant(found, may)
  } catch (error) {
    const failure = failed(error)
    if (guidInAddress() !== guid || failure.code === 'closed') return
    const isGone = failure.code === 'grant_not_found'
    if (isGone) grant = null
    if (grant === null) showNoGrant(guid)
    const message = byId('grant-message')
    // Where it was revoked from here, that is what was said.
    if (!isGone || message.textContent === '') message.textContent = tell(failure)
  }
}

/** @param {string} permission */
function may(permission) {
  return session?.permissions.includes(permission) ?? false
}

/** Does something with the grant that is shown, and says how it went. @param {() => Promise<string>} act */
async function actOn(act) {
  const message = byId('grant-message')
  try {
    message.textContent = 'Asking HealthTap…'
    message.textContent = await act()
  } catch (error) {
    const failure = failed(error)
    if (failure.code !== 'closed') message.textContent = tell(failure)
  }
  await lookAtGrant()
}

function renew() {
  if (session === null || grant === null) return
  const { api } = session
  const { guid, version } = grant
  void actOn(async () => {
    await api.renew(guid, version)
    return `Renewed: version ${version} is not the current one any more.`
  })
}

function revoke() {
  if (session === null || grant === null) return
  const { api } = session
  const { guid } = grant
  askToRevoke(grant, () => {
    void actOn(async () => {
      const isConfirmed = await api.revoke(guid)
      return isConfirmed
        ? 'Revoked: HealthTap has confirmed it, and the grant is gone.'
        : 'Nobody is given its token from now on. HealthTap has not confirmed it yet, and the gateway goes on trying.'
    })
  })
}

/** @param {'sign-in' | 'overview' | 'grant'} view */
function show(view) {
  for (const id of ['sign-in', 'overview', 'grant']) byId(id).hidden = id !== view
}

function signOutIfIdle() {
  if (session !== null && Date.now() - lastActionMs >= IDLE_AFTER_MS) {
    signOut('Signed out, since nothing was done for 15 minutes.')
  }
}

byId('sign-in-form').addEventListener('submit', async event => {
  event.preventDefault()
  if (isSigningIn) return
  isSigningIn = true
  await signIn(keyField.value.trim())
  isSigningIn = false
})
byId('search').addEventListener('submit', event => {
  event.preventDefault()
  if (session !== null) void search(session.api, failed)
})
byId('sign-out').addEventListener('click', () => signOut('Signed out.'))
byId('refresh').addEventListener('click', () => void session?.polling.look())
byId('more').addEventListener('click', () => session && void showMoreEnded(session.api, failed))
byId('renew').addEventListener('click', renew)
byId('revoke').addEventListener('click', revoke)
byId('skip').addEventListener('click', event => {
  // The address says which grant is shown: it stays.
  event.preventDefault()
  byId('content').focus()
})
for (const action of ['pointerdown', 'keydown']) {
  document.addEventListener(action, () => {
    signOutIfIdle()
    lastActionMs = Date.now()
  })
}
document.addEventListener('visibilitychange', signOutIfIdle)
// A browser may keep the whole page, to show it again to whoever goes back.
addEventListener('pagehide', () => session && signOut('Signed out, since the page was left.'))
addEventListener('hashchange', () => void goThere())
setInterval(() => {
  signOutIfIdle()
  tick()
}, TICK_EVERY_MS)

show('sign-in')
clearEnded()
