/** How the text of an environment variable becomes a setting. Pure: `config.ts` reads the environment. */
import { createPrivateKey, createSecretKey, type KeyObject, X509Certificate } from 'node:crypto'
import { type CallerEntry, type IssuerEntry, wrongCallers, wrongIssuers } from '../callers/entries.ts'
import { Secret } from '../ports/secret.ts'
import { parseRedisAddress, type RedisAddress } from '../store/redis/connection.ts'
import type { EncryptionKey, EncryptionKeys } from '../store/sealing.ts'

/** What is wrong with a text. The message never quotes it: it may be a secret. */
export class SettingError extends Error {}

export type Parse<T> = (text: string) => T

export const text: Parse<string> = value => value

export const secret: Parse<Secret> = value => new Secret(value)

export function integer(minimum: number, maximum: number): Parse<number> {
  return value => {
    const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN
    if (number >= minimum && number <= maximum) return number
    throw new SettingError(`has to be a whole number from ${minimum} to ${maximum}`)
  }
}

export const ratio: Parse<number> = value => {
  const number = /^\d+(\.\d+)?$/.test(value) ? Number(value) : Number.NaN
  if (number > 0 && number <= 0.9) return number
  throw new SettingError('has to be a number above 0 and up to 0.9')
}

/** Of all there is: none to all. */
export const share: Parse<number> = value => {
  const number = /^\d+(\.\d+)?$/.test(value) ? Number(value) : Number.NaN
  if (number <= 1) return number
  throw new SettingError('has to be a number from 0 to 1')
}

export const flag: Parse<boolean> = value => {
  if (value === 'true' || value === 'false') return value === 'true'
  throw new SettingError('has to be true or false')
}

export function oneOf<T extends string>(...choices: readonly T[]): Parse<T> {
  return value => {
    const found = choices.find(choice => choice === value)
    if (found !== undefined) return found
    throw new SettingError(`has to be one of ${choices.join(', ')}`)
  }
}

/** https, or http to this machine: credentials and tokens travel there. */
export const providerUrl: Parse<string> = value => {
  const url = URL.canParse(value) ? new URL(value) : null
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopback(url.hostname))
  if (url !== null && isSafe && url.username === '' && url.password === '') return value
  throw new SettingError('has to be an https:// address (http:// only on this machine), without credentials in it')
}

