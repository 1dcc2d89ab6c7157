/**
 * Secrets of every kind go through every route and every error of a gateway as production runs it; then all that it has said,
 * written and stored is searched for them. Text that is planted everywhere, and found everywhere, shows that nothing was overlooked.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PROBLEMS } from '../../src/errors.ts'
import { Canaries } from '../support/canaries.ts'
import { providerFaults, storeFaults, withoutRedis } from '../support/canary-faults.ts'
import { type CanaryStack, startCanaryStack } from '../support/canary-stack.ts'
import { callers, goodWays, refusals, type Walk } from '../support/canary-walk.ts'
import { commandLine, everythingInRedis, filesIn, overhear } from '../support/places.ts'
import { type Running, run, until } from '../support/process.ts'
import { createVisitor } from '../support/visitor.ts'

/** A signal that means nothing else to it: that a diagnostic report is asked for. */
const REPORT = 'SIGWINCH'

t.test('no secret comes to light anywhere', async t => {
  const stack = await startCanaryStack(t)
  const { canaries, planted, redis, environment, dir } = stack
  const server = await redis.start()
  t.teardown(() => server.stop())
  const heard = [await overhear(t, redis)]
  const reports = join(dir, 'reports')
  mkdirSync(reports)
  const gateway = run(t, ['serve'], environment, [
    '--report-on-signal',
    `--report-signal=${REPORT}`,
    `--report-directory=${reports}`,
    `--report-filename=${planted}.json`,
  ])
  const walk = await walkTo(t, stack, gateway)
  const { visitor, doors } = walk

  await goodWays(walk)
  await callers(walk)
  await refusals(walk)
  await providerFaults(walk)
  const journal = await withoutRedis(walk, server)
  heard.push(await overhear(t, redis))
  await storeFaults(walk)
  writeFileSync(environment.CALLERS_FILE ?? '', `[{"name":"${canaries.make('nonsense in a file')}`)
  gateway.kill('SIGHUP')
  await gateway.line(/settings are not reloaded/)

  t.strictSame(
    documentedRoutes().filter(route => !visitor.routes.has(route)),
    [],
    'every route of the document was visited',
  )
  t.strictSame(
    Object.keys(PROBLEMS).filter(code => !visitor.codes.has(code)),
    [],
    'every problem was answered',
  )
  for (const name of ['access_token', 'refresh_token', 'password', 'code_verifier']) {
    t.ok(canaries.names.has(`${name} (wire)`), `${name} was seen on its way to the provider, or from there`)
  }

  gateway.kill(REPORT)
  await until(() => filesIn(reports).endsWith('\n}\n\n'))
  const main = await visitor.ask('GET /metrics')
  const door = await visitor.ask('GET /metrics', { at: doors.metrics })
  const called = commandLine(gateway.pid)
  gateway.kill('SIGTERM')
  t.equal(await gateway.ended(), 0)
  const places = {
    ...(await everythingInRedis(redis)),
    'commands to redis': heard.map(text => text()).join(''),
    'standard output': gateway.stdout(),
    'standard error': gateway.stderr(),
    'audit file': filesIn(join(dir, 'audit')),
    metrics: main.body,
    'metrics at their own door': door.body,
    answers: visitor.answers(),
    journal,
    'command line': called,
    'diagnostic report': filesIn(reports),
    spans: stack.collector.bodies(),
  }
  const all = new Canaries()
  all.add('planted', planted)
  for (const [place, text] of Object.entries(places)) {
    t.strictSame(canaries.search(place, text), [], place)
    t.not(all.search(place, text).length, 0, `${place}: what is planted there is found`)
  }

  await commands(t, stack)
})

/** With a key, and once with a certificate. */
async function walkTo(t: Test, stack: CanaryStack, gateway: Running): Promise<Walk> {
  const { address: url = '', public: atPublic = '', metrics = '' } = await gateway.line(/"ready"/)
  const { cert: ca } = stack.server
  const visitor = createVisitor({ url, bearer: stack.keys.everything, tls: { ca } })
  t.teardown(() => visitor.close())
  const holder = createVisitor({ url, bearer: '', tls: { ca, cert: stack.client.cert, key: stack.client.key } })
  t.teardown(() => holder.close())
  t.match(await holder.ask('GET /v1/grants', { bearer: null }), { status: 200 })
  return { ...stack, t, visitor, doors: { public: atPublic, metrics } }
}

/** As `GET /v1/grants/{guid}`. */
function documentedRoutes(): readonly string[] {
  const { paths } = JSON.parse(readFileSync('openapi/openapi.json', 'utf8'))
  return Object.entries<object>(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map(method => `${method.toUpperCase()} ${path}`),
  )
}

/** Those that look at what the gateway has left. */
async function commands(t: Test, { canaries, environment, keys }: CanaryStack): Promise<void> {
  writeFileSync(environment.CALLERS_FILE ?? '', JSON.stringify([keys.entry]))
  const all = [['doctor'], ['rotate-keys'], ['audit', 'verify']].map(async command => {
    const program = run(t, command, environment)
    t.equal(await program.ended(), 0, `${command.join(' ')}: ${program.stdout()}`)
    t.strictSame(canaries.search(command.join(' '), `${program.stdout()}${program.stderr()}`), [])
  })
  await Promise.all(all)
}
