/** Pages are made of elements and text: nothing of what comes from the gateway is ever read as markup. */

/** @typedef {Node | string | null} Child null: nothing */
/** @typedef {Readonly<Record<string, string | number | boolean | (() => void) | null>>} Attributes false, null: absent */

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Attributes} attributes functions listen to the event of that name
 * @param {readonly Child[]} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children)
}

/**
 * @template {keyof SVGElementTagNameMap} Name
 * @param {Name} name
 * @param {Attributes} attributes
 * @param {readonly Child[]} children
 * @returns {SVGElementTagNameMap[Name]}
 */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children)
}

/**
 * @template {Element} Kind
 * @param {Kind} element
 * @param {Attributes} attributes
 * @param {readonly Child[]} children
 */
function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value)
    else if (value !== false && value !== null) element.setAttribute(name, value === true ? '' : String(value))
  }
  element.append(...children.filter(child => child !== null))
  return element
}

/**
 * What stands in the page from the beginning.
 *
 * @template {HTMLElement} [Kind=HTMLElement]
 * @param {string} id
 * @returns {Kind}
 */
export function byId(id) {
  const element = document.getElementById(id)
  if (element === null) throw new Error(`The page has no ${id}.`)
  return /** @type {Kind} */ (element)
}

/**
 * Puts other children in the place of those that were there. What is called the same by `data-key` keeps the focus, and stays
 * open: somebody may be reading.
 *
 * @param {HTMLElement} container
 * @param {readonly Child[]} children
 */
export function refill(container, ...children) {
  const focused = document.activeElement
  const focusedKey = focused instanceof HTMLElement && container.contains(focused) ? focused.dataset.key : undefined
  const open = [...container.querySelectorAll('details[open][data-key]')].map(details => keyOf(details))
  container.replaceChildren(...children.filter(child => child !== null))
  for (const details of container.querySelectorAll('details')) details.open = open.includes(keyOf(details))
  if (focusedKey === undefined) return
  const again = [...container.querySelectorAll('[data-key]')].find(element => keyOf(element) === focusedKey)
  if (again instanceof HTMLElement) again.focus({ preventScroll: true })
}

/** @param {Element} element */
function keyOf(element) {
  return element.getAttribute('data-key')
}

/**
 * A table that is one for screen readers also where a narrow page shows each row as a block.
 *
 * @param {string} caption
 * @param {readonly string[]} columns
 * @param {readonly (readonly Child[])[]} rows as many cells as there are columns; the first one names the row
 */
export function table(caption, columns, rows) {
  const head = columns.map(column => h('th', { scope: 'col', role: 'columnheader' }, column))
  const body = rows.map(cells => {
    const made = cells.map((cell, index) => {
      const label = { 'data-label': columns[index] ?? '' }
      return index === 0
        ? h('th', { scope: 'row', role: 'rowheader', ...label }, cell)
        : h('td', { role: 'cell', ...label }, h('span', {}, cell))
    })
    return h('tr', { role: 'row' }, ...made)
  })
  return h(
    'table',
    { role: 'table' },
    h('caption', { class: 'unseen' }, caption),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, ...head)),
    h('tbody', { role: 'rowgroup' }, ...body),
  )
}

const NUMBER = new Intl.NumberFormat('en')

/** @param {number} count */
export function number(count) {
  return NUMBER.format(count)
}
