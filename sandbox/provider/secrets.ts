import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

/** 64 hex characters: the shape of HealthTap's codes, tokens and app credentials. */
export const newToken = (): string => randomBytes(32).toString('hex')

/** 32 hex characters: the shape of HealthTap's user ids. */
export const newGuid = (): string => randomBytes(16).toString('hex')

/** Takes the same time wherever the two differ. Hashing first also hides a difference in length. */
export function sameSecret(presented: string, expected: string): boolean {
  return timingSafeEqual(sha256(presented), sha256(expected))
}

/**
 * What is kept of a password: `salt:hash`, in hex. A fast hash is enough here: a stand-in has no real people, and benchmarks
 * make thousands of users.
 */
export function hashPassword(password: string, salt: string = newGuid()): string {
  return `${salt}:${sha256(`${salt}:${password}`).toString('hex')}`
}

export function isPassword(presented: string, hash: string): boolean {
  const [salt] = hash.split(':', 1)
  return sameSecret(hashPassword(presented, salt), hash)
}

/** @see RFC 7636, section 4.2 */
export const s256 = (codeVerifier: string): string => sha256(codeVerifier).toString('base64url')

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest()
