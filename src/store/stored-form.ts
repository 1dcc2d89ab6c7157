/** How records stand in Redis: as bytes. Grants are packed; everything else is JSON, and so are grants that earlier versions wrote. */
import type { Grant } from '../ports/records.ts'
import { RecordUnreadable } from '../ports/store.ts'
import { createCodec, keyIdsIn } from './codec.ts'
import { isPacked, packedKeyId, packGrant, unpackGrant } from './packed-grant.ts'
import type { Sealer } from './sealing.ts'

export interface StoredForm {
  /** `place`: where the bytes will stand, e.g. the record's key; it has to be the same for reading. */
  encode(record: unknown, place: string): Buffer
  /** Throws `RecordUnreadable`. */
  decode(bytes: Buffer, place: string): unknown
  /** The same, sealed with the key that seals now; null: it is so already. Throws `RecordUnreadable`. */
  reseal(bytes: Buffer, place: string): Buffer | null
}

export function createStoredForm(sealer: Sealer): StoredForm {
  const codec = createCodec(sealer)
  return {
    encode(record, place) {
      return isGrant(record) ? packGrant(sealer, record, place) : Buffer.from(codec.encode(record, place))
    },

    decode(bytes, place) {
      return isPacked(bytes) ? unpackGrant(sealer, bytes, place) : codec.decode(textIn(bytes), place)
    },

    reseal(bytes, place) {
      if (isPacked(bytes)) {
        if (packedKeyId(bytes) === sealer.sealingKeyId()) return null
        return packGrant(sealer, unpackGrant(sealer, bytes, place), place)
      }
      const resealed = codec.reseal(textIn(bytes), place)
      return resealed === null ? null : Buffer.from(resealed)
    },
  }
}

/** The ids of the keys that a record says it is sealed with; none: it is not what this form writes. */
export function keyIdsOf(bytes: Buffer): ReadonlySet<string> {
  if (!isPacked(bytes)) return keyIdsIn(bytes.toString())
  try {
    return new Set([packedKeyId(bytes)])
  } catch {
    return new Set()
  }
}

function isGrant(record: unknown): record is Grant {
  return typeof record === 'object' && record !== null && 'pair' in record && 'status' in record
}

/** Bytes that are no UTF-8 are not what was written: they would be read as if they were something else. */
function textIn(bytes: Buffer): string {
  const text = bytes.toString()
  if (bytes.includes(0xff) || !Buffer.from(text).equals(bytes)) throw new RecordUnreadable('altered')
  return text
}
