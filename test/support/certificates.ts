/** Certificates made by openssl, for one test. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'

const openssl = async (...args: readonly string[]) => void (await promisify(execFile)('openssl', [...args]))

export interface Certificate {
  /** PEM. */
  readonly cert: string
  readonly key: string
  readonly certFile: string
  readonly keyFile: string
}

interface Subject {
  /** As openssl takes it: `/O=Example/CN=scheduler`. */
  readonly subject: string
  readonly san?: string
  /** As openssl takes them: `rsa:512`, `sha1`. Absent: what is usual today. */
  readonly newKey?: string
  readonly digest?: string
  /** How long it is good; absent: two days. */
  readonly days?: number
}

export async function selfSigned(
  t: Test,
  name: string,
  wanted: Subject = { subject: `/CN=${name}` },
): Promise<Certificate> {
  const files = filesOf(t, name)
  await openssl(...request(files, wanted), '-x509', '-days', String(wanted.days ?? 2), ...extensions(wanted.san))
  return read(files)
}

export async function signedBy(t: Test, ca: Certificate, name: string, wanted: Subject): Promise<Certificate> {
  const files = filesOf(t, name)
  const by = ['-CA', ca.certFile, '-CAkey', ca.keyFile]
  await openssl(...request(files, wanted), '-x509', '-days', '2', ...by, ...extensions(wanted.san))
  return read(files)
}

/** What this self-signed certificate says, signed by `ca` and expired yesterday. */
export async function expired(t: Test, ca: Certificate, certificate: Certificate): Promise<Certificate> {
  const { certFile } = filesOf(t, 'expired')
  const by = ['-CA', ca.certFile, '-CAkey', ca.keyFile, '-set_serial', '1']
  await openssl('x509', '-in', certificate.certFile, '-out', certFile, '-days', '-1', ...by)
  return read({ certFile, keyFile: certificate.keyFile })
}

interface Files {
  readonly certFile: string
  readonly keyFile: string
}

function filesOf(t: Test, name: string): Files {
  const dir = mkdtempSync(join(tmpdir(), 'htgw-certificates-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return { certFile: join(dir, `${name}.pem`), keyFile: join(dir, `${name}.key`) }
}

const EC_KEY = ['ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']

function request({ certFile, keyFile }: Files, { subject, newKey, digest = 'sha256' }: Subject): string[] {
  const key = ['-newkey', ...(newKey === undefined ? EC_KEY : [newKey]), '-nodes', '-keyout', keyFile]
  return ['req', ...key, `-${digest}`, '-out', certFile, '-subj', subject, '-multivalue-rdn']
}

function extensions(san: string | undefined): string[] {
  return san === undefined ? [] : ['-addext', `subjectAltName=${san}`]
}

function read(files: Files): Certificate {
  return { ...files, cert: readFileSync(files.certFile, 'utf8'), key: readFileSync(files.keyFile, 'utf8') }
}
