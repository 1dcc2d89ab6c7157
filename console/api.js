/** The gateway's HTTP API, as everybody uses it. The key is in here, and in nothing that outlives the page. */
import { learnTime } from './time.js'

/** @import { Check, Problem } from './types.d.ts' */

/**
 * Why something was not answered. `closed`: the session has ended meanwhile; `away`: no answer of a gateway has come;
 * `unauthorized`, `forbidden`, `rate_limited`, or another `code` of the API's.
 */
export class Failure extends Error {
  /**
   * @param {string} code
   * @param {string} detail
   * @param {number | null} retryAfterSeconds null: it was not said
   */
  constructor(code, detail, retryAfterSeconds = null) {
    super(detail)
    this.code = code
    this.retryAfterSeconds = retryAfterSeconds
  }
}

const PATIENCE_MS = 15_000
/** A listing may have to look through all grants. */
const PATIENCE_WITH_LISTS_MS = 120_000

/** @param {string} key an API key or a JWT, as it goes into `Authorization: Bearer` */
export function createApi(key) {
  const closing = new AbortController()

  /**
   * @param {string} path relative to the page, so that the gateway may lie under a path of a proxy's
   * @param {RequestInit} init
   */
  async function ask(path, init = {}, patienceMs = PATIENCE_MS) {
    try {
      const response = await fetch(new URL(path, document.baseURI), {
        ...init,
        headers: { authorization: `Bearer ${key}`, ...init.headers },
        cache: 'no-store',
        credentials: 'omit',
        redirect: 'error',
        referrerPolicy: 'no-referrer',
        signal: AbortSignal.any([closing.signal, AbortSignal.timeout(patienceMs)]),
      })
      learnTime(response.headers.get('date'))
      return response
    } catch {
      throw notReached()
    }
  }

  /** @param {Response} response */
  async function json(response) {
    try {
      return await response.json()
    } catch {
      throw notReached()
    }
  }

  function notReached() {
    return closing.signal.aborted
      ? new Failure('closed', 'The session has ended.')
      : new Failure('away', 'The gateway cannot be reached.')
  }

  /** @param {Response} response */
  async function refused(response) {
    const isProblem = response.headers.get('content-type')?.startsWith('application/problem+json')
    if (!isProblem) return new Failure('away', `Something else than the gateway has answered, with ${response.status}.`)
    /** @type {Problem} */
    const { code, detail } = await json(response)
    return new Failure(code, detail, Number(response.headers.get('retry-after')) || null)
  }

  return {
    /** @param {string} path */
    async get(path) {
      const isList = path.startsWith('v1/grants?')
      const response = await ask(path, {}, isList ? PATIENCE_WITH_LISTS_MS : PATIENCE_MS)
      if (!response.ok) throw await refused(response)
      return await json(response)
    },

    /**
     * For what it does. The answer has a token: it is not read.
     *
     * @param {string} guid
     * @param {number} version
     */
    async renew(guid, version) {
      const response = await ask(`v1/grants/${encodeURIComponent(guid)}/refresh`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ version }),
      })
      if (!response.ok) throw await refused(response)
      await response.body?.cancel()
    },

    /**
     * Whether HealthTap has confirmed it already.
     *
     * @param {string} guid
     */
    async revoke(guid) {
      const response = await ask(`v1/grants/${encodeURIComponent(guid)}`, { method: 'DELETE' })
      if (!response.ok) throw await refused(response)
      return response.status === 204
    },

    /**
     * What the gateway says of itself where it cannot say how grants stand; null: nothing.
     *
     * @returns {Promise<readonly Check[] | null>}
     */
    async checks() {
      try {
        return (await json(await ask('health/ready'))).checks ?? null
      } catch {
        return null
      }
    },

    close: () => closing.abort(),
  }
}

/** @typedef {ReturnType<typeof createApi>} Api */
