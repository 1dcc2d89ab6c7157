/** Asks whether a grant shall really be revoked: somebody is cut off from their care by it. */
import { byId } from './dom.js'
import { nameOf } from './grants.js'

/** @import { Grant } from './types.d.ts' */

const TYPED = 6

const dialog = /** @type {HTMLDialogElement} */ (byId('revoking'))
const form = byId('revoking-form')
const field = /** @type {HTMLInputElement} */ (byId('revoking-typed'))
const complaint = byId('revoking-complaint')

let asked = ''
/** @type {() => void} */
let whenSure = () => {}

/**
 * @param {Grant} grant
 * @param {() => void} isSure called when it is
 */
export function askToRevoke(grant, isSure) {
  asked = grant.guid.slice(-TYPED)
  whenSure = isSure
  byId('revoking-name').textContent = nameOf(grant)
  byId('revoking-guid').textContent = grant.guid
  byId('revoking-asked').textContent = asked
  field.value = ''
  complain('')
  dialog.showModal()
}

export function stopAsking() {
  dialog.close()
}

/** @param {string} text */
function complain(text) {
  complaint.textContent = text
  field.setAttribute('aria-invalid', String(text !== ''))
}

form.addEventListener('submit', event => {
  event.preventDefault()
  if (field.value.trim() !== asked) {
    complain(`That is not ${asked}. Nothing was revoked.`)
    return field.focus()
  }
  dialog.close()
  whenSure()
})
byId('revoking-cancel').addEventListener('click', stopAsking)
