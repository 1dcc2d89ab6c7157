/** The table in docs/metrics.md, and whether an expression names only what stands in it. */
import { readFileSync } from 'node:fs'

export interface Row {
  readonly kind: string
  /** Its labels with the values that they have; none: any. */
  readonly labels: ReadonlyMap<string, readonly string[]>
  readonly alarms: readonly string[]
}

const page = readFileSync('docs/metrics.md', 'utf8')

/** By name; those of the process (`process_*`) are not told one by one. */
export function metricsTable(): ReadonlyMap<string, Row> {
  const rows = page.split('\n').filter(line => line.startsWith('| `htgw_'))
  return new Map(rows.map(row => [row.split('`')[1] ?? '', rowOf(row)]))
}

function rowOf(row: string): Row {
  const [, , what = '', , alarm = ''] = row.split('|').map(cell => cell.trim())
  const [kind = '', labels = ''] = what.split(/: (.*)/)
  const found = [...labels.matchAll(/`(\w+)`(?: \(([^)]*)\))?/g)].map(([, label = '', values = '']) => {
    return [label, [...values.matchAll(/`(\w+)`/g)].map(([, value = '']) => value)] as const
  })
  return { kind, labels: new Map(found), alarms: [...alarm.matchAll(/\[(\w+)\]/g)].map(([, text = '']) => text) }
}

/** What its headings of the third level are called: an alarm each. */
export function runbooks(): readonly string[] {
  return [...page.matchAll(/^### (\w+)$/gm)].map(([, name = '']) => name)
}

/** What Prometheus adds, and what it tells of itself. */
const OF_PROMETHEUS = new Set(['instance', 'job', 'le', '__name__'])
const SUFFIX = /_(?:bucket|sum|count)$/

/** What is wrong with the names in a PromQL expression: metrics, labels, values of labels. `exposed`: what a gateway declares. */
export function wrongIn(expression: string, exposed: ReadonlyMap<string, string>): readonly string[] {
  const table = metricsTable()
  const wrong: string[] = []
  const known = new Set<string>()
  for (const [, name = '', , selector = ''] of expression.matchAll(
    /\b((?:htgw|nodejs|process)_\w+|up)\b(\{([^}]*)\})?/g,
  )) {
    const base = exposed.has(name) ? name : name.replace(SUFFIX, '')
    const isHistogram = exposed.get(base) === 'histogram'
    if (name !== 'up' && (!exposed.has(base) || isHistogram === (base === name))) wrong.push(`no metric ${name}`)
    const labels = table.get(base)?.labels ?? new Map<string, string[]>()
    for (const label of labels.keys()) known.add(label)
    for (const [, label = '', operator = '', value = ''] of selector.matchAll(/(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g)) {
      if (OF_PROMETHEUS.has(label)) continue
      const values = labels.get(label)
      if (values === undefined) wrong.push(`${name} has no label ${label}`)
      else if (operator === '=' && values.length > 0 && !values.includes(value))
        wrong.push(`${label} is never ${value}`)
    }
  }
  for (const [, list = ''] of expression.matchAll(/\b(?:by|without|on|ignoring) ?\(([^)]*)\)/g)) {
    for (const label of list.split(',').map(text => text.trim())) {
      if (label !== '' && !OF_PROMETHEUS.has(label) && !known.has(label))
        wrong.push(`nothing there has a label ${label}`)
    }
  }
  if (expression.match(/\b(?:htgw|nodejs|process)_/) === null) wrong.push('no metric of ours')
  return wrong
}
