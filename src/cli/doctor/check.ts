/** `warning`: it works, and should be looked at. `unknown`: it cannot be checked, which is no failure. */
export type CheckStatus = 'ok' | 'warning' | 'failed' | 'unknown'

/** One line of what `doctor` prints. Nothing in it is secret. */
export interface Check {
  readonly name: string
  readonly status: CheckStatus
  /** What was found; and, where it is not ok, how to mend it. */
  readonly text: string
}

type Line = Omit<Check, 'name'>

export const ok = (text: string): Line => ({ status: 'ok', text })
export const warning = (text: string): Line => ({ status: 'warning', text })
export const failed = (text: string): Line => ({ status: 'failed', text })
export const unknown = (text: string): Line => ({ status: 'unknown', text })

/** What is wrong under this name, a line each; where nothing is, the one line that says so. */
export function named(name: string, lines: readonly Line[], otherwise: Line): readonly Check[] {
  return (lines.length > 0 ? lines : [otherwise]).map(line => ({ name, ...line }))
}

const MARKS: Readonly<Record<CheckStatus, string>> = { ok: 'ok  ', warning: 'WARN', failed: 'FAIL', unknown: '?   ' }
const NAME_WIDTH = 24

export function formatCheck({ name, status, text }: Check): string {
  return `${MARKS[status]}  ${name.padEnd(NAME_WIDTH)} ${text}`
}

/** `1 caller`, `2 callers`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
