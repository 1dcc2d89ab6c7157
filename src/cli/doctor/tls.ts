import { X509Certificate } from 'node:crypto'
import type { ServeConfig } from '../../config.ts'
import { type Check, failed, named, ok, unknown, warning } from './check.ts'

/** Long enough to have another one made. */
const SOON_MS = 21 * 86_400_000
const DAY_MS = 86_400_000

/** The gateway's own certificates: whether they are good today, and for how long. */
export function tlsChecks({ tls, callers, host }: ServeConfig, nowMs: number): readonly Check[] {
  if (tls === null) {
    const isOpen = !/^(127\.|localhost$|::1$)/.test(host)
    const text = 'none: API keys and tokens travel as they are; have a mesh or proxy encrypt them, or set TLS_CERT'
    return named('tls', [], isOpen ? warning(text) : ok('none needed on 127.0.0.1'))
  }
  const lines = [...linesOf('TLS_CERT', tls.cert, nowMs), ...linesOf('TLS_CLIENT_CA', tls.clientCa, nowMs)]
  const isIdle = tls.clientCa !== null && callers.every(({ certificate }) => certificate === undefined)
  return named(
    'tls',
    isIdle ? [...lines, warning('TLS_CLIENT_CA has no effect: no caller is known by a certificate')] : lines,
    ok(`good for ${daysLeft(tls.cert, nowMs)} days`),
  )
}

function linesOf(setting: string, pem: string | null, nowMs: number) {
  return certificatesIn(pem).flatMap(certificate => {
    const subject = certificate.subject?.split('\n').join(', ')
    const [fromMs, toMs] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)]
    if (Number.isNaN(fromMs) || Number.isNaN(toMs))
      return [unknown(`${setting}: ${subject} has dates that cannot be read`)]
    if (fromMs > nowMs) return [failed(`${setting}: ${subject} is not good before ${timeOf(fromMs)}: check the clock`)]
    if (toMs <= nowMs) return [failed(`${setting}: ${subject} has expired at ${timeOf(toMs)}: renew it, then SIGHUP`)]
    return toMs - nowMs < SOON_MS ? [warning(`${setting}: ${subject} expires at ${timeOf(toMs)}: renew it soon`)] : []
  })
}

function certificatesIn(pem: string | null): readonly X509Certificate[] {
  const all = pem?.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? []
  return all.map(one => new X509Certificate(one))
}

function daysLeft(pem: string, nowMs: number): number {
  const ends = certificatesIn(pem).map(({ validTo }) => Date.parse(validTo))
  return Math.floor((Math.min(...ends) - nowMs) / DAY_MS)
}

function timeOf(atMs: number): string {
  return new Date(atMs).toISOString()
}
