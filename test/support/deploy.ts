/** The files that say how the gateway is run, as data; and what a gateway would make of the settings in them. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments, type Scalar, type Tags } from 'yaml'
import { newAuditKey, newCaller, newEncryptionKey } from '../../src/cli/keys.ts'
import { readConfig, type ServeConfig } from '../../src/config.ts'
import { SETTINGS } from '../../src/settings/schema.ts'

// biome-ignore lint/suspicious/noExplicitAny: manifests are looked into wherever it may be.
export type Data = any

const ROOT = join(import.meta.dirname, '..', '..')

export function textOf(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
}

/** How Compose marks what replaces, instead of being merged into, what another file says. Kept as what it stands before. */
const marks: Tags = ['!reset', '!override'].flatMap(tag => [
  { tag, resolve: (text: string) => (text === 'null' ? null : text) },
  { tag, collection: 'map' as const, resolve: (map: unknown) => map },
  { tag, collection: 'seq' as const, resolve: (list: unknown) => list },
])

/** Throws for whatever is not good YAML, keys that stand twice included. */
export function documentsIn(file: string): readonly Data[] {
  const documents = parseAllDocuments<Scalar>(textOf(file), { merge: true, customTags: marks, strict: true })
  if (!Array.isArray(documents)) throw new Error(`${file} is empty`)
  return documents.map(document => {
    const [problem] = [...document.errors, ...document.warnings]
    if (problem !== undefined) throw problem
    return document.toJS()
  })
}

export function isSetting(name: string): boolean {
  return name in SETTINGS || name.replace(/_FILE$/, '') in SETTINGS
}

const GOOD_SECRETS: Readonly<Record<string, string>> = {
  HEALTHTAP_APP_ID: 'app',
  HEALTHTAP_APP_SECRET: 'secret',
  REDIS_URL: 'redis://:password@redis:6379',
  ENCRYPTION_KEYS: newEncryptionKey(),
  AUDIT_KEY: newAuditKey(),
  CALLERS: JSON.stringify([newCaller('all', ['*']).entry]),
}

/** What a gateway makes of it when the files that it names hold what they should. Throws `ConfigError`. */
export function configOf(environment: Readonly<Record<string, unknown>>): ServeConfig {
  const entries = Object.entries(environment).map(([name, value]) => {
    const secret = name.replace(/_FILE$/, '')
    return secret === name ? [name, String(value)] : [secret, GOOD_SECRETS[secret]]
  })
  return readConfig(Object.fromEntries(entries))
}

/** Names of the files that settings come from. */
export function filesNamedIn(environment: Readonly<Record<string, unknown>>): readonly string[] {
  const named = Object.entries(environment).filter(([name]) => name.endsWith('_FILE'))
  return named.map(([, file]) => String(file).split('/').at(-1) ?? '').sort()
}
