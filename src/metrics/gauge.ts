import { Gauge, type Registry } from 'prom-client'

interface Options {
  readonly name: string
  readonly help: string
  readonly registers: Registry[]
}

/** A gauge that is looked up when somebody asks. `value` null: not known just now, and then it is not there at all. */
export function gaugeOf({ value, ...options }: Options & { readonly value: () => number | null }): void {
  new Gauge({
    ...options,
    collect() {
      const now = value()
      if (now === null) this.remove()
      else this.set(now)
    },
  })
}

/** The same, with one label. null: nothing is known of any of its values. */
export function gaugesOf<Label extends string>({
  values,
  label,
  ...options
}: Options & {
  readonly label: Label
  readonly values: () => Readonly<Record<string, number>> | null
}): void {
  new Gauge({
    ...options,
    labelNames: [label],
    collect() {
      this.reset()
      for (const [name, value] of Object.entries(values() ?? {})) {
        this.set({ [label]: name } as Record<Label, string>, value)
      }
    },
  })
}
