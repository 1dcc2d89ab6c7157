import { generateKeySync } from 'node:crypto'
import type { EncryptionKey } from '../../src/store/sealing.ts'

/** As an entry of ENCRYPTION_KEYS is read. */
export function newKey(id: string): EncryptionKey {
  return { id, key: generateKeySync('aes', { length: 256 }) }
}
