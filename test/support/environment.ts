import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { DriverOptions } from '../../sandbox/driver.ts'
import type { CallerEntry } from '../../src/callers/entries.ts'
import { newEncryptionKey } from '../../src/cli/keys.ts'

/** The settings by which a gateway finds a sandbox, as the app that is registered there. */
export function settingsFor({ appId, appSecret, redirectUri, url }: DriverOptions): Record<string, string> {
  return {
    HEALTHTAP_APP_ID: appId,
    HEALTHTAP_APP_SECRET: appSecret,
    HEALTHTAP_AUTHORIZE_URL: `${url}/oauth/authorize`,
    HEALTHTAP_API_URL: url,
    HEALTHTAP_REDIRECT_URIS: redirectUri,
  }
}

/** The least environment of a `serve` process for one test, whose provider is away; `more` is added, or replaces it. */
export function serveEnvironment(
  t: Test,
  redisUrl: string,
  caller: CallerEntry,
  more: Record<string, string> = {},
): Record<string, string> {
  const journal = mkdtempSync(join(tmpdir(), 'htgw-journal-'))
  t.teardown(() => rmSync(journal, { recursive: true, force: true }))
  return {
    PATH: process.env.PATH ?? '',
    HEALTHTAP_APP_ID: 'app',
    HEALTHTAP_APP_SECRET: 'secret',
    HEALTHTAP_API_URL: 'http://127.0.0.1:1',
    HEALTHTAP_REDIRECT_URIS: 'https://app.example/cb',
    REDIS_URL: redisUrl,
    ENCRYPTION_KEYS: newEncryptionKey(),
    CALLERS: JSON.stringify([caller]),
    JOURNAL_DIR: journal,
    ...more,
  }
}
