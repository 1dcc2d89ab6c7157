/** Requests that intermediaries may read in more than one way, or that are longer than any of ours, go no further. */
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Problem } from '../src/errors.ts'
import { MAX_URL_LENGTH } from '../src/http-limits.ts'

export default fp(
  async (app: FastifyInstance) => {
    app.addHook('onRequest', ({ raw }, _reply, done) => {
      if ((raw.url ?? '').length > MAX_URL_LENGTH) {
        const errors = [{ path: 'path', message: `has more than ${MAX_URL_LENGTH} characters` }]
        throw new Problem('validation_failed', 'The address is longer than this service takes.', { errors })
      }
      const hosts = timesIn(raw.rawHeaders, 'host')
      if (hosts > 1 || (hosts === 0 && raw.httpVersion === '1.1')) {
        const errors = [{ path: 'header/host', message: 'has to be given once' }]
        throw new Problem('validation_failed', 'The request has to name one host (RFC 9112, section 3.2).', { errors })
      }
      // Node takes the first; somebody before us may have looked at another.
      if (timesIn(raw.rawHeaders, 'authorization') > 1) {
        const errors = [{ path: 'header/authorization', message: 'has to be given once' }]
        throw new Problem('validation_failed', 'The request shows more than one authorization.', { errors })
      }
      done()
    })
  },
  { name: 'request-target' },
)

/** `headers` is a list of name, value, name, value … as they came; `name` in lower case. */
function timesIn(headers: readonly string[], name: string): number {
  let times = 0
  for (let index = 0; index < headers.length; index += 2) {
    const given = headers[index]
    if (given?.length === name.length && given.toLowerCase() === name) times += 1
  }
  return times
}
