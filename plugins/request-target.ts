/** Requests that intermediaries may read in more than one way, or that are longer than any of ours, go no further. */
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { Problem } from '../src/errors.ts'
import { MAX_URL_LENGTH } from '../src/http-limits.ts'

export default fp(
  async (app: FastifyInstance) => {
    app.addHook('onRequest', async ({ raw }) => {
      if ((raw.url ?? '').length > MAX_URL_LENGTH) {
        const errors = [{ path: 'path', message: `has more than ${MAX_URL_LENGTH} characters` }]
        throw new Problem('validation_failed', 'The address is longer than this service takes.', { errors })
      }
      const hosts = hostsIn(raw.rawHeaders)
      if (hosts > 1 || (hosts === 0 && raw.httpVersion === '1.1')) {
        const errors = [{ path: 'header/host', message: 'has to be given once' }]
        throw new Problem('validation_failed', 'The request has to name one host (RFC 9112, section 3.2).', { errors })
      }
    })
  },
  { name: 'request-target' },
)

/** `headers` is a list of name, value, name, value … as they came. */
function hostsIn(headers: readonly string[]): number {
  let hosts = 0
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index]
    if (name?.length === 4 && name.toLowerCase() === 'host') hosts += 1
  }
  return hosts
}
