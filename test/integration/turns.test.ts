/** What is answered in the same turn of the event loop goes out together; nobody else may notice. */
import { AsyncLocalStorage } from 'node:async_hooks'
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

t.test('each goes on in its own trace', async t => {
  const app = await appWith()
  const traces = new AsyncLocalStorage<string>()
  const seen: Record<string, string | undefined> = {}
  app.addHook('onRequest', ({ url }, _reply, done) => {
    if (url.startsWith('/v1/')) traces.run(url, done)
    else done()
  })
  app.get('/plain', async () => ({}))
  app.get('/v1/:guid', { config: { audit: 'token.read' } }, async () => ({}))
  app.addHook('onResponse', async ({ url }) => {
    seen[url] = traces.getStore()
  })
  await Promise.all(['/v1/ada', '/plain', '/v1/eve'].map(path => app.inject(path)))
  t.same(seen, { '/v1/ada': '/v1/ada', '/plain': undefined, '/v1/eve': '/v1/eve' })
})

t.test('an answer that cannot go out harms none of the others', async t => {
  const app = await appWith()
  app.get('/good', async () => 'good')
  app.get('/bad', async (_request, reply) => reply.header('x-bad', 'two\nlines').send('bad'))
  const paths = ['/good', '/bad', '/good']
  const answers = await Promise.allSettled(paths.map(path => app.inject(path)))
  t.match([answers[0], answers[2]], [{ value: { body: 'good' } }, { value: { body: 'good' } }])
  t.equal(answers[1]?.status, 'rejected')
})

t.test('who is answered while the service closes has a line by the time it is closed', async t => {
  const recorded: AuditEntry[] = []
  const app = await appWith(recorded)
  let end = () => {}
  const ended = new Promise<void>(resolve => {
    end = resolve
  })
  app.get('/v1/late', { config: { audit: 'grant.read' } }, async () => {
    await ended
    return {}
  })
  // As the broker does, which is closed before what has been registered earlier.
  app.addHook('onClose', async () => end())
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const leave = new AbortController()
  const hungUp = fetch(`${url}/v1/late`, { signal: leave.signal }).catch(() => 'hung up')
  await new Promise<void>(resolve => app.server.once('request', () => resolve()))
  leave.abort()
  t.equal(await hungUp, 'hung up')
  await app.close()
  t.match(recorded, [{ event: 'grant.read', outcome: 'ok' }])
})
