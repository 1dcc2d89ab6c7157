import { AsyncLocalStorage } from 'node:async_hooks'
import Fastify from 'fastify'
import t from 'tap'
import audit from '../../plugins/audit.ts'
import problem from '../../plugins/problem.ts'
import type { AuditEntry } from '../../src/audit/log.ts'
import { Problem } from '../../src/errors.ts'
import { Secret } from '../../src/ports/secret.ts'

async function appWith(record: (entry: AuditEntry) => void = () => {}) {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(problem)
  await app.register(audit, { audit: { record } })
  return app
}

t.test('a route under /v1 that does not say what it is called in the audit stream does not start', async t => {
  const app = await appWith()
  t.throws(() => app.get('/v1/things', async () => ''), /\/v1\/things does not say what it is called/)
  t.doesNotThrow(() => app.get('/elsewhere', async () => ''))
})

t.test('one line a request, whatever happens in it', async t => {
  const recorded: AuditEntry[] = []
  const app = await appWith(entry => recorded.push(entry))
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

t.test('a token that was got, and refused to the caller in the end, was given to nobody', async t => {
  const recorded: AuditEntry[] = []
  const app = await appWith(entry => recorded.push(entry))
  const accessToken = new Secret('canary')
  app.get<{ Params: { how: string } }>('/v1/:how', { config: { audit: 'grant.exchange' } }, async request => {
    request.audited = { guid: 'ada', version: 1, accessToken }
    if (request.params.how === 'refused') throw new Problem('forbidden', 'The caller may not have this scope.')
    return {}
  })
  for (const how of ['given', 'refused']) await app.inject(`/v1/${how}`)
  t.match(recorded, [
    { outcome: 'ok', guid: 'ada', accessToken },
    { outcome: 'forbidden', guid: 'ada', version: 1 },
  ])
  t.equal(recorded[1]?.accessToken, undefined)
})

t.test('no answer goes out before its line is written, whoever else is answered in the same turn', async t => {
  const happened: string[] = []
  const app = await appWith(({ guid }) => happened.push(`line ${guid}`))
  // What has no line comes first, so that its turn ends first.
  app.get('/plain', async () => ({}))
  app.get('/v1/:guid', { config: { audit: 'token.read' } }, async () => ({}))
  app.addHook('onResponse', async request => void happened.push(`answer ${request.url}`))
  const paths = ['/plain', '/v1/ada', '/v1/eve', '/v1/kim']
  await Promise.all(paths.map(path => app.inject(path)))
  for (const guid of ['ada', 'eve', 'kim']) {
    const [line, answer] = [happened.indexOf(`line ${guid}`), happened.indexOf(`answer /v1/${guid}`)]
    t.ok(line >= 0 && line < answer, happened.join(', '))
  }
  t.equal(happened.length, 7)
})

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
  const app = await appWith(entry => recorded.push(entry))
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
