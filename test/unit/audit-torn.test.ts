/** A disk that takes half a line, and no more: a limit on the size of files, which can be lifted from outside. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { createAuditKeys } from '../../src/audit/keys.ts'
import { auditLinesIn, faultsOf, verify } from '../support/audit.ts'

const run = promisify(execFile)
const KEY = 'k'.repeat(32)

/** Says `full` when the disk is, and what it has done when it is told to go on. */
const WRITER = `
import { renameSync } from 'node:fs'
import { createFileSink } from './src/audit/file-sink.ts'
import { createAuditKeys } from './src/audit/keys.ts'
import { createAuditLog } from './src/audit/log.ts'
import { systemClock as clock } from './src/system/clock.ts'
import { readToken } from './test/support/audit.ts'
const [path, how] = process.argv.slice(-2)
const onTrouble = error => process.stdout.write((error === null ? 'again' : 'full ' + error.code) + '\\n')
const sink = createFileSink({ path, clock, onTrouble })
const log = createAuditLog({ sink, keys: createAuditKeys(Buffer.from('${KEY}')), clock, stream: 'torn', gateway: '1', previous: null })
for (let version = 1; version <= 40; version += 1) readToken(log, version)
process.stdin.on('end', () => process.exit(1))
process.stdin.once('data', async () => {
  if (how === 'rename') {
    renameSync(path, path + '.1')
    log.reopen()
  }
  while (log.trouble() !== null) await clock.sleep(10)
  readToken(log, 41)
  process.stdout.write('lost ' + await log.close() + '\\n')
  process.exit()
})
`

async function writer(t: Test, path: string, how: 'rename' | 'wait') {
  // An environment of its own: what tap puts into it writes files, which would meet the limit, too.
  const limited = 'ulimit -S -f 4 && exec env -i PATH="$PATH" "$@"'
  const args = ['-c', limited, '-', process.execPath, '--import', 'tsx', '--input-type=module', '-e', WRITER, path, how]
  const child = spawn('bash', args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const gone = once(child, 'exit')
  t.teardown(() => child.kill('SIGKILL'))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return { child, gone, next: async () => (await lines.next()).value as string }
}

t.test('it goes on at the very byte', async t => {
  const path = `${t.testdir()}/audit.log`
  const { child, gone, next } = await writer(t, path, 'wait')
  t.equal(await next(), 'full EFBIG')
  const torn = readFileSync(path, 'utf8')
  t.notMatch(torn, /\n$/, 'half a line stands there')
  await run('prlimit', ['--pid', String(child.pid), '--fsize=unlimited'])
  child.stdin.write('go on')
  t.strictSame([await next(), await next()], ['again', 'lost 0'])
  await gone
  const text = readFileSync(path, 'utf8')
  t.ok(text.startsWith(torn))
  const report = verify([createAuditKeys(Buffer.from(KEY))], [auditLinesIn(text)])
  t.match(report, { ok: true, streams: [{ lines: 43, status: 'closed' }] })
  t.strictSame(report.notes, [], 'nor does half a line stand anywhere')
})

t.test('it goes on in another file, with the line that was torn', async t => {
  const path = `${t.testdir()}/audit.log`
  const { child, gone, next } = await writer(t, path, 'rename')
  t.equal(await next(), 'full EFBIG')
  const torn = readFileSync(path, 'utf8').split('\n').at(-1) ?? ''
  t.ok(torn.length > 0)
  child.stdin.write('go on')
  // Which is as full, at the same size, soon after.
  const isFull = () => existsSync(`${path}.1`) && existsSync(path) && statSync(path).size > torn.length
  while (!isFull()) await new Promise(resolve => setImmediate(resolve))
  await run('prlimit', ['--pid', String(child.pid), '--fsize=unlimited'])
  t.strictSame([await next(), await next()], ['again', 'lost 0'])
  await gone
  const files = [`${path}.1`, path].map(file => readFileSync(file, 'utf8'))
  t.ok(files[1]?.startsWith(torn), 'it is whole there')
  const report = verify([createAuditKeys(Buffer.from(KEY))], files.map(auditLinesIn))
  t.strictSame(faultsOf(report), [])
  t.match(report, { notes: [{ text: 'a line that was not written to its end' }], streams: [{ status: 'closed' }] })
})
