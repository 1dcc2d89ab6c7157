import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto'
import { Secret } from '../ports/secret.ts'
import { RecordUnreadable } from '../ports/store.ts'

export interface EncryptionKey {
  readonly id: string
  /** 256 bits. Node shows nothing of it in logs and JSON. */
  readonly key: KeyObject
}

/**
 * AES-256-GCM. `context` says where the secret stands (guid and field): it is authenticated, so that a sealed value that
 * was copied elsewhere does not open there.
 */
export interface Sealer {
  seal(secret: Secret, context: string): string
  /** Throws `RecordUnreadable`. */
  open(sealed: string, context: string): Secret
}

const CIPHER = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** The first key seals, all of them open. A sealed value is `<key id>.<base64url of nonce, tag, ciphertext>`. */
export function createSealer(keys: readonly [EncryptionKey, ...EncryptionKey[]]): Sealer {
  const byId = new Map(keys.map(key => [key.id, key.key]))
  const [sealing] = keys

  return {
    seal(secret, context) {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv(CIPHER, sealing.key, nonce).setAAD(Buffer.from(`${sealing.id}\0${context}`))
      const ciphertext = Buffer.concat([cipher.update(secret.reveal(), 'utf8'), cipher.final()])
      return `${sealing.id}.${Buffer.concat([nonce, cipher.getAuthTag(), ciphertext]).toString('base64url')}`
    },

    open(sealed, context) {
      const dot = sealed.indexOf('.')
      const id = sealed.slice(0, Math.max(dot, 0))
      const key = byId.get(id)
      if (key === undefined) {
        throw new RecordUnreadable('A record is sealed with a key that is not in ENCRYPTION_KEYS.')
      }
      const bytes = Buffer.from(sealed.slice(dot + 1), 'base64url')
      const tagEnd = NONCE_BYTES + TAG_BYTES
      if (bytes.length < tagEnd) throw new RecordUnreadable('A sealed value is cut off.')
      try {
        const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
        decipher.setAAD(Buffer.from(`${id}\0${context}`)).setAuthTag(bytes.subarray(NONCE_BYTES, tagEnd))
        return new Secret(decipher.update(bytes.subarray(tagEnd), undefined, 'utf8') + decipher.final('utf8'))
      } catch {
        throw new RecordUnreadable('A sealed value was altered, or belongs elsewhere.')
      }
    },
  }
}
