/** `serve`, as a process: what it says at its start, where it listens, and how it ends. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { newCaller } from '../../src/cli/keys.ts'
import { serveEnvironment } from '../support/environment.ts'
import { program } from '../support/program.ts'
import { requestRaw } from '../support/raw.ts'
import { startRedis } from '../support/redis.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

function serve(t: Test, more: Record<string, string>): ChildProcess {
  const settings = serveEnvironment(t, redis.url, newCaller('all', ['*']).entry, { PORT: '0', ...more })
  const variables = Object.entries(settings).map(([name, value]) => `${name}=${value}`)
  const command = ['-i', ...variables, ...program(), 'serve']
  const child = spawn('env', command, { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  return child
}

/** The log until it is ready, or ends. */
async function logOf(
  child: ChildProcess,
): Promise<{ msg: string; address?: string; public?: string; metrics?: string; misspelled?: unknown }[]> {
  const lines = []
  if (child.stdout === null) throw new Error('it has no output')
  for await (const line of createInterface(child.stdout)) {
    lines.push(JSON.parse(line))
    if (lines.at(-1).msg === 'ready') break
  }
  return lines
}

t.test('it says where it listens, that no rate limits are set, and which names are no settings', async t => {
  const child = serve(t, { PUBLIC_PORT: '0', METRICS_PORT: '0', REQUIRE_STAT: 'true' })
  const lines = await logOf(child)
  const ready = lines.at(-1)
  t.ok(lines.some(({ msg }) => /no rate limits are set/.test(msg)))
  t.strictSame(lines.find(({ msg }) => /are no settings/.test(msg))?.misspelled, [
    { name: 'REQUIRE_STAT', meant: 'REQUIRE_STATE' },
  ])
  t.match(await requestRaw(ready?.address ?? '', 'GET', '/health/live'), { status: 200 })
  t.match(await requestRaw(ready?.public ?? '', 'GET', '/health/live'), { status: 404 })
  t.match(await requestRaw(ready?.metrics ?? '', 'GET', '/health/live'), { status: 200 })
  child.kill('SIGTERM')
  t.strictSame(await once(child, 'exit'), [0, null])
})

t.test('with a rate limit it does not', async t => {
  const child = serve(t, { RATE_LIMIT_PER_GUID: '10' })
  const lines = await logOf(child)
  t.notOk(lines.some(({ msg }) => /no rate limits are set/.test(msg)))
  t.strictSame(
    Object.keys(lines.at(-1) ?? {}).filter(name => name === 'public' || name === 'metrics'),
    [],
  )
})

t.test('a port that is taken is named, and nothing else is said', async t => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.teardown(() => taken.close())
  const { port } = taken.address() as { port: number }
  const child = serve(t, { METRICS_PORT: String(port) })
  let said = ''
  child.stderr?.on('data', chunk => {
    said += chunk
  })
  t.strictSame(await once(child, 'close'), [1, null])
  t.equal(said, `Port ${port} is taken: stop what listens there, or choose another one.\n`)
})
