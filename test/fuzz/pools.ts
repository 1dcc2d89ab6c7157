/** What exists by now, under the names that answers give it: guids, states, usernames, versions … */
import type { SandboxDriver } from '../../sandbox/driver.ts'
import { isNested, isReference, type Nested, POOLS } from './arbitraries.ts'

/** A person's way through HealthTap's page: they are sent there by a live authorization, or without one. */
export interface Visit {
  readonly bring: 'visit'
  readonly pick: number
  readonly begun: boolean
  readonly decision: 'allow' | 'deny'
  /** Nothing is said beside what the visit has brought. */
  readonly isPlain: boolean
}

/** A pair of tokens that HealthTap has given out and nobody else has. */
export interface FreshPair {
  readonly bring: 'pair'
}

/** Fields that only make sense together. */
export type Brought = Visit | FreshPair

const KEPT = 40

export class Pools {
  readonly #values = new Map<string, unknown[]>()
  readonly #begun: { state: string; url: string }[] = []
  readonly #redirectUris: readonly string[]
  #people = 0
  readonly #sandbox: SandboxDriver
  readonly #name: string

  constructor(
    sandbox: SandboxDriver,
    name: string,
    fixed: Readonly<Record<'scope' | 'redirect_uri' | 'return_to', string[]>>,
  ) {
    this.#sandbox = sandbox
    this.#name = name
    this.#redirectUris = fixed.redirect_uri
    for (const [pool, values] of Object.entries(fixed)) this.#values.set(pool, values)
  }

  /** Takes up whatever an answer names by a name that has a pool. */
  learn(answer: unknown): void {
    if (Array.isArray(answer)) for (const one of answer.slice(0, 5)) this.learn(one)
    // What is said about somebody who is not there makes nobody.
    if (typeof answer !== 'object' || answer === null || 'problem' in answer) return
    const { state, authorization_url: url } = answer as { state?: unknown; authorization_url?: unknown }
    if (typeof url === 'string') this.#begun.push({ state: String(state), url })
    for (const [name, value] of Object.entries(answer)) {
      const pool = name === 'next_cursor' ? 'cursor' : name
      if (value !== null && ['guid', 'state', 'username', 'version', 'cursor'].includes(pool)) this.#keep(pool, value)
      else if (typeof value === 'object') this.learn(value)
    }
  }

  #keep(pool: string, value: unknown): void {
    const values = this.#values.get(pool) ?? []
    if (values.includes(value)) return
    this.#values.set(pool, [...values, value].slice(-KEPT))
  }

  pick(pool: string, index: number): unknown {
    const values = this.#values.get(pool) ?? []
    return values[index % Math.max(1, values.length)]
  }

  /** The value with live ones in the place of references. */
  resolve(value: unknown): unknown {
    if (isReference(value)) {
      const live = POOLS.some(pool => pool === value.fromPool) ? this.pick(value.fromPool, value.pick) : undefined
      return live ?? this.resolve(value.otherwise)
    }
    if (isNested(value)) return unfold(value)
    if (Array.isArray(value)) return value.map(one => this.resolve(one))
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, this.resolve(one)]))
  }

  /** The fields that belong together, fresh from the provider. */
  async bring(brought: Brought): Promise<Record<string, unknown>> {
    this.#people += 1
    const username = `${this.#name}-${this.#people}`
    if (brought.bring === 'pair') {
      const { access_token, refresh_token, scope } = await this.#sandbox.grant({ username })
      return { access_token, refresh_token, scope }
    }
    const begun = brought.begun ? this.#begun[brought.pick % Math.max(1, this.#begun.length)] : undefined
    const asked = begun === undefined ? {} : Object.fromEntries(new URL(begun.url).searchParams)
    const redirectUri = asked.redirect_uri ?? this.#redirectUris[brought.pick % this.#redirectUris.length] ?? ''
    const { decision, pick } = brought
    // Some come a second time.
    const who = pick % 4 === 0 ? `${this.#name}-0` : username
    const fields = { redirect_uri: redirectUri, scope: 'profile_read', ...asked, username: who, decision }
    const answer = await this.#sandbox.decide(fields)
    const back = new URL(answer.headers.get('location') ?? 'none:').searchParams
    const [code, error] = [back.get('code'), back.get('error')]
    return {
      ...(code === null ? {} : { code }),
      ...(error === null ? {} : { error }),
      ...(begun === undefined ? {} : { state: begun.state }),
      redirect_uri: redirectUri,
    }
  }
}

/** Stands for it: as text (`jsonOf`) it is there, while nothing of ours has to go down into it. */
function unfold({ nested, times }: Nested): unknown {
  return Object.defineProperty(nested === 'array' ? [] : {}, 'toJSON', { value: () => `@${nested}:${times}` })
}

/** JSON text of what `resolve` has made. */
export function jsonOf(value: unknown): string {
  return (JSON.stringify(value) ?? '').replaceAll(/"@(array|object):(\d+)"/g, (_all, nested, times) =>
    nested === 'array'
      ? `${'['.repeat(Number(times))}${']'.repeat(Number(times))}`
      : `${'{"a":'.repeat(Number(times))}1${'}'.repeat(Number(times))}`,
  )
}
