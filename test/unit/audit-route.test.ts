import Fastify from 'fastify'
import t from 'tap'
import audit from '../../plugins/audit.ts'
import problem from '../../plugins/problem.ts'
import type { AuditEntry } from '../../src/audit/log.ts'

async function appWith(recorded: AuditEntry[] = []) {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(problem)
  await app.register(audit, { audit: { record: entry => void recorded.push(entry) } })
  return app
}

t.test('a route under /v1 that does not say what it is called in the audit stream does not start', async t => {
  const app = await appWith()
  t.throws(() => app.get('/v1/things', async () => ''), /\/v1\/things does not say what it is called/)
  t.doesNotThrow(() => app.get('/elsewhere', async () => ''))
})

t.test('one line a request, whatever happens in it', async t => {
  const recorded: AuditEntry[] = []
  const app = await appWith(recorded)
  app.get('/v1/good', { config: { audit: 'grant.list' } }, async () => ({}))
  app.get('/v1/bad', { config: { audit: 'grant.list' } }, async () => {
    throw new Error('nobody expects this one: canary')
  })
  const onSend = async () => {
    throw new Error('canary')
  }
  app.get('/v1/late', { config: { audit: 'grant.list' }, onSend }, async () => ({}))
  for (const path of ['good', 'bad', 'late']) await app.inject(`/v1/${path}`)
  t.match(
    recorded.map(({ outcome, status }) => [outcome, status]),
    [
      ['ok', 200],
      ['internal_error', 500],
      // It was done, and only the answer went wrong.
      ['ok', 200],
    ],
  )
  t.notMatch(JSON.stringify(recorded), /canary/)
})
