import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import t from 'tap'
import { program } from '../support/program.ts'
import { freePort } from '../support/redis.ts'

const run = promisify(execFile)
/** An environment of its own: settings of this machine, and tap's way of counting coverage, stay out. */
const COMMAND = ['-i', `PATH=${process.env.PATH}`, ...program()]

t.test('the walk-through that `npm run dev` prints works word for word', async t => {
  const [port, sandboxPort] = [await freePort(), await freePort()]
  const options = ['--port', String(port), '--sandbox-port', String(sandboxPort)]
  const dev = spawn('env', [...COMMAND, 'dev', ...options], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(async () => {
    if (dev.exitCode !== null) return
    dev.kill('SIGTERM')
    await once(dev, 'exit')
  })
  let printed = ''
  for await (const chunk of dev.stdout) {
    printed += chunk
    if (printed.includes('4. What the gateway holds')) break
  }
  t.match(printed, `http://127.0.0.1:${port}/docs`)
  t.match(printed, `http://127.0.0.1:${port}/console`)
  t.match(printed, 'stand-in')

  const commands = printed.slice(printed.indexOf('export GATEWAY')).match(/^ {2}\S.*$/gm) ?? []
  t.equal(commands.length, 7)
  const first = printed.match(/^ {2}export GATEWAY.*$/m)?.[0] ?? ''
  const { stdout } = await run('bash', ['-c', [first, ...commands].join('\n')])
  const answers = stdout
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line))
  t.equal(answers.length, 4)
  t.match(answers[0], { token_type: 'bearer', version: 1, scope: 'member_public' })
  t.match(answers[1], { status: 'pending' })
  t.match(answers[2], { token_type: 'bearer', version: 1, scope: 'profile_read' })
  t.match(answers[3], { items: [{ status: 'active' }, { status: 'active' }], next_cursor: null })
})

t.test('commands say what is wrong with them, and exit 2', async t => {
  const cases = [
    [['nonsense'], /unknown command/],
    [['sandbox'], /required option '--app-id/],
    [['caller', 'x', '--permission', 'everything'], /Allowed choices are/],
    [['dev', '--port', 'x'], /whole number/],
    [['dev', '--sandbox-port', '0'], /whole number from 1/],
    [['rotate-keys', '--all'], /unknown option/],
    [['rotate-keys', 'k2'], /too many arguments/],
  ] as const
  for (const [args, message] of cases) {
    const failure = await run('env', [...COMMAND, ...args]).catch(error => error)
    t.match(failure, { code: 2, stderr: message }, args.join(' '))
  }
})

t.test('serve names every missing setting at once, and exits 1', async t => {
  const failure = await run('env', [...COMMAND, 'serve']).catch(error => error)
  t.equal(failure.code, 1)
  for (const name of [
    'HEALTHTAP_APP_ID',
    'HEALTHTAP_APP_SECRET',
    'HEALTHTAP_REDIRECT_URIS',
    'REDIS_URL',
    'ENCRYPTION_KEYS',
    'CALLERS',
  ]) {
    t.match(failure.stderr, `${name} is missing`)
  }
})
