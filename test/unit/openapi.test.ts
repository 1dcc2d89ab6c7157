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
  t.equal(operations.length, 14)
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
