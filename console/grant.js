/** One grant: what it is, its times, and what can be done with it. */
import { byId, h, refill } from './dom.js'
import { nameOf, statusOf } from './grants.js'
import { timeline } from './timeline.js'
import { STATUSES } from './words.js'

/** @import { Grant } from './types.d.ts' */

/**
 * @param {Grant} grant
 * @param {(permission: string) => boolean} may
 */
export function showGrant(grant, may) {
  byId('grant-name').textContent = nameOf(grant)
  const facts = [
    fact('Guid', h('code', {}, grant.guid)),
    fact('Username', grant.username ?? 'none: this person signed in themselves'),
    fact('Status', h('span', {}, statusOf(grant), h('span', { class: 'hint' }, STATUSES[grant.status].meaning))),
    fact('Scope', grant.scope),
    fact('Version', String(grant.version)),
    fact(
      'Refresh token',
      grant.refresh_token_expires_at === null ? 'HealthTap does not say when it expires' : 'expires: see the timeline',
    ),
  ]
  refill(byId('facts'), h('dl', { class: 'facts' }, ...facts.flat()))
  refill(byId('timeline'), timeline(grant))
  const canBeRenewed = grant.status === 'active' || grant.status === 'in_doubt'
  byId('grant-body').hidden = false
  setHidden(byId('renew'), !(may('token:refresh') && canBeRenewed))
  setHidden(byId('revoke'), !(may('grant:write') && grant.status !== 'revoking'))
}

/**
 * There is none, or it cannot be had.
 *
 * @param {string} guid
 */
export function showNoGrant(guid) {
  byId('grant-name').textContent = guid
  setHidden(byId('grant-body'), true)
}

/**
 * Whoever was on it does not lose their place.
 *
 * @param {HTMLElement} element
 * @param {boolean} isHidden
 */
function setHidden(element, isHidden) {
  const hasFocus = element.contains(document.activeElement)
  element.hidden = isHidden
  if (isHidden && hasFocus) byId('grant-heading').focus()
}

/**
 * @param {string} name
 * @param {string | Node} value
 */
function fact(name, value) {
  return [h('dt', {}, name), h('dd', {}, value)]
}
