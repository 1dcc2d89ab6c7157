import type { Output } from './terminal.ts'

/** A line that rewrites itself on a terminal; elsewhere one now and then, for a log. */
const ON_TERMINAL_MS = 100
const IN_LOG_MS = 5_000
const CLEAR_LINE = '\r\x1b[K'
const USUAL_WIDTH = 80
const WIDEST_BAR = 30

export interface Progress {
  /** `note` says what it is waiting for; absent: nothing. */
  show(done: number, total: number, note?: string): void
  /** What stands on the terminal is wiped away. */
  end(): void
}

export function createProgress(output: Output, what: string, now: () => number): Progress {
  const isTerminal = output.isTTY === true
  let shownAtMs = now()
  let isShown = false

  return {
    show(done, total, note = '') {
      if (now() - shownAtMs < (isTerminal ? ON_TERMINAL_MS : IN_LOG_MS)) return
      shownAtMs = now()
      isShown = true
      const text = `${done} of ${Math.max(done, total)} ${what}${note === '' ? '' : `, ${note}`}`
      output.write(isTerminal ? `${CLEAR_LINE}${withBar(text, done, total, output.columns)}` : `${text}\n`)
    },
    end() {
      if (isTerminal && isShown) output.write(CLEAR_LINE)
    },
  }
}

/** As wide as the terminal lets it be: a line that wraps would not be wiped away whole. */
function withBar(text: string, done: number, total: number, columns = USUAL_WIDTH): string {
  const part = total === 0 ? 1 : Math.min(1, done / total)
  const percent = `${Math.floor(part * 100)}%`.padStart(4)
  const width = Math.min(WIDEST_BAR, columns - text.length - percent.length - '[]   '.length)
  if (width < 5) return `${percent} ${text}`.slice(0, columns - 1)
  const full = Math.round(part * width)
  return `[${'#'.repeat(full)}${'-'.repeat(width - full)}]${percent}  ${text}`
}
