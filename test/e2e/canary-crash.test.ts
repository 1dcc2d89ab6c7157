/** Errors that nobody expected, with secrets in their text and on them; and that a log line with a token would be found. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type CanaryStack, startCanaryStack } from '../support/canary-stack.ts'
import { filesIn } from '../support/places.ts'
import { run } from '../support/process.ts'
import { createVisitor } from '../support/visitor.ts'

/** A gateway of its own, at which these are done one after the other. What it answers is asked for, and does not always come. */
async function sabotaged(t: Test, stack: CanaryStack, acts: readonly string[]) {
  const reports = join(stack.dir, acts.join())
  mkdirSync(reports)
  const reporting = ['--report-uncaught-exception', '--report-on-fatalerror', `--report-directory=${reports}`]
  const gateway = run(t, ['serve'], stack.environment, [...reporting, '--import', './test/support/saboteur.ts'])
  const { address = '' } = await gateway.line(/"ready"/)
  const visitor = createVisitor({ url: address, bearer: stack.keys.everything, tls: { ca: stack.server.cert } })
  t.teardown(() => visitor.close())
  for (const act of acts) {
    const access_token = stack.canaries.make(`access token, ${act}`)
    const refresh_token = stack.canaries.make(`refresh token, ${act}`)
    const body = { access_token, refresh_token, expires_in: 7200 }
    const headers = { 'x-sabotage': act }
    await visitor.ask('PUT /v1/grants/{guid}', { params: { guid: act }, body, headers }).catch(() => {})
  }
  return { gateway, answers: visitor.answers(), reports }
}

t.test('a token that is logged is found, by its place, its name and its form', async t => {
  const stack = await startCanaryStack(t)
  const server = await stack.redis.start()
  t.teardown(() => server.stop())
  const { gateway } = await sabotaged(t, stack, ['leak'])
  await gateway.line(/"leak"/)
  gateway.kill('SIGTERM')
  t.equal(await gateway.ended(), 0)
  const inLog = stack.canaries.search('standard output', gateway.stdout())
  t.strictSame(
    inLog.filter(({ name }) => name === 'API key of everything').map(({ form }) => form),
    ['clear', 'base64', 'hex'],
  )
  const printed = stack.canaries.search('standard error', gateway.stderr())
  t.strictSame(
    printed.map(({ name }) => name),
    ['access token, leak', 'refresh token, leak'],
  )
})

t.test('what nobody expected is told without its text, and without what it carries', async t => {
  const stack = await startCanaryStack(t)
  const server = await stack.redis.start()
  t.teardown(() => server.stop())
  for (const acts of [['throw', 'crash'], ['crash-twice'], ['reject']]) {
    await t.test(acts.join(', then '), async t => {
      const { gateway, answers, reports } = await sabotaged(t, stack, acts)
      t.equal(await gateway.ended(), 1)
      t.match(gateway.stdout(), /"stack":\["at failureOf .*"closing after an error that nobody expected"/)
      if (acts.includes('throw')) t.match(answers, /"internal_error"/)
      if (acts.includes('crash-twice')) t.match(gateway.stdout(), /"stack":\["at failureOf .*"an error while closing"/)
      const places = {
        'standard output': gateway.stdout(),
        'standard error': gateway.stderr(),
        'audit file': filesIn(join(stack.dir, 'audit')),
        answers,
      }
      for (const [place, text] of Object.entries(places)) t.strictSame(stack.canaries.search(place, text), [], place)
      t.equal(filesIn(reports), '', 'Node writes no report of it: it would have the text')
    })
  }
})
