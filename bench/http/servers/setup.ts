/** What a rival is told, as its one argument; and what it says when it listens. */
import { AccessToken, ref } from '../../../src/schemas/index.ts'

export interface Setup {
  readonly redisUrl: string
  /** SHA-256 of the API key, in hexadecimal. */
  readonly keySha256: string
  /** How long the hand-written cache keeps a token; 0: there is none. */
  readonly cacheMs: number
  /** An answer of the gateway, to be answered by those who look nothing up. */
  readonly sample: string
}

export function readSetup(): Setup {
  return JSON.parse(process.argv[2] ?? '{}')
}

export function tell(address: string): void {
  process.stdout.write(`${address}\n`)
}

/** The address, and how the gateway's own route describes its good answer. */
export const ROUTE = '/v1/grants/:guid/token'
export const RESPONSE = {
  200: { description: 'The token.', content: { 'application/json': { schema: ref(AccessToken) } } },
}
