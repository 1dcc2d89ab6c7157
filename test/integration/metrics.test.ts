import t from 'tap'
import { startApp } from '../support/app.ts'

t.test('requests under way: so many at once for each caller', async t => {
  const { provider, send, readerKey } = await startApp(t, { MAX_CONCURRENT_PER_CALLER: '2' })
  let go = () => {}
  const gate = new Promise<void>(resolve => {
    go = resolve
  })
  const provision = (username: string) => send('POST', '/v1/users', { username })
  const slow = ['u1', 'u2'].map(username => {
    provider.next('createUser', () => gate.then(() => provider.answer({ guid: username })))
    return provision(username)
  })
  while (provider.times('createUser') < 2) await new Promise(resolve => setImmediate(resolve))
  const refused = await provision('u3')
  t.match(refused, { statusCode: 429, headers: { 'retry-after': '1' } })
  t.match(refused.json(), { code: 'rate_limited', detail: /everything has 2 requests under way/ })
  t.equal((await send('GET', '/v1/grants', undefined, readerKey)).statusCode, 200, 'others have places of their own')
  t.equal((await send('GET', '/health/live')).statusCode, 200)
  go()
  for (const answer of await Promise.all(slow)) t.equal(answer.statusCode, 201)
  for (let times = 0; times < 5; times += 1)
    t.equal((await send('GET', '/v1/grants')).statusCode, 200, 'there is room again')
})

t.test('what is counted, and what never is a label', async t => {
  const { metrics, send, readerKey } = await startApp(t)
  const guid = 'canary-guid-41'
  await send('GET', `/v1/grants/${guid}/token`)
  await send('GET', `/v1/grants/${guid}/token`, undefined, 'wrong')
  await send('GET', `/v1/grants/${guid}/token?canary-query`, undefined, readerKey)
  await send('POST', '/v1/users', { username: 'canary-user' })
  await send('GET', '/canary-path')
  await send('GET', '/tap-in/callback?state=canary-state&code=canary-code')
  metrics.events.emit({ type: 'grant.ended', guid, version: 1, afterDoubt: false })
  metrics.events.emit({ type: 'record.unreadable', guid } as never)
  const answer = await send('GET', '/metrics', undefined, 'no key is needed')
  t.match(answer, {
    statusCode: 200,
    headers: { 'content-type': /^text\/plain; version=/, 'cache-control': 'no-store' },
  })
  for (const line of [
    'htgw_requests_refused_total{reason="unauthorized",caller=""} 1',
    'htgw_requests_refused_total{reason="forbidden",caller="reader"} 1',
    'htgw_records_unreadable_total 1',
    'htgw_request_duration_seconds_count{method="GET",route="/v1/grants/:guid/token",status="404"} 1',
    'htgw_request_duration_seconds_count{method="GET",route="/v1/grants/:guid/token",status="401"} 1',
    'htgw_request_duration_seconds_count{method="POST",route="/v1/users",status="201"} 1',
    'htgw_request_duration_seconds_count{method="GET",route="/tap-in/callback",status="400"} 1',
    'htgw_request_duration_seconds_count{method="GET",route="",status="404"} 1',
  ]) {
    t.ok(answer.body.split('\n').includes(line), line)
  }
  t.match(answer.body, /^process_cpu_seconds_total /m)
  t.match(answer.body, /^nodejs_eventloop_lag_seconds /m)
  t.notMatch(answer.body, /canary/)
  t.equal(new Set(answer.body.match(/^# TYPE .*$/gm)).size, answer.body.match(/^# TYPE .*$/gm)?.length, 'each once')
})

t.test('callers that nobody has configured do not grow without end', async t => {
  const { metrics } = await startApp(t)
  const facts = { method: 'GET', route: '/v1/grants', status: 429, seconds: 0.1, problem: 'rate_limited' } as const
  for (let index = 0; index < 300; index += 1) metrics.answered({ ...facts, caller: `workload-${index}` })
  const lines = (await metrics.text()).split('\n').filter(line => line.startsWith('htgw_requests_refused_total{'))
  t.equal(lines.length, 101)
  t.ok(lines.includes('htgw_requests_refused_total{reason="rate_limited",caller="other"} 200'))
})
