/** The gateway's HTTP API, as far as the commands of `grants` ask it. What it says of tokens stays here. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Static } from 'typebox'
import { request } from 'undici'
import type { ApiConfig } from '../../config.ts'
import type { AccessToken, GrantList, Grant as GrantSchema, GrantStatus } from '../../schemas/index.ts'
import { reasonOf } from '../reason.ts'
import { NotDone } from './terminal.ts'

export type Grant = Static<typeof GrantSchema>
export type Status = Static<typeof GrantStatus>

export interface Refreshed {
  readonly version: number
  readonly expires_at: string
  readonly rotates_at: string
}

export interface GrantsQuery {
  readonly status?: Status | undefined
  readonly username?: string | undefined
  readonly limit?: number | undefined
}

export interface GatewayApi {
  /** All grants that fit, each once, in no order, page by page as they are taken; about `limit` are going to be. */
  grants(query: GrantsQuery): AsyncGenerator<Grant>
  grant(guid: string): Promise<Grant>
  /** Renews it if this version is still the current one. */
  refresh(guid: string, version: number): Promise<Refreshed>
  /** null: gone. Else the provider has not confirmed it yet. */
  revoke(guid: string): Promise<Grant | null>
}

const PAGE = 500
/** An answer may wait for a renewal. */
const WITHIN_MS = 60_000
const MOST_TRIES = 5
const LONGEST_WAIT_MS = 10_000

/** All of it throws `NotDone`. */
export function createApi({ url, apiKey }: ApiConfig): GatewayApi {
  const authorization = `Bearer ${apiKey.reveal()}`

  async function ask<T>(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<T | null> {
    for (let tries = 1; ; tries += 1) {
      const { status, text, retryAfterMs } = await send(method, path, body)
      if (status === 204) return null
      if (status >= 200 && status < 300) return parse<T>(text)
      // It says itself that nothing was done.
      const isWorthAnother = (status === 429 || status === 503) && tries < MOST_TRIES && method === 'GET'
      if (!isWorthAnother || retryAfterMs === null) throw problemIn(status, text)
      await sleep(Math.min(retryAfterMs, LONGEST_WAIT_MS))
    }
  }

  async function send(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object) {
    try {
      const {
        body: answer,
        headers,
        statusCode,
      } = await request(`${url}${path}`, {
        method,
        headers: { authorization, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
        body: body === undefined ? null : JSON.stringify(body),
        signal: AbortSignal.timeout(WITHIN_MS),
      })
      const wait = Number(headers['retry-after'])
      const retryAfterMs = Number.isFinite(wait) ? wait * 1000 : null
      return { status: statusCode, text: await answer.text(), retryAfterMs }
    } catch (error) {
      throw new NotDone(`no answer from ${url} (${reasonOf(error)}): check --url or GATEWAY_URL`)
    }
  }

  function parse<T>(text: string): T {
    try {
      return JSON.parse(text)
    } catch {
      throw new NotDone(`what answers at ${url} is no gateway: check --url or GATEWAY_URL`)
    }
  }

  function problemIn(status: number, text: string): NotDone {
    const { code, detail } = parse<{ code?: unknown; detail?: unknown }>(text || '{}')
    if (typeof code === 'string') return new NotDone(`${code}: ${detail}`)
    return new NotDone(`what answers at ${url} is no gateway (${status}): check --url or GATEWAY_URL`)
  }

  const pathOf = (guid: string) => `/v1/grants/${encodeURIComponent(guid)}`

  return {
    async *grants({ limit = PAGE, status, username }) {
      const seen = new Set<string>()
      let cursor: string | null = null
      do {
        const query: URLSearchParams = new URLSearchParams({
          limit: String(Math.min(limit, PAGE)),
          ...(status === undefined ? {} : { status }),
          ...(username === undefined ? {} : { username }),
          ...(cursor === null ? {} : { cursor }),
        })
        const page: Static<typeof GrantList> | null = await ask('GET', `/v1/grants?${query}`)
        for (const grant of page?.items ?? []) {
          // A listing may show one twice while others come and go.
          if (!seen.has(grant.guid)) yield grant
          seen.add(grant.guid)
        }
        cursor = page?.next_cursor ?? null
      } while (cursor !== null)
    },

    async grant(guid) {
      return present(await ask<Grant>('GET', pathOf(guid)))
    },

    async refresh(guid, version) {
      const answer = await ask<Static<typeof AccessToken>>('POST', `${pathOf(guid)}/refresh`, { version })
      const { expires_at, rotates_at, version: current } = present(answer)
      return { version: current, expires_at, rotates_at }
    },

    async revoke(guid) {
      return await ask<Grant>('DELETE', pathOf(guid))
    },
  }
}

function present<T>(answer: T | null): T {
  if (answer === null) throw new NotDone('the gateway answered nothing')
  return answer
}
