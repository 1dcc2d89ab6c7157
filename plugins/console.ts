/**
 * The operators' console: static files of `console/`, a page that speaks to the same API as everybody, with a key that is typed
 * into it. There is no cookie, so there is nothing that another page could make a browser send.
 */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { extname } from 'node:path'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'

const FOLDER = new URL('../console/', import.meta.url)
const PAGE = 'index.html'

/** Files of other kinds are not served. */
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
}

/** Nothing inline, nothing from elsewhere; and no text ever becomes markup, whatever the page's code does. */
const CONSOLE_CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

interface File {
  readonly name: string
  readonly bytes: Buffer
  readonly type: string
  /** Of the bytes: a browser keeps a file, and asks each time whether it is still the one. */
  readonly etag: string
}

export default fp(
  async (app: FastifyInstance) => {
    for (const file of readFiles()) {
      const url = file.name === PAGE ? '/console' : `/console/${file.name}`
      app.get(url, { schema: { hide: true } }, (request, reply) => send(file, request, reply))
    }
    // Relative, as all addresses in the page are: the gateway may lie under a path of a proxy's.
    app.get('/console/', { schema: { hide: true } }, (_request, reply) => reply.redirect('../console', 308))
  },
  { name: 'console' },
)

function readFiles(): readonly File[] {
  return readdirSync(FOLDER).flatMap(name => {
    const type = TYPES[extname(name)]
    if (type === undefined) return []
    const bytes = readFileSync(new URL(name, FOLDER))
    return [{ name, bytes, type, etag: `"${createHash('sha256').update(bytes).digest('base64url')}"` }]
  })
}

/** @see RFC 9110, section 13.1.2 */
function send({ bytes, etag, type }: File, request: FastifyRequest, reply: FastifyReply) {
  reply.headers({ etag, 'cache-control': 'no-cache', 'content-security-policy': CONSOLE_CSP })
  if (request.headers['if-none-match'] === etag) return reply.code(304).send()
  return reply.type(type).send(bytes)
}
