/** What a part of the benchmark has found: tables for people, figures for programs, and how its goals came out. */

export interface Table {
  readonly title: string
  readonly columns: readonly string[]
  /** The first cell of a row says what it is about. */
  readonly rows: readonly (readonly string[])[]
  readonly notes?: readonly string[]
}

export interface Goal {
  readonly what: string
  readonly wanted: string
  readonly measured: string
  readonly met: boolean
}

export interface Findings {
  readonly tables: readonly Table[]
  readonly goals: readonly Goal[]
  /** Every round, for the JSON. */
  readonly figures: unknown
}

export function atLeast(what: string, least: number, measured: number, unit = ''): Goal {
  const [wanted, shown] = [`at least ${inDigits(least)}${unit}`, `${inDigits(measured)}${unit}`]
  return { what, wanted, measured: shown, met: measured >= least }
}

export function atMost(what: string, most: number, measured: number, unit = ''): Goal {
  const [wanted, shown] = [`at most ${inDigits(most)}${unit}`, `${inDigits(measured)}${unit}`]
  return { what, wanted, measured: shown, met: measured <= most }
}

/** Three digits that say something, thousands apart. */
export function inDigits(value: number): string {
  if (!Number.isFinite(value)) return '–'
  return value.toLocaleString('en-US', Math.abs(value) >= 100 ? { maximumFractionDigits: 0 } : DIGITS)
}

const DIGITS = { maximumSignificantDigits: 3 }

/** As Markdown, so that it can go into the docs as it is. */
export function tableText({ title, columns, rows, notes = [] }: Table): string {
  const widths = columns.map((column, index) =>
    Math.max(1, ...[column, ...rows.map(row => row[index] ?? '')].map(sizeOf)),
  )
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, index) => padded(cell, widths[index] ?? 0, index === 0)).join(' | ')} |`
  const rule = `| ${widths.map((width, index) => (index === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`
  return [`### ${title}`, '', line(columns), rule, ...rows.map(line), '', ...notes.map(note => `${note}\n`)].join('\n')
}

function sizeOf(text: string): number {
  return [...text].length
}

function padded(text: string, width: number, isLeft: boolean): string {
  const space = ' '.repeat(Math.max(0, width - sizeOf(text)))
  return isLeft ? text + space : space + text
}
