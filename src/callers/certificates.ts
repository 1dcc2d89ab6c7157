import type { X509Certificate } from 'node:crypto'
import { type Caller, callerOf } from './caller.ts'
import type { CallerEntry } from './entries.ts'

/** Client certificates that TLS has verified, by their subject or one of their alternative names, compared as a whole. */
export function createCertificates(entries: readonly CallerEntry[]) {
  const bySubject = new Map<string, Caller>()
  const bySan = new Map<string, Caller>()
  for (const entry of entries) {
    const { subject, san } = entry.certificate ?? {}
    if (subject !== undefined) bySubject.set(subject, callerOf(entry))
    if (san !== undefined) bySan.set(san, callerOf(entry))
  }
  return {
    identify(certificate: X509Certificate): Caller | null {
      const bySubjectFound = bySubject.get(subjectOf(certificate) ?? '')
      return (
        bySubjectFound ??
        sansOf(certificate)
          .map(name => bySan.get(name))
          .find(found => found !== undefined) ??
        null
      )
    },
  }
}

/** Its parts in the order in which they stand, comma-separated; null where a comma in one of them would make that ambiguous. */
function subjectOf({ subject }: X509Certificate): string | null {
  return subject.includes(',') ? null : subject.split('\n').join(',')
}

/** `DNS:…`, `URI:…` and so on. Node puts a name into quotes where it holds what could be taken for another name: never ours. */
function sansOf({ subjectAltName = '' }: X509Certificate): readonly string[] {
  return subjectAltName.includes('"') ? [] : subjectAltName.split(', ')
}
