/** The commands, as they are run: `serve` writes, and is stopped in all ways; `audit verify` looks. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { verifyAudit } from '../../src/cli/audit.ts'
import { newAuditKey, newCaller } from '../../src/cli/keys.ts'
import { auditLinesIn } from '../support/audit.ts'
import { serveEnvironment } from '../support/environment.ts'
import { program } from '../support/program.ts'
import { freePort, startRedis } from '../support/redis.ts'

const run = promisify(execFile)
const redis = await startRedis()
t.teardown(() => redis.stop())
const store = new Redis(redis.port)
t.teardown(() => store.disconnect())

const { apiKey, entry } = newCaller('everything', ['*'])
/** An environment of its own: settings of this machine, and tap's way of counting coverage, stay out. */
function command(environment: Record<string, string>, args: readonly string[]): string[] {
  const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`)
  return ['-i', ...variables, ...program(), ...args]
}

function settings(more: Record<string, string> = {}): Record<string, string> {
  return serveEnvironment(t, redis.url, entry, { AUDIT_KEY: newAuditKey(), ...more })
}

async function serve(t: Test, environment: Record<string, string>, stdout: 'pipe' | number = 'pipe') {
  const port = await freePort()
  const settings = { ...environment, PORT: String(port) }
  const child = spawn('env', command(settings, ['serve']), { stdio: ['ignore', stdout, 'inherit'] })
  const gone = once(child, 'exit')
  t.teardown(() => child.kill('SIGKILL'))
  let printed = ''
  child.stdout?.on('data', chunk => {
    printed += chunk
  })
  const get = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      headers: { authorization: `Bearer ${apiKey}`, connection: 'close' },
    })
    return { status: response.status, body: await response.json() }
  }
  while ((await get('/health/ready').catch(() => null)) === null) await new Promise(resolve => setTimeout(resolve, 20))
  return {
    get,
    printed: () => printed,
    hangUp: () => child.kill('SIGHUP'),
    async end(signal: NodeJS.Signals) {
      child.kill(signal)
      return (await gone)[0] as number | null
    },
  }
}

async function verify(environment: Record<string, string>, args: readonly string[], stdin = '') {
  const work = run('env', command(environment, ['audit', 'verify', ...args]))
  work.child.stdin?.end(stdin)
  return await work.then(
    ({ stdout }) => ({ code: 0, stdout, stderr: '' }),
    ({ code, stdout, stderr }) => ({ code, stdout, stderr }) as { code: number; stdout: string; stderr: string },
  )
}

/** Without a process of its own. */
async function look(environment: Record<string, string>, files: readonly string[]) {
  const printed: string[] = []
  const code = await verifyAudit(files, { json: false, partial: false }, line => printed.push(line), environment)
  return { code, stdout: printed.join('\n') }
}

t.test('on standard output, between the lines of the log, from the first to the last', async t => {
  const environment = settings()
  const gateway = await serve(t, environment)
  t.equal((await gateway.get('/v1/grants/nobody')).status, 404)
  t.equal(await gateway.end('SIGTERM'), 0)
  t.match(gateway.printed(), /"msg":"ready"/)
  const events = auditLinesIn(gateway.printed()).map(line => JSON.parse(line).event)
  t.strictSame(events, ['audit.opened', 'grant.read', 'audit.closed'])
  t.match(await verify(environment, ['-'], gateway.printed()), { code: 0, stdout: /3 lines in 1 streams: no faults/ })
  const changed = gateway.printed().replace('"caller":"everything"', '"caller":"somebody"')
  t.match(await verify(environment, ['-'], changed), {
    code: 1,
    stdout: /FAULT {2}\(standard input\):\d+ .* was changed/,
  })
})

t.test('a process that is killed: not closed, and nothing else is wrong; and its end is watched over', async t => {
  const path = `${t.testdir()}/audit.log`
  const environment = settings({ AUDIT_LOG: path, REDIS_PREFIX: 'killed' })
  const gateway = await serve(t, environment)
  for (let index = 0; index < 5; index += 1) await gateway.get('/v1/grants/nobody')
  const headSeq = async () => JSON.parse((await store.hvals('killed:audit:heads'))[0] ?? '{}').seq
  while ((await headSeq()) !== 6) await new Promise(resolve => setTimeout(resolve, 20))
  await gateway.end('SIGKILL')
  t.match(await look(environment, []), {
    code: 0,
    stdout: /stream \S+ {2}open .*not closed after line 6.*no faults/s,
  })

  const again = await serve(t, environment)
  await again.get('/v1/grants/nobody')
  t.equal(await again.end('SIGTERM'), 0)
  t.match(await look(environment, [path]), { code: 0, stdout: /9 lines in 2 streams: no faults/ })

  const lines = readFileSync(path, 'utf8').split('\n')
  writeFileSync(path, lines.slice(0, 7).join('\n'))
  t.match(await look(environment, [path]), { code: 1, stdout: /lines 2 to 3 are missing at the end/ })
  const { REDIS_URL: _, ...alone } = environment
  t.match(await look(alone, [path]), { code: 0, stdout: /whether its end was cut off cannot be told/ })
})

t.test('rotation: renamed, and SIGHUP; also while the settings are wrong', async t => {
  const path = `${t.testdir()}/audit.log`
  const callers = `${t.testdirName}/callers.json`
  writeFileSync(callers, JSON.stringify([entry]))
  const environment = settings({ AUDIT_LOG: path, CALLERS: '', CALLERS_FILE: callers })
  const gateway = await serve(t, environment)
  await gateway.get('/v1/grants/nobody')
  renameSync(path, `${path}.1`)
  writeFileSync(callers, 'nonsense')
  gateway.hangUp()
  while (!existsSync(path)) await new Promise(resolve => setTimeout(resolve, 20))
  await gateway.get('/v1/grants/nobody')
  t.equal(await gateway.end('SIGTERM'), 0)
  const events = auditLinesIn(readFileSync(path, 'utf8')).map(line => JSON.parse(line).event)
  t.strictSame(events, ['audit.continued', 'grant.read', 'audit.closed'])
  t.match(gateway.printed(), /settings are not reloaded/)
  t.match(await look(environment, [`${path}.1`, path]), { code: 0, stdout: /6 lines in 1 streams: no faults/ })
})

t.test('standard output that takes nothing: people get their tokens, and readiness says so', async t => {
  const gateway = await serve(t, settings(), openSync('/dev/full', 'w'))
  t.equal((await gateway.get('/v1/grants/nobody')).status, 404)
  t.match(await gateway.get('/health/ready'), {
    status: 200,
    body: { status: 'degraded', checks: [{}, {}, {}, { name: 'audit', status: 'degraded' }] },
  })
  await gateway.end('SIGKILL')
})

t.test('asked for wrongly: exit 2', async t => {
  t.match(await verify(settings(), ['no-such-file']), { code: 2, stderr: /ENOENT/ })
  t.match(await verify(settings(), ['--nonsense']), { code: 2, stderr: /unknown option/ })
  t.match(await verify({ PATH: process.env.PATH ?? '' }, ['-']), { code: 2, stderr: /AUDIT_KEY is missing/ })
  const { stdout } = await run('env', command({ PATH: process.env.PATH ?? '' }, ['keygen', '--audit']))
  t.match(stdout, /^[A-Za-z0-9+/]{43}=\n$/)
})
