/** The least that `serve` needs, and what is wrong with other settings. */
import { randomBytes } from 'node:crypto'
import { hashApiKey } from '../../src/callers/api-keys.ts'
import { ConfigError, type Environment, readConfig } from '../../src/config.ts'

export const APP_SECRET = randomBytes(32).toString('hex')
export const KEY = randomBytes(32)

export const HASH = hashApiKey('an API key')
export const CALLER = { name: 'appointments', key_sha256: HASH, permissions: ['token:read'] }

/** The least that `serve` needs. */
export const LEAST: Environment = {
  HEALTHTAP_APP_ID: 'app-1',
  HEALTHTAP_APP_SECRET: APP_SECRET,
  HEALTHTAP_REDIRECT_URIS: 'https://app.example.com/callback',
  CALLERS: JSON.stringify([CALLER]),
  REDIS_URL: 'redis://127.0.0.1:6379',
  ENCRYPTION_KEYS: `k1:${KEY.toString('base64')}`,
}

export function problemsOf(environment: Environment): readonly string[] {
  try {
    readConfig(environment)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

/** The names that are complained about, with what `more` sets or (undefined) leaves out. */
export function wrong(more: Environment): string[] {
  return problemsOf({ ...LEAST, ...more }).map(problem => problem.split(' ')[0] ?? '')
}
