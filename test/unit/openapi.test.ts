import { readFileSync } from 'node:fs'
import t from 'tap'
import { openapiDocument } from '../support/openapi.ts'

t.test('the committed OpenAPI document is the one the routes make', async t => {
  const committed = readFileSync(new URL('../../openapi/openapi.json', import.meta.url), 'utf8')
  t.equal(await openapiDocument(), committed, 'run: npm run openapi')
})

t.test('every operation says what it is for, what it answers, and who may ask', async t => {
  const { paths } = JSON.parse(await openapiDocument())
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods as Record<string, Record<string, unknown>>).map(([method, operation]) => ({
      name: `${method} ${path}`,
      path,
      operation,
    })),
  )
  t.equal(operations.length, 16)
  for (const { name, path, operation } of operations) {
    t.ok(operation.summary && operation.description && operation.operationId, `${name} is described`)
    t.strictSame(operation.security, path.startsWith('/v1') ? undefined : [], `${name} asks for a key where it should`)
    const statuses = Object.keys(operation.responses as object)
    if (path.startsWith('/v1'))
      t.ok(
        ['401', '403', '500', '503'].every(status => statuses.includes(status)),
        name,
      )
  }
})

t.test('answers that come seldom are documented too', async t => {
  const { paths } = JSON.parse(await openapiDocument())
  const seldom: readonly [string, string, string, string][] = [
    ['/v1/users', 'post', '409', 'reauthorization_required'],
    ['/v1/grants', 'post', '409', 'reauthorization_required'],
    ['/v1/grants/{guid}', 'delete', '413', 'payload_too_large'],
    ['/v1/grants/{guid}', 'delete', '415', 'unsupported_media_type'],
  ]
  for (const [path, method, status, code] of seldom) {
    t.match(paths[path][method].responses[status]?.description, `\`${code}\``, `${method} ${path}: ${code}`)
  }
  const { responses } = paths['/tap-in/callback'].get
  t.strictSame(Object.keys(responses), ['200', '303', '400', '403', '404', '409', '500', '502', '503', '504'])
})