/** As `providerUrl`, with paths to be added to it. */
export const baseUrl: Parse<string> = value => {
  if (!/[?#]/.test(value)) return providerUrl(value)
  throw new SettingError('has to be an address without ? and #: paths are added to it')
}

/** A service beside this one: http as well, since a mesh may encrypt it. Without a slash at its end. */
export const httpUrl: Parse<string> = value => {
  const url = URL.canParse(value) ? new URL(value) : null
  const isPlain = url?.username === '' && url.password === '' && !/[?#]/.test(value)
  if (url !== null && /^https?:$/.test(url.protocol) && isPlain) return value.replace(/\/+$/, '')
  throw new SettingError('has to be an http:// or https:// address, without credentials, ? and #')
}

/** A header carries it (RFC 6750, section 2.1). */
export const apiKey: Parse<Secret> = value => {
  if (/^[\x21-\x7e]+$/.test(value)) return new Secret(value)
  throw new SettingError('has to be one API key, in visible characters')
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)
}

/** `name=value`, comma-separated, values percent-encoded: as OpenTelemetry has it. */
export const pairs: Parse<Readonly<Record<string, string>>> = value => {
  try {
    return Object.fromEntries(split(value, ',').map(pair))
  } catch {
    throw new SettingError('has to be name=value, comma-separated, values percent-encoded')
  }
}

function pair(entry: string): readonly [string, string] {
  const [, name = '', encoded = ''] = /^([^=\s]+)\s*=\s*(.*)$/.exec(entry) ?? []
  if (name === '') throw new TypeError()
  return [name, decodeURIComponent(encoded)]
}

/** As `pairs`, of what an HTTP request may bear (RFC 9110, section 5). */
export const headers: Parse<Readonly<Record<string, Secret>>> = value => {
  const all = Object.entries(pairs(value))
  const isGood = all.every(([name, text]) => /^[\w!#$%&'*+.^`|~-]+$/.test(name) && /^[\x20-\x7e]+$/.test(text))
  if (isGood) return Object.fromEntries(all.map(([name, text]) => [name.toLowerCase(), new Secret(text)]))
  throw new SettingError('has to be name=value of HTTP headers, comma-separated, values percent-encoded')
}

/** Comma-separated; custom schemes included (RFC 8252, section 7.1). A fragment is not allowed (RFC 6749, section 3.1.2). */
export const redirectUris: Parse<readonly string[]> = value => {
  const uris = split(value, ',')
  const isGood = (uri: string) => URL.canParse(uri) && !uri.includes('#') && !/^(javascript|data|file):/i.test(uri)
  if (uris.length > 0 && uris.every(isGood)) return uris
  throw new SettingError('has to be one or more absolute URIs without a fragment, comma-separated')
}

export const scopes: Parse<readonly string[]> = value => {
  const names = split(value, ' ')
  if (names.length > 0 && names.every(name => /^[\x21\x23-\x5b\x5d-\x7e]+$/.test(name))) return names
  throw new SettingError('has to be one or more scopes, space-separated')
}

export const origins: Parse<readonly string[]> = value => {
  const all = split(value, ',')
  const isOrigin = (origin: string) =>
    /^https?:/.test(origin) && URL.canParse(origin) && new URL(origin).origin === origin
  if (all.every(isOrigin)) return all
  throw new SettingError('has to be origins such as https://app.example.com, comma-separated, without a path')
}

/** RFC 6901. */
export const jsonPointer: Parse<string> = value => {
  if (/^(\/([^~/]|~[01])*)+$/.test(value)) return value
  throw new SettingError('has to be a JSON pointer such as /guid')
}

export const redisPrefix: Parse<string> = value => {
  if (/^[A-Za-z0-9._:-]{1,64}$/.test(value)) return value
  throw new SettingError('has to be 1 to 64 letters, digits and . _ : -')
}

export const redisUrl: Parse<RedisAddress> = value => {
  const address = parseRedisAddress(value)
  if (address !== null) return address
  throw new SettingError(
    'has to be redis://host:6379, rediss://host:6379, redis+sentinel://h1,h2/NAME or redis+cluster://h1,h2,h3',
  )
}

export const encryptionKeys: Parse<EncryptionKeys> = value => {
  const [first, ...others] = split(value, ',').map(encryptionKey)
  const ids = new Set([first, ...others].map(key => key?.id))
  if (first !== undefined && ids.size === others.length + 1) return [first, ...others]
  throw new SettingError('has to name each key once; make one with: npx healthtap-gateway keygen')
}

function encryptionKey(entry: string): EncryptionKey {
  const [, id, base64] = /^([A-Za-z0-9_-]{1,32}):([A-Za-z0-9+/_-]{43}=?)$/.exec(entry) ?? []
  if (id !== undefined && base64 !== undefined) return { id, key: createSecretKey(base64, 'base64') }
  throw new SettingError('has to be id:base64(32 bytes), comma-separated; make one with: npx healthtap-gateway keygen')
}

export const auditKey: Parse<KeyObject> = value => {
  if (/^[A-Za-z0-9+/_-]{43}=?$/.test(value)) return createSecretKey(Buffer.from(value, 'base64'))
  throw new SettingError('has to be base64(32 bytes); make one with: npx healthtap-gateway keygen --audit')
}

export const callers: Parse<readonly CallerEntry[]> = value => {
  const hint = 'has to be a JSON array with at least one caller; make one with: npx healthtap-gateway caller'
  return entriesOf<CallerEntry>(value, wrongCallers, hint)
}

export const jwtIssuers: Parse<readonly IssuerEntry[]> = value => {
  const issuers = entriesOf<IssuerEntry>(value, wrongIssuers, 'has to be a JSON array with at least one issuer')
  for (const { jwks_url: url } of issuers) if (url !== undefined) providerUrl(url)
  return issuers
}

function entriesOf<T>(value: string, whatIsWrong: (entries: unknown) => readonly string[], hint: string): readonly T[] {
  const entries = parseJson(value)
  if (!Array.isArray(entries) || entries.length === 0) throw new SettingError(hint)
  const wrong = whatIsWrong(entries)
  if (wrong.length > 0) throw new SettingError(wrong.join('; '))
  return entries
}

/** One or more certificates, the first one's own key not included. */
export const certificates: Parse<string> = value => {
  const all = value.match(CERTIFICATE) ?? []
  // Notes may stand between them. OpenSSL would overlook one that is half written, and do without it.
  const isWhole = !/^-/m.test(value.replace(CERTIFICATE, ''))
  try {
    if (isWhole && all.length > 0 && all.every(one => new X509Certificate(one))) return value
  } catch {}
  throw new SettingError('has to be a certificate, or a chain of them, in PEM form: each whole, and nothing else')
}

const CERTIFICATE = /^-----BEGIN CERTIFICATE-----\s[^-]+^-----END CERTIFICATE-----\s*$/gm

export const privateKey: Parse<Secret> = value => {
  try {
    createPrivateKey(value)
    return new Secret(value)
  } catch {
    throw new SettingError('has to be a private key in PEM form, without a passphrase')
  }
}

function parseJson(value: string): unknown {
  try {
    return JSON.parse(value)
  } catch {
    throw new SettingError('is not valid JSON')
  }
}

function split(value: string, separator: string): string[] {
  return value
    .split(separator)
    .map(part => part.trim())
    .filter(part => part !== '')
}
