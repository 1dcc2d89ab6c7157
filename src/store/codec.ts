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
  /** Opens each sealed field; `opened` is told of each of them, and there is at least one. */
  function open(
    text: string,
    place: string,
    opened: (sealed: string, secret: Secret, context: string) => void,
  ): unknown {
    const plain = text.replace(SEALED_FIELD, '"sealed":""')
    let isSealed = false
    try {
      const record = openAll(JSON.parse(text), '', (sealed, path) => {
        const context = contextOf(place, path, plain)
        const secret = sealer.open(sealed, context)
        opened(sealed, secret, context)
        isSealed = true
        return secret
      })
      if (isSealed) return record
    } catch (error) {
      // Else it is no JSON, or nothing like a record, down to a nesting that no stack is deep enough for.
      if (error instanceof RecordUnreadable) throw error
    }
    throw new RecordUnreadable('altered')
  }

  return {
    encode(record, place) {
      const whole = holdsSecret(record) ? record : { ...(record as object), seal: new Secret('') }
      const plain = JSON.stringify(mapSecrets(whole, '', () => ''))
      return JSON.stringify(mapSecrets(whole, '', (secret, path) => sealer.seal(secret, contextOf(place, path, plain))))
    },

    decode(text, place) {
      const { seal: _, ...record } = open(text, place, () => {}) as Record<string, unknown>
      return record
    },

    reseal(text, place) {
      const [keyId, ...others] = keyIdsIn(text)
      if (keyId === sealer.sealingKeyId() && others.length === 0) return null
      const resealed = new Map<string, string>()
      open(text, place, (sealed, secret, context) => resealed.set(sealed, sealer.seal(secret, context)))
      return text.replace(SEALED_FIELD, (_, sealed) => `"sealed":"${resealed.get(sealed)}"`)
    },
  }
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

/** Records are made of plain objects, lists and scalars. */
function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}

function mapFields(
  value: Readonly<Record<string, unknown>>,
  path: string,
  change: (field: unknown, path: string) => unknown,
): unknown {
  if (Array.isArray(value)) return value.map((item, index) => change(item, `${path}.${index}`))
  const changed: Record<string, unknown> = {}
  for (const name of Object.keys(value)) changed[name] = change(value[name], `${path}.${name}`)
  return changed
}
