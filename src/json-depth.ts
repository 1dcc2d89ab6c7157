/** How deep JSON goes, told from its text: what looks into a value by recursion runs out of stack on some thousand levels. */

/** No request of the contract goes deeper than a few; `attributes` are the caller's own. */
export const MAX_JSON_DEPTH = 64

const [QUOTE, BACKSLASH] = [0x22, 0x5c]
const OPENING = [0x5b, 0x7b]
const CLOSING = [0x5d, 0x7d]

/** Brackets in strings do not count. Text that is no JSON gets some answer. */
export function isDeeperThan(most: number, json: string): boolean {
  let depth = 0
  let inString = false
  for (let index = 0; index < json.length; index += 1) {
    const code = json.charCodeAt(index)
    if (code === QUOTE) inString = !inString
    else if (inString && code === BACKSLASH) index += 1
    else if (!inString && OPENING.includes(code)) depth += 1
    else if (!inString && CLOSING.includes(code)) depth -= 1
    if (depth > most) return true
  }
  return false
}
