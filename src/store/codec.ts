import { Secret } from '../ports/secret.ts'
import { RecordUnreadable } from '../ports/store.ts'
import type { Sealer } from './sealing.ts'

/**
 * Records as text: JSON in which each `Secret`, wherever it stands, is `{"sealed": …}`. What is typed as a secret cannot
 * be written in clear, because JSON itself has no way to show it.
 *
 * Each secret is sealed for its place, its field, and everything else that the text says: so the text opens as it was
 * written, or not at all. A record without a secret has an empty one sealed with it, as `seal`, to the same end.
 */
export interface Codec {
  /** `place`: where the text will stand, e.g. the record's key; it has to be the same for reading. */
  encode(record: unknown, place: string): string
  /** Throws `RecordUnreadable`. */
  decode(text: string, place: string): unknown
  /** The same, sealed with the key that seals now; null: it is so already. Throws `RecordUnreadable`. */
  reseal(text: string, place: string): string | null
}

/** Quotes inside of a JSON string are escaped, so this finds nothing in what people have called themselves. */
const SEALED_FIELD = /"sealed":"([^"]*)"/g

export function createCodec(sealer: Sealer): Codec {
  const codec: Codec = {
    encode(record, place) {
      const whole = holdsSecret(record) ? record : { ...(record as object), seal: new Secret('') }
      const plain = JSON.stringify(mapSecrets(whole, '', () => ''))
      return JSON.stringify(mapSecrets(whole, '', (secret, path) => sealer.seal(secret, contextOf(place, path, plain))))
    },

    decode(text, place) {
      const plain = text.replace(SEALED_FIELD, '"sealed":""')
      let opened = 0
      const open = (sealed: string, path: string) => {
        opened += 1
        return sealer.open(sealed, contextOf(place, path, plain))
      }
      try {
        const { seal: _, ...record } = openAll(JSON.parse(text), '', open) as Record<string, unknown>
        if (opened > 0) return record
      } catch (error) {
        // Else it is no JSON, or nothing like a record, down to a nesting that no stack is deep enough for.
        if (error instanceof RecordUnreadable) throw error
      }
      throw new RecordUnreadable('altered')
    },

    reseal(text, place) {
      const [keyId, ...others] = keyIdsIn(text)
      if (keyId === sealer.sealingKeyId() && others.length === 0) return null
      return codec.encode(codec.decode(text, place), place)
    },
  }
  return codec
}

/** The ids of the keys that a record's text says it is sealed with; none: it is not what the codec writes. */
export function keyIdsIn(text: string): ReadonlySet<string> {
  const sealed = [...text.matchAll(SEALED_FIELD)].map(([, value = '']) => value.split('.')[1] ?? '')
  return new Set(sealed)
}

function contextOf(place: string, path: string, plain: string): string {
  return `${place}\0${path}\0${plain}`
}

function holdsSecret(value: unknown): boolean {
  return value instanceof Secret || (isObject(value) && Object.values(value).some(holdsSecret))
}

function mapSecrets(value: unknown, path: string, write: (secret: Secret, path: string) => string): unknown {
  if (value instanceof Secret) return { sealed: write(value, path) }
  return isObject(value) ? mapFields(value, path, (field, at) => mapSecrets(field, at, write)) : value
}

function openAll(value: unknown, path: string, open: (sealed: string, path: string) => Secret): unknown {
  if (!isObject(value)) return value
  if (typeof value.sealed === 'string') return open(value.sealed, path)
  return mapFields(value, path, (field, at) => openAll(field, at, open))
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
