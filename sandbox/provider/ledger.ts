import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import type { Person } from './people.ts'
import type { TokenPair } from './token-pairs.ts'

/** What must still be known after a restart. Pairs are named by their access token. Codes and sessions are not: they live minutes. */
export type Entry =
  | { readonly person: Person; readonly passwordHash?: string }
  | { readonly pair: Omit<TokenPair, 'predecessor' | 'revoked'>; readonly predecessor: string | null }
  | { readonly used: string }
  | { readonly revoked: string }

export interface Ledger {
  /** As they were noted. */
  readonly entries: readonly Entry[]
  /** Returns when a process that dies right afterwards leaves it behind. */
  note(entry: Entry): void
}

/** Everything is forgotten with the process. */
export const noLedger: Ledger = { entries: [], note() {} }

/** A line for each entry; tokens stand in it as they are. A file that is not there is made with the first one. */
export function openLedger(file: string): Ledger {
  const text = readIfThere(file)
  // A process that died while it wrote leaves half a line: nobody was answered what it says.
  const whole = text.slice(0, text.lastIndexOf('\n') + 1)
  if (whole !== text) writeFileSync(file, whole, { mode: 0o600 })
  return {
    entries: whole.split('\n').flatMap(line => (line === '' ? [] : JSON.parse(line))),
    note: entry => appendFileSync(file, `${JSON.stringify(entry)}\n`, { mode: 0o600 }),
  }
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
}
