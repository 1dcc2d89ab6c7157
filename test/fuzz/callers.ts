/** Who asks: callers with all permissions, with one, narrowed to some; and nobody. */
import fc, { type Arbitrary } from 'fast-check'
import { PERMISSIONS, type Permission } from '../../src/callers/caller.ts'
import type { CallerEntry } from '../../src/callers/entries.ts'
import { newCaller } from '../../src/cli/keys.ts'

export interface Shown {
  readonly caller: string
  /** `plain` is how it should be. */
  readonly form: keyof typeof FORMS
}

const FORMS = {
  plain: (key: string) => `Bearer ${key}`,
  'small letters': (key: string) => `bearer   ${key}`,
  nothing: () => undefined,
  empty: () => '',
  'no token': () => 'Bearer ',
  'no scheme': (key: string) => key,
  'another scheme': (key: string) => `Basic ${Buffer.from(`a:${key}`).toString('base64')}`,
  'cut off': (key: string) => `Bearer ${key.slice(0, -1)}`,
  'and more': (key: string) => `Bearer ${key} x`,
  twice: (key: string) => `Bearer ${key}, Bearer ${key}`,
  'a JWT of nobody': () => 'Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.',
  'very long': () => `Bearer ${'x'.repeat(8_000)}`,
  'no ASCII': () => 'Bearer \u00ff\u00e9',
} as const

const GOOD: readonly Shown['form'][] = ['plain', 'small letters']

export interface FuzzCallers {
  readonly entries: readonly CallerEntry[]
  readonly keys: readonly string[]
  keyOf(caller: string): string
  /** undefined: the header is not sent. */
  header(shown: Shown): string | undefined
  /** Whether that shows anybody. */
  isGood(shown: Shown): boolean
}

const NARROWED = ['reader', 'other'] as const

export function makeCallers(): FuzzCallers {
  const made = new Map(
    [
      newCaller('everything', ['*']),
      ...PERMISSIONS.map(permission => newCaller(nameOf(permission), [permission])),
      newCaller('reader', ['*']),
      newCaller('other', ['*']),
    ].map(caller => [caller.entry.name, caller]),
  )
  const narrowed: Readonly<Record<string, object>> = { reader: { scopes: ['profile_read'] }, other: { guids: ['ada'] } }
  const keyOf = (caller: string) => made.get(caller)?.apiKey ?? ''
  return {
    entries: [...made.values()].map(({ entry }) => ({ ...entry, ...narrowed[entry.name] })),
    keys: [...made.values()].map(({ apiKey }) => apiKey),
    keyOf,
    header: ({ caller, form }) => FORMS[form](keyOf(caller)),
    isGood: ({ form }) => GOOD.includes(form),
  }
}

function nameOf(permission: Permission): string {
  return permission.replace(':', '-')
}

export function shown(): Arbitrary<Shown> {
  const forms = Object.keys(FORMS) as Shown['form'][]
  return fc.oneof(
    { weight: 14, arbitrary: fc.constant({ caller: 'everything', form: 'plain' } as const) },
    {
      weight: 3,
      arbitrary: fc.record({
        caller: fc.constantFrom(...PERMISSIONS.map(nameOf), ...NARROWED),
        form: fc.constantFrom('plain' as const, 'small letters' as const),
      }),
    },
    { weight: 1, arbitrary: fc.record({ caller: fc.constant('everything'), form: fc.constantFrom(...forms) }) },
  )
}
