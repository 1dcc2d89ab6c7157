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
/** Kubernetes gives each container the addresses of services, and this is what the manifests call ours. */
const OF_KUBERNETES = /^HEALTHTAP_GATEWAY_/

/** Variables that are no settings, and look as if they were meant for some: what they say would be overlooked in silence. */
export function misspelledIn(environment: Readonly<Record<string, string | undefined>>): readonly Misspelled[] {
  const strangers = Object.keys(environment).filter(name => !NAMES.includes(name) && !OF_KUBERNETES.test(name))
  return strangers.flatMap(name => {
    const meant = name.length < LONG ? undefined : NAMES.find(known => distance(name, known) <= FEW)
    return meant !== undefined || name.startsWith('HEALTHTAP_') ? [{ name, meant: meant ?? null }] : []
  })
}
