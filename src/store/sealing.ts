import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto'
import { Secret } from '../ports/secret.ts'
import { RecordUnreadable } from '../ports/store.ts'

export interface EncryptionKey {
  /** Letters, digits, `_` and `-`. */
  readonly id: string
  /** 256 bits. Node shows nothing of it in logs and JSON. */
  readonly key: KeyObject
}

export type EncryptionKeys = readonly [EncryptionKey, ...EncryptionKey[]]

/**
 * AES-256-GCM. `context` says where the secret stands, and among what: it is authenticated, so that a sealed value that was
 * copied elsewhere does not open there.
 */
export interface Sealer {
  seal(secret: Secret, context: string): string
  /** Throws `RecordUnreadable`. */
  open(sealed: string, context: string): Secret
  /** The id of the key that seals. */
  sealingKeyId(): string
  /** From now on the first of these seals, all of them open, and no others do. */
  use(keys: EncryptionKeys): void
}

const CIPHER = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** Grows when what is authenticated, or how, changes: an older gateway then says that it cannot open the record. */
const FORMAT = '1'
const SEALED = /^1\.(?<id>[A-Za-z0-9_-]{1,32})\.(?<base64url>[A-Za-z0-9_-]+)$/

/** A sealed value is `1.<key id>.<base64url of nonce, tag, ciphertext>`. */
export function createSealer(keys: EncryptionKeys): Sealer {
  let [sealing] = keys
  let byId = new Map<string, KeyObject>()

  function use(next: EncryptionKeys): void {
    byId = new Map(next.map(({ id, key }) => [id, key]))
    sealing = next[0]
  }
  use(keys)

  return {
    use,
    sealingKeyId: () => sealing.id,

    seal(secret, context) {
      const { id, key } = sealing
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv(CIPHER, key, nonce).setAAD(additionalData(id, context))
      const ciphertext = Buffer.concat([cipher.update(secret.reveal(), 'utf8'), cipher.final()])
      return `${FORMAT}.${id}.${Buffer.concat([nonce, cipher.getAuthTag(), ciphertext]).toString('base64url')}`
    },

    open(sealed, context) {
      const { id, base64url } = SEALED.exec(sealed)?.groups ?? {}
      if (id === undefined || base64url === undefined) throw new RecordUnreadable('altered')
      const key = byId.get(id)
      if (key === undefined) throw new RecordUnreadable('unknown_key', id)
      const bytes = Buffer.from(base64url, 'base64url')
      const tagEnd = NONCE_BYTES + TAG_BYTES
      // The last character may have bits to spare: only one way to write the bytes is ours.
      const isOurs = bytes.length >= tagEnd && bytes.toString('base64url') === base64url
      if (!isOurs) throw new RecordUnreadable('altered', id)
      try {
        const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
        decipher.setAAD(additionalData(id, context)).setAuthTag(bytes.subarray(NONCE_BYTES, tagEnd))
        return new Secret(decipher.update(bytes.subarray(tagEnd), undefined, 'utf8') + decipher.final('utf8'))
      } catch {
        throw new RecordUnreadable('altered', id)
      }
    },
  }
}

function additionalData(id: string, context: string): Buffer {
  return Buffer.from(`${FORMAT}\0${id}\0${context}`)
}
