import { createHmac, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto'
import type { Secret } from '../ports/secret.ts'

export interface AuditKeys {
  /** Names the key without giving it away: each stream's first line says by which key it was written. */
  readonly id: string
  /** Chains the lines. */
  readonly chain: KeyObject
  /** What a token is called in the lines: the same for the same token, and of no use to whoever does not have the key. */
  fingerprint(token: Secret): string
}

/** 32 bytes. */
export type AuditMaster = Parameters<typeof hkdfSync>[1]

const ID_BYTES = 8
const KEY_BYTES = 32
/** 128 bits: no two tokens of a deployment share one by chance. */
const FINGERPRINT_LENGTH = 22

/** Keys of their own for each purpose (HKDF, RFC 5869): what one of them gives away says nothing about the others. */
export function createAuditKeys(master: AuditMaster): AuditKeys {
  const derive = (purpose: string, bytes: number) =>
    Buffer.from(hkdfSync('sha256', master, '', `healthtap-gateway audit ${purpose}`, bytes))
  const tokenKey = createSecretKey(derive('token', KEY_BYTES))
  const known = new WeakMap<Secret, string>()

  function compute(token: Secret): string {
    return createHmac('sha256', tokenKey).update(token.reveal()).digest('base64url').slice(0, FINGERPRINT_LENGTH)
  }

  return {
    id: derive('id', ID_BYTES).toString('hex'),
    chain: createSecretKey(derive('chain', KEY_BYTES)),
    fingerprint(token) {
      const before = known.get(token)
      if (before !== undefined) return before
      const fingerprint = compute(token)
      known.set(token, fingerprint)
      return fingerprint
    },
  }
}
