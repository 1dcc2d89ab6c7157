/** TLS as the listeners speak it. */
import type { SecureContextOptions, TlsOptions } from 'node:tls'
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
