/** TLS as the listeners speak it. */
import { createSecureContext, type SecureContextOptions, type TlsOptions } from 'node:tls'
import type { Tls } from './config.ts'

const MIN_VERSION = { minVersion: 'TLSv1.2' } as const

/** Callers may show a certificate, and need not: those with an API key, and probes, have none. */
export function tlsForCallers(tls: Tls): TlsOptions {
  return { ...contextForCallers(tls), requestCert: true, rejectUnauthorized: false }
}

/** Browsers are not asked for one: they would ask the person. */
export function tlsForBrowsers(tls: Tls): TlsOptions {
  return contextForBrowsers(tls)
}

/** What may change while the service runs. */
export function contextForCallers(tls: Tls): SecureContextOptions {
  return { ...contextForBrowsers(tls), ...(tls.clientCa === null ? {} : { ca: tls.clientCa }) }
}

export function contextForBrowsers({ cert, key }: Tls): SecureContextOptions {
  return { ...MIN_VERSION, cert, key: key.reveal() }
}

/**
 * Which of the settings OpenSSL cannot use, good as each is by itself: a key that is too short, a signature that is too weak.
 * null: none. Its reason is a code, and nothing of a setting is in it.
 */
export function whatOpensslRefuses(tls: Tls): { setting: string; reason: string } | null {
  const { key, ca, ...others } = contextForCallers(tls)
  const steps: readonly (readonly [string, SecureContextOptions])[] = [
    ['TLS_CERT', others],
    ['TLS_KEY', { ...others, key }],
    ['TLS_CLIENT_CA', { ...others, key, ca }],
  ]
  for (const [setting, options] of steps) {
    try {
      createSecureContext(options)
    } catch (error) {
      return { setting, reason: (error as NodeJS.ErrnoException).code ?? 'no reason is given' }
    }
  }
  return null
}
