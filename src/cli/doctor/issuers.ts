import { request } from 'undici'
import type { Issuer } from '../../callers/entries.ts'
import type { ServeConfig } from '../../config.ts'
import { reasonOf } from '../reason.ts'
import { type Check, counted, failed, ok } from './check.ts'

const WITHIN_MS = 5_000

/** Whether the keys of each issuer of callers' tokens can be had. */
export async function issuerChecks({ jwtIssuers }: ServeConfig): Promise<readonly Check[]> {
  const lines = await Promise.all(jwtIssuers.map(lineOf))
  return lines.map(line => ({ name: 'jwt issuers', ...line }))
}

async function lineOf({ issuer, jwks, jwks_url: url }: Issuer) {
  if (jwks !== undefined) {
    if (jwks.keys.length === 0) return failed(`${issuer}: its jwks_file holds no key, so its tokens are refused`)
    return ok(`${issuer}: ${counted(jwks.keys.length, 'key')} in its file`)
  }
  try {
    const { body, statusCode } = await request(url ?? '', { signal: AbortSignal.timeout(WITHIN_MS) })
    const keys = keysIn(await body.text())
    if (statusCode !== 200) return failed(`${issuer}: ${url} answers ${statusCode}: check jwks_url`)
    if (keys === null) return failed(`${issuer}: ${url} answers no JSON Web Key Set: check jwks_url`)
    return keys === 0
      ? failed(`${issuer}: ${url} has no key, so its tokens are refused`)
      : ok(`${issuer}: ${counted(keys, 'key')}`)
  } catch (error) {
    return failed(`${issuer}: ${url} cannot be reached (${reasonOf(error)}): check jwks_url and the network`)
  }
}

/** null: it is none (RFC 7517, section 5). */
function keysIn(text: string): number | null {
  try {
    const { keys } = JSON.parse(text)
    return Array.isArray(keys) ? keys.length : null
  } catch {
    return null
  }
}
