import { Secret } from '../ports/secret.ts'
import { RecordUnreadable } from '../ports/store.ts'
import type { Sealer } from './sealing.ts'

/**
 * Records as text: JSON in which each `Secret`, wherever it stands, is `{"sealed": …}`. What is typed as a secret cannot
 * be written in clear, because JSON itself has no way to show it.
 */
export interface Codec {
  /** `place`: where the text will stand, e.g. `grant:<guid>`; it has to be the same for reading. */
  encode(record: unknown, place: string): string
  /** Throws `RecordUnreadable`. */
  decode(text: string, place: string): unknown
}

export function createCodec(sealer: Sealer): Codec {
  function sealAll(value: unknown, path: string): unknown {
    if (value instanceof Secret) return { sealed: sealer.seal(value, path) }
    return isObject(value) ? mapFields(value, path, sealAll) : value
  }

  function openAll(value: unknown, path: string): unknown {
    if (!isObject(value)) return value
    return typeof value.sealed === 'string' ? sealer.open(value.sealed, path) : mapFields(value, path, openAll)
  }

  return {
    encode: (record, place) => JSON.stringify(sealAll(record, place)),
    decode(text, place) {
      let parsed: unknown
      try {
        parsed = JSON.parse(text)
      } catch {
        throw new RecordUnreadable('A record is not what this gateway writes.')
      }
      return openAll(parsed, place)
    },
  }
}

/** Records are made of plain objects and scalars alone. */
function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}

function mapFields(
  value: Readonly<Record<string, unknown>>,
  path: string,
  change: (field: unknown, path: string) => unknown,
): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, change(field, `${path}.${name}`)]))
}
