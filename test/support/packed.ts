/** A packed grant, as somebody who can write to Redis may leave it: with another status in its front. */
export function withAnotherStatus(stored: Buffer | null): Buffer {
  if (stored === null) throw new Error('there is no such record')
  const copy = Buffer.from(stored)
  const status = copy.indexOf(':') + 2
  copy[status] = copy[status] === 0 ? 1 : 0
  return copy
}
