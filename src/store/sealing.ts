import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto'
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
  /** As `seal`, as bytes: nonce, tag, ciphertext. Which key it was, `sealingKeyId`, is for the caller to note. */
  sealBytes(plain: Uint8Array, context: Buffer): Buffer
  /** Throws `RecordUnreadable`. */
  openBytes(keyId: string, sealed: Buffer, context: Buffer): Buffer
  /**
   * `name` as a one-way name by each key (HMAC-SHA-256), the sealing key's first. What was noted under one of them is found
   * again as long as that key is configured.
   */
  keyedNames(name: string): readonly [string, ...string[]]
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
  let naming: readonly KeyObject[] = []

  function use(next: EncryptionKeys): void {
    byId = new Map(next.map(({ id, key }) => [id, key]))
    sealing = next[0]
    naming = next.map(({ key }) => namingKeyOf(key))
  }
  use(keys)

  return {
    use,
    sealingKeyId: () => sealing.id,

    seal(secret, context) {
      const { id, key } = sealing
      const sealed = encrypt(key, Buffer.from(secret.reveal()), additionalData(id, context))
      return `${FORMAT}.${id}.${sealed.toString('base64url')}`
    },

    open(sealed, context) {
      const { id, base64url } = SEALED.exec(sealed)?.groups ?? {}
      if (id === undefined || base64url === undefined) throw new RecordUnreadable('altered')
      const key = keyOf(id)
      const bytes = Buffer.from(base64url, 'base64url')
      // The last character may have bits to spare: only one way to write the bytes is ours.
      if (bytes.toString('base64url') !== base64url) throw new RecordUnreadable('altered', id)
      return new Secret(decrypt(key, id, bytes, additionalData(id, context)).toString())
    },

    keyedNames: name => {
      const [first = '', ...others] = naming.map(key => createHmac('sha256', key).update(name).digest('base64url'))
      return [first, ...others]
    },

    sealBytes: (plain, context) => encrypt(sealing.key, plain, context),
    openBytes: (keyId, sealed, context) => decrypt(keyOf(keyId), keyId, sealed, context),
  }

  function keyOf(id: string): KeyObject {
    const key = byId.get(id)
    if (key === undefined) throw new RecordUnreadable('unknown_key', id)
    return key
  }
}

/** A key of its own for names (HKDF, RFC 5869), so that a name says nothing about the key that encrypts. */
function namingKeyOf(key: KeyObject): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', key, '', 'healthtap-gateway names', 32)))
}

function encrypt(key: KeyObject, plain: Uint8Array, context: Buffer): Buffer {
  const nonce = nextNonce()
  const cipher = createCipheriv(CIPHER, key, nonce).setAAD(context)
  const ciphertext = cipher.update(plain)
  const last = cipher.final()
  return Buffer.concat([nonce, cipher.getAuthTag(), ciphertext, last])
}

function decrypt(key: KeyObject, id: string, bytes: Buffer, context: Buffer): Buffer {
  const tagEnd = NONCE_BYTES + TAG_BYTES
  if (bytes.length < tagEnd) throw new RecordUnreadable('altered', id)
  try {
    const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
    decipher.setAAD(context).setAuthTag(bytes.subarray(NONCE_BYTES, tagEnd))
    const plain = decipher.update(bytes.subarray(tagEnd))
    // GCM is a stream: `final` brings nothing but the verdict.
    decipher.final()
    return plain
  } catch {
    throw new RecordUnreadable('altered', id)
  }
}

/** Asking the system for a few bytes takes longer than sealing them: they are had by the thousand, and none is used twice. */
const NONCES_AT_ONCE = 1_000
let nonces = Buffer.alloc(0)

function nextNonce(): Buffer {
  if (nonces.length === 0) nonces = randomBytes(NONCES_AT_ONCE * NONCE_BYTES)
  const nonce = nonces.subarray(0, NONCE_BYTES)
  nonces = nonces.subarray(NONCE_BYTES)
  return nonce
}

function additionalData(id: string, context: string): Buffer {
  return Buffer.from(`${FORMAT}\0${id}\0${context}`)
}
