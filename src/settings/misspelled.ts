import { distance } from 'fastest-levenshtein'
import { SETTINGS } from './schema.ts'

export interface Misspelled {
  readonly name: string
  /** The setting that it may be meant for; null: none is like it. */
  readonly meant: string | null
}

const NAMES = Object.keys(SETTINGS).flatMap(name => [name, `${name}_FILE`])
/** Letters that are too many, missing, or others. Of short names anything would be a neighbour. */
const FEW = 2
const LONG = 8
/** OpenTelemetry lets some be said for traces alone; here there is nothing else. */
const OF_TRACES = /^OTEL_EXPORTER_OTLP_TRACES_/
/** Kubernetes gives each container the addresses of services, and this is what the manifests call ours. */
const OF_KUBERNETES = /^HEALTHTAP_GATEWAY_/

/** Variables that are no settings, and look as if they were meant for some: what they say would be overlooked in silence. */
export function misspelledIn(environment: Readonly<Record<string, string | undefined>>): readonly Misspelled[] {
  const strangers = Object.keys(environment).filter(name => !NAMES.includes(name) && !OF_KUBERNETES.test(name))
  return strangers.flatMap(name => {
    const meant = name.length < LONG ? undefined : NAMES.find(known => distance(name, known) <= FEW)
    const others = OF_TRACES.test(name) ? name.replace(OF_TRACES, 'OTEL_EXPORTER_OTLP_') : undefined
    const known = meant ?? (others !== undefined && NAMES.includes(others) ? others : undefined)
    return known !== undefined || name.startsWith('HEALTHTAP_') ? [{ name, meant: known ?? null }] : []
  })
}
