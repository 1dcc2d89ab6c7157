/** Where a command's lines go, and how: tables for people, tabs between fields for programs. */

export interface Output {
  /** Somebody looks at it. */
  readonly isTTY?: boolean
  /** How wide it is, where it is known. */
  readonly columns?: number
  write(text: string): unknown
}

export interface Terminal {
  readonly out: Output
  /** What is no result: problems, and how far it has come. */
  readonly err: Output
  now(): number
  /** Asks whoever sits there; null: nobody does. `hidden`: what they type is not shown. */
  readonly ask: ((question: string, options?: { readonly hidden: boolean }) => Promise<string>) | null
}

/** Arguments, or settings, with which nothing can be done: exit code 2. */
export class AskedWrongly extends Error {
  override readonly name = 'AskedWrongly'
}

/** It did not work, and the message says why, and what to do: exit code 1. */
export class NotDone extends Error {
  override readonly name = 'NotDone'
}

export interface Column<Row> {
  readonly title: string
  /** What a program reads: exact, and empty where there is nothing. */
  readonly value: (row: Row) => string
  /** What people read; absent: the same. */
  readonly shown?: (row: Row) => string
}

const USUAL_WIDTH = 80
const GAP = '  '
/** Less of a value says nothing. */
const NARROWEST = 6

export function writeRows<Row>(out: Output, columns: readonly Column<Row>[], rows: readonly Row[]): void {
  if (out.isTTY !== true) {
    for (const row of rows) out.write(`${columns.map(({ value }) => clean(value(row))).join('\t')}\n`)
    return
  }
  for (const line of table(columns, rows, out.columns ?? USUAL_WIDTH)) out.write(`${line}\n`)
}

/** Lines of at most `width` characters: what is too long is cut short, the widest column first. */
export function table<Row>(columns: readonly Column<Row>[], rows: readonly Row[], width: number): readonly string[] {
  const cells = [
    columns.map(({ title }) => title),
    ...rows.map(row => columns.map(({ shown, value }) => clean((shown ?? value)(row)))),
  ]
  const widths = fitted(
    columns.map((_, index) => Math.max(...cells.map(line => lengthOf(line[index])))),
    width - GAP.length * (columns.length - 1),
  )
  return cells.map(line => {
    const text = line.map((cell, index) => fit(cell, widths[index] ?? 0)).join(GAP)
    return cut(text.trimEnd(), width)
  })
}

function fitted(natural: readonly number[], width: number): readonly number[] {
  const widths = [...natural]
  const sum = () => widths.reduce((total, each) => total + each, 0)
  while (sum() > width) {
    const widest = widths.indexOf(Math.max(...widths))
    if ((widths[widest] ?? 0) <= NARROWEST) break
    widths[widest] = (widths[widest] ?? 0) - 1
  }
  return widths
}

function fit(text: string, width: number): string {
  return cut(text, width) + ' '.repeat(Math.max(0, width - lengthOf(text)))
}

function cut(text: string, width: number): string {
  return lengthOf(text) <= width ? text : `${[...text].slice(0, Math.max(0, width - 1)).join('')}…`
}

function lengthOf(text: string | undefined): number {
  return [...(text ?? '')].length
}

/** Names are what somebody has called themselves: nothing in them moves the cursor, turns the line round, or ends a field. */
export function clean(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\uFFFD')
}
