export interface Random {
  /** `bytes` unpredictable bytes, base64url without padding. */
  token(bytes: number): string
  /** A number in [0, 1), for jitter; not for secrets. */
  fraction(): number
}
