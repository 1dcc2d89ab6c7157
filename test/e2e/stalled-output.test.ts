/** Standard output that is not read, or gone: memory stays bounded, readiness says so, and the gap is told afterwards. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { newAuditKey, newCaller } from '../../src/cli/keys.ts'
import { auditLinesIn } from '../support/audit.ts'
import { serveEnvironment } from '../support/environment.ts'
import { parseMetrics } from '../support/metrics.ts'
import { until } from '../support/process.ts'
import { program } from '../support/program.ts'
import { freePort, startRedis } from '../support/redis.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())
const { apiKey, entry } = newCaller('everything', ['*'])
const MEGABYTE = 1024 * 1024
/** V8 grows its young generation to 48 MB for any load: here it must not hide what is kept. */
const STEADY = ['--max-semi-space-size=1', '--max-old-space-size=128']
const BATCHES = 20 + 60 + 150
/** Some 450 bytes each: a batch is more than a pipe holds. */
const GUIDS = Array.from({ length: 500 }, (_, index) => `nobody-${index}`)

function command(environment: Record<string, string>, args: readonly string[]): string[] {
  return ['-i', ...Object.entries(environment).map(([name, value]) => `${name}=${value}`), ...program(), ...args]
}

async function serve(t: Test) {
  const port = await freePort()
  const environment = serveEnvironment(t, redis.url, entry, { AUDIT_KEY: newAuditKey(), PORT: String(port) })
  const [node, main] = program()
  const settings = Object.entries(environment).map(([name, value]) => `${name}=${value}`)
  // tap's own variables stay out. `env` becomes the gateway: the process id stays the same.
  const child = spawn('env', ['-i', ...settings, node, ...STEADY, main, 'serve'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const gone = once(child, 'exit')
  t.teardown(() => child.kill('SIGKILL'))
  let printed = ''
  child.stdout.on('data', chunk => {
    printed += chunk
  })
  await until(() => printed.includes('"msg":"ready"'))
  const url = `http://127.0.0.1:${port}`
  const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' }
  return {
    child,
    environment,
    printed: () => printed,
    async batches(count: number) {
      for (let index = 0; index < count; index += 1) {
        const body = JSON.stringify({ guids: GUIDS })
        const answer = await fetch(`${url}/v1/tokens`, { method: 'POST', headers, body })
        if (answer.status !== 200) throw new Error(`a batch is answered ${answer.status}`)
        await answer.arrayBuffer()
      }
    },
    read: async () => (await fetch(`${url}/v1/grants/nobody`, { headers })).status,
    async health() {
      const response = await fetch(`${url}/health/ready`)
      const { status, checks } = (await response.json()) as { status: string; checks: readonly Check[] }
      const check = (name: string) => checks.find(each => each.name === name)
      return { http: response.status, status, output: check('output'), audit: check('audit') }
    },
    metrics: async () => parseMetrics(await (await fetch(`${url}/metrics`)).text()),
    async end() {
      child.kill('SIGTERM')
      return (await gone)[0] as number | null
    },
  }
}

interface Check {
  readonly name: string
  readonly status: string
  readonly detail?: string
}

function residentBytes({ pid }: ChildProcess): number {
  const [, kilobytes = ''] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kilobytes) * 1024
}

t.test('a pipe that is not read for a while', async t => {
  const gateway = await serve(t)
  const { child } = gateway
  t.match(await gateway.health(), { status: 'ok', output: { status: 'ok' } })
  await gateway.batches(20)
  child.stdout?.pause()
  await gateway.batches(60)
  const early = residentBytes(child)
  await gateway.batches(150)
  const grownBytes = residentBytes(child) - early
  t.ok(grownBytes < 16 * MEGABYTE, `34 MB of lines, and ${Math.round(grownBytes / MEGABYTE)} MiB more in memory`)
  t.match(await gateway.health(), {
    http: 200,
    status: 'degraded',
    output: { status: 'degraded', detail: /STALLED.*[1-9]\d* log lines and [1-9]\d* audit lines/ },
    audit: { status: 'degraded', detail: /STALLED/ },
  })
  const told = await gateway.metrics()
  t.equal(told.value('htgw_output_writable'), 0)
  const droppedLog = Number(told.value('htgw_output_lines_dropped_total', { kind: 'log' }))
  const lost = Number(told.value('htgw_output_lines_dropped_total', { kind: 'audit' }))
  t.ok(droppedLog > 0)
  t.ok(lost > 0)
  t.equal(told.value('htgw_audit_lines_lost_total'), lost)

  child.stdout?.resume()
  await until(async () => (await gateway.health()).status === 'ok')
  t.equal((await gateway.metrics()).value('htgw_output_writable'), 1)
  t.equal(await gateway.read(), 404)
  t.equal(await gateway.end(), 0)

  const lines = gateway.printed().trim().split('\n')
  t.ok(
    lines.every(line => typeof JSON.parse(line) === 'object'),
    'no line is torn',
  )
  const notices = lines.map(line => JSON.parse(line)).filter(({ msg }) => /lines were dropped/.test(msg))
  t.equal(notices.length, 1)
  t.match(notices, [{ level: 'warn', audit_lines: lost }])
  t.ok(notices[0].log_lines >= droppedLog)
  const requests = lines.filter(line => /"msg":"request"/.test(line)).length
  t.ok(requests + notices[0].log_lines >= BATCHES, 'each log line stands there, or is counted')

  const audited = auditLinesIn(gateway.printed()).map(line => JSON.parse(line))
  const reads = audited.filter(({ event }) => event === 'token.read').length
  t.equal(reads + lost, BATCHES * GUIDS.length, 'each audit line stands there, or is told as lost')
  const verifying = promisify(execFile)('env', command(gateway.environment, ['audit', 'verify', '-']))
  verifying.child.stdin?.end(gateway.printed())
  t.match((await verifying).stdout, new RegExp(`${lost} lines were lost before this one[^]*no faults`))
})

t.test('a pipe that is full, and few lines: readiness says so; SIGTERM ends the process', async t => {
  const gateway = await serve(t)
  gateway.child.stdout?.pause()
  await gateway.batches(4)
  await until(async () => (await gateway.health()).output?.status === 'degraded')
  t.match(await gateway.metrics().then(told => told.value('htgw_output_lines_dropped_total', { kind: 'log' })), 0)
  await gateway.batches(40)
  const beganAtMs = Date.now()
  t.equal(await gateway.end(), 0)
  t.ok(Date.now() - beganAtMs < 10_000, `it has ended after ${Date.now() - beganAtMs} ms`)
})

t.test('a pipe whose reader is gone: requests are answered, and SIGTERM ends the process', async t => {
  const gateway = await serve(t)
  gateway.child.stdout?.destroy()
  await gateway.batches(1)
  await until(async () => (await gateway.health()).output?.status === 'degraded')
  t.match(await gateway.health(), { http: 200, output: { detail: /EPIPE/ }, audit: { detail: /EPIPE/ } })
  await gateway.batches(60)
  const told = await gateway.metrics()
  t.ok(Number(told.value('htgw_output_lines_dropped_total', { kind: 'log' })) > 0)
  t.ok(Number(told.value('htgw_audit_lines_lost_total')) > 0)
  t.equal(await gateway.read(), 404)
  t.equal(await gateway.end(), 0)
})
