import Fastify from 'fastify'
import t from 'tap'
import audit from '../../plugins/audit.ts'
import problem from '../../plugins/problem.ts'
import type { AuditEntry } from '../../src/audit/log.ts'
import { Problem } from '../../src/errors.ts'
import { Secret } from '../../src/ports/secret.ts'

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

t.test('a token that was got, and refused to the caller in the end, was given to nobody', async t => {
  const recorded: AuditEntry[] = []
  const app = await appWith(recorded)
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
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(problem)
  await app.register(audit, { audit: { record: ({ guid }) => void happened.push(`line ${guid}`) } })
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
