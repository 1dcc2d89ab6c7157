/** Distinctive secrets, and a search for them that sees through encodings: any sixteen characters in a row give one away. */
import { randomBytes } from 'node:crypto'

export interface Finding {
  readonly name: string
  readonly form: Form
}

export interface CanaryOptions {
  /** The places where it belongs; elsewhere it has no business. Absent: it belongs nowhere. */
  readonly mayBeIn?: readonly string[]
}

/** Shorter pieces are alike by chance, or say nothing. */
const WINDOW = 16

const percent = (byte: number) => `%${hex(byte)}`
const hex = (byte: number) => byte.toString(16).padStart(2, '0')
const hexOf = (bytes: Buffer) => bytes.toString('hex')

/** All that base64 makes of some bytes, whatever stands before and after them: the digits that are theirs alone. */
function base64(bytes: Buffer, encoding: 'base64' | 'base64url'): string[] {
  return [0, 1, 2].map(before => {
    const digits = Buffer.concat([Buffer.alloc(before), bytes])
      .toString(encoding)
      .replace(/=+$/, '')
    const isWhole = (before + bytes.length) % 3 === 0
    return digits.slice(Math.ceil((before * 8) / 6), isWhole ? undefined : -1)
  })
}

/** What a secret looks like when it is written down in one way or another. */
const FORMS = {
  clear: (bytes: Buffer) => [bytes.toString('latin1')],
  base64: (bytes: Buffer) => base64(bytes, 'base64'),
  base64url: (bytes: Buffer) => base64(bytes, 'base64url'),
  hex: (bytes: Buffer) => [hexOf(bytes), hexOf(bytes).toUpperCase()],
  /** As Node shows a buffer. */
  inspected: (bytes: Buffer) => [[...bytes].map(hex).join(' ')],
  /** As a buffer goes into JSON. */
  bytes: (bytes: Buffer) => [[...bytes].join(',')],
  'percent-encoded': (bytes: Buffer) => [
    encodeURIComponent(bytes.toString('latin1')),
    new URLSearchParams([[bytes.toString('latin1'), '']]).toString().slice(0, -1),
    [...bytes].map(percent).join(''),
    [...bytes].map(percent).join('').toUpperCase(),
  ],
  json: (bytes: Buffer) => [JSON.stringify(bytes.toString('latin1')).slice(1, -1)],
} as const

export type Form = keyof typeof FORMS
export const FORM_NAMES = Object.keys(FORMS) as readonly Form[]

/** The ways to write it down in this form. */
export function written(value: string | Buffer, form: Form): readonly string[] {
  return FORMS[form](Buffer.from(value))
}

/** 24 random bytes, as text that can stand in most places. */
export function newCanary(): string {
  return randomBytes(24).toString('base64url')
}

export class Canaries {
  readonly #windows = new Map<string, Finding & Required<CanaryOptions>>()
  readonly #values = new Set<string>()

  readonly names = new Set<string>()

  /** Returns the value. One that is known already keeps the name it has. Throws for one that could not be found. */
  add<Value extends string | Buffer>(name: string, value: Value, { mayBeIn = [] }: CanaryOptions = {}): Value {
    const bytes = Buffer.from(value)
    if (bytes.length < WINDOW) throw new Error(`${name} is too short to be told from other text`)
    if (this.#values.has(bytes.toString('latin1'))) return value
    this.#values.add(bytes.toString('latin1'))
    this.names.add(name)
    for (const form of FORM_NAMES) {
      for (const text of FORMS[form](bytes)) this.#addWindows(text, { name, form, mayBeIn })
    }
    return value
  }

  /** A fresh one. */
  make(name: string, options: CanaryOptions = {}): string {
    return this.add(name, newCanary(), options)
  }

  /** What stands in a text of this place, and must not. Bytes, also those that were read as latin1, are searched as they are. */
  search(place: string, text: string | Buffer): readonly Finding[] {
    const found = new Map<string, Finding>()
    const characters = typeof text === 'string' ? text : text.toString('latin1')
    for (let start = 0; start + WINDOW <= characters.length; start += 1) {
      const window = this.#windows.get(characters.slice(start, start + WINDOW))
      if (window === undefined || window.mayBeIn.includes(place)) continue
      const { name, form } = window
      found.set(`${name} ${form}`, { name, form })
    }
    return [...found.values()]
  }

  #addWindows(text: string, finding: Finding & Required<CanaryOptions>): void {
    for (let start = 0; start + WINDOW <= text.length; start += 1) {
      const window = text.slice(start, start + WINDOW)
      if (!this.#windows.has(window)) this.#windows.set(window, finding)
    }
  }
}
