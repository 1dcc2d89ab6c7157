import { randomBytes } from 'node:crypto'
import { hashApiKey } from '../callers/api-keys.ts'
import type { CallerEntry } from '../callers/entries.ts'

/** 256 bits, under a name that sorts by day and does not repeat. */
export function newEncryptionKey(): string {
  const day = new Date().toISOString().slice(0, 10).replaceAll('-', '')
  return `k${day}-${randomBytes(3).toString('hex')}:${randomBytes(32).toString('base64')}`
}

/** 256 bits, for AUDIT_KEY. */
export function newAuditKey(): string {
  return randomBytes(32).toString('base64')
}

export function newCaller(name: string, permissions: readonly string[]): { apiKey: string; entry: CallerEntry } {
  const apiKey = `htgw_${randomBytes(32).toString('base64url')}`
  const entry = { name, key_sha256: hashApiKey(apiKey), permissions: permissions as CallerEntry['permissions'] }
  return { apiKey, entry }
}
