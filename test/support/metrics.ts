/** What `/metrics` says, taken apart. */

interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export interface Exposed {
  /** By the name that is declared: a histogram's samples have `_bucket`, `_sum` and `_count` behind it. */
  readonly types: ReadonlyMap<string, string>
  readonly samples: readonly Sample[]
  /** The sum of the samples that have at least these labels; undefined: there are none. */
  value(name: string, labels?: Readonly<Record<string, string>>): number | undefined
}

export function parseMetrics(text: string): Exposed {
  const types = new Map<string, string>()
  const samples: Sample[] = []
  for (const line of text.split('\n')) {
    const [, declared = '', type = ''] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? []
    if (declared !== '') types.set(declared, type)
    const [, name, labels = '', value] = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
    if (name === undefined) continue
    const pairs = [...labels.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)].map(([, key, text]) => [key, text])
    samples.push({ name, labels: Object.fromEntries(pairs), value: Number(value) })
  }
  return {
    types,
    samples,
    value(name, wanted = {}) {
      const found = samples.filter(
        sample => sample.name === name && Object.entries(wanted).every(([key, value]) => sample.labels[key] === value),
      )
      return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0)
    },
  }
}
