import { mkdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { Writable } from 'node:stream'
import t from 'tap'
import { createFileSink } from '../../src/audit/file-sink.ts'
import { createAuditLog } from '../../src/audit/log.ts'
import type { Sink } from '../../src/audit/sink.ts'
import { createStreamSink } from '../../src/audit/stream-sink.ts'
import { lastLineOf } from '../../src/audit/tail.ts'
import { Output } from '../../src/system/output.ts'
import { auditLinesIn, closedStream, faultsOf, markOf, newKeys, readToken, verify } from '../support/audit.ts'
import { ManualClock } from '../support/clock.ts'

const keys = newKeys()
/** A device that is always full. */
const FULL = '/dev/full'

async function fileStream(path: string, stream = 'one') {
  const clock = new ManualClock()
  const told: (string | null)[] = []
  const onTrouble = (error: NodeJS.ErrnoException | null) => told.push(error === null ? null : (error.code ?? '?'))
  const sink = createFileSink({ path, clock, onTrouble })
  const previous = await lastLineOf(path)
  const log = createAuditLog({ sink, keys, clock, stream, gateway: '1', previous })
  return { clock, told, sink, log }
}

/** Until the sink says so; its timers go on meanwhile. */
async function until(clock: ManualClock, done: () => boolean): Promise<void> {
  while (!done()) await clock.advance(100)
}

function linesIn(path: string): string[] {
  return auditLinesIn(readFileSync(path, 'utf8'))
}

function faults(...paths: readonly string[]): string[] {
  return faultsOf(verify([keys], paths.map(linesIn)))
}

t.test('one file, several process runs', async t => {
  const path = `${t.testdir()}/deep/down/audit.log`
  const first = await fileStream(path, 'first')
  for (let version = 1; version <= 3; version += 1) readToken(first.log, version)
  t.equal(await first.log.close(), 0)
  t.equal(await first.log.close(), 0, 'closed twice is closed once')
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.equal(statSync(dirname(path)).mode & 0o777, 0o700)
  const second = await fileStream(path, 'second')
  readToken(second.log, 4)
  await second.log.close()
  const lines = linesIn(path)
  t.strictSame(
    lines.map(line => JSON.parse(line).event.split('.')[1]),
    ['opened', 'read', 'read', 'read', 'closed', 'opened', 'read', 'closed'],
  )
  t.strictSame(JSON.parse(lines[5] ?? '').previous, markOf(lines[4]))
  t.strictSame(faults(path), [])
  t.strictSame(second.sink.written(), markOf(lines[7]))
})

t.test('what a killed process has left: half a line, and the next stream begins on a line of its own', async t => {
  const whole = await closedStream(keys, 'killed', 3)
  const path = `${t.testdir()}/audit.log`
  writeFileSync(path, `${whole.slice(0, 3).join('\n')}\n${(whole[3] ?? '').slice(0, 70)}`)
  t.strictSame(await lastLineOf(path), markOf(whole[2]))
  const next = await fileStream(path, 'next')
  await next.log.close()
  t.strictSame(faults(path), [])
  t.equal(linesIn(path).length, 6)
  t.equal(await lastLineOf(`${path}.none`), null)
  writeFileSync(path, 'nothing of ours\n')
  t.equal(await lastLineOf(path), null)
})

t.test('rotation: renamed, reopened, and not a line is lost between', async t => {
  const path = `${t.testdir()}/audit.log`
  const { log, clock, sink } = await fileStream(path)
  readToken(log, 1)
  await until(clock, () => sink.written()?.seq === 2)
  renameSync(path, `${path}.1`)
  readToken(log, 2)
  await until(clock, () => sink.written()?.seq === 3)
  readToken(log, 3)
  log.reopen()
  readToken(log, 4)
  await until(clock, () => sink.written()?.seq === 7)
  log.reopen()
  readToken(log, 5)
  await log.close()
  const events = (file: string) => linesIn(file).map(line => JSON.parse(line).event.replace(/.*\./, ''))
  t.strictSame(events(`${path}.1`), ['opened', 'read', 'read', 'read', 'rotated'])
  t.strictSame(
    events(path),
    ['continued', 'read', 'rotated', 'continued', 'read', 'closed'],
    'also where nothing was renamed',
  )
  t.strictSame(faults(`${path}.1`, path), [])
  t.strictSame(faults(path), [])
})

t.test('a disk that is full, and is not any more', async t => {
  const path = `${t.testdir()}/audit.log`
  symlinkSync(FULL, path)
  const { log, clock, sink, told } = await fileStream(path)
  readToken(log, 1)
  await until(clock, () => log.trouble() !== null)
  t.equal(log.trouble(), 'ENOSPC')
  for (let version = 2; version < 5; version += 1) {
    readToken(log, version)
    await clock.advance(5_000)
  }
  t.strictSame(told, ['ENOSPC'], 'told once')
  t.equal(sink.written(), null)
  rmSync(path)
  log.reopen()
  await until(clock, () => log.trouble() === null)
  readToken(log, 5)
  t.equal(await log.close(), 0)
  t.strictSame(told, ['ENOSPC', null])
  t.strictSame(faults(path), [])
  t.equal(linesIn(path).length, 9, 'with all that had waited')
})

t.test('a place where nothing can be written', async t => {
  const dir = t.testdir({ file: '' })
  for (const [path, code] of [
    [dir, 'EISDIR'],
    [`${dir}/file/audit.log`, 'EEXIST'],
  ] as const) {
    const { log, clock, told } = await fileStream(path)
    await until(clock, () => log.trouble() !== null)
    readToken(log, 1)
    await clock.advance(3_000)
    t.strictSame(told, [code])
    t.equal(await log.close(), 3, 'what could not be written is told')
    readToken(log, 2)
  }
})

t.test('a place that is there in the end', async t => {
  const dir = t.testdir({ place: '' })
  const path = `${dir}/place/audit.log`
  const { log, clock, told } = await fileStream(path)
  await until(clock, () => log.trouble() !== null)
  rmSync(`${dir}/place`)
  mkdirSync(`${dir}/place`)
  await until(clock, () => log.trouble() === null)
  await log.close()
  t.strictSame([told, faults(path)], [['EEXIST', null], []])
})

t.test('too much waits: lines are lost, counted, and told where the stream goes on', async t => {
  const path = `${t.testdir()}/audit.log`
  symlinkSync(FULL, path)
  const { log, clock, sink } = await fileStream(path)
  await until(clock, () => log.trouble() !== null)
  let taken = 0
  for (; sink.hasRoom(); taken += 1) readToken(log, taken)
  for (let refused = 0; refused < 7; refused += 1) readToken(log, taken + refused)
  t.ok(taken > 20_000, `${taken} fit`)
  t.equal(log.lost(), 7)
  rmSync(path)
  log.reopen()
  await until(clock, () => log.trouble() === null && sink.hasRoom())
  readToken(log, taken + 7)
  await log.close()
  const report = verify([keys], [linesIn(path)])
  t.match(report, { ok: true, notes: [{ text: '7 lines were lost before this one: there was no room for them' }] })
  t.equal(report.streams[0]?.lines, taken + 6, 'all others stand there')
  t.equal(log.lost(), 7, 'in all, also when that was told')
})

t.test('standard output', async t => {
  const clock = new ManualClock()
  const open = (stream: Parameters<typeof createStreamSink>[0]['stream'], told: unknown[] = []) => {
    const sink: Sink = createStreamSink({ stream, clock, onTrouble: error => told.push(error) })
    return { sink, log: createAuditLog({ sink, keys, clock, stream: 'out', gateway: '1', previous: null }) }
  }
  const texts: string[] = []
  const plain = open(
    new Writable({
      write(chunk, _encoding, done) {
        texts.push(String(chunk))
        done()
      },
    }),
  )
  readToken(plain.log, 1)
  plain.log.reopen()
  t.ok(plain.sink.hasRoom())
  t.equal(await plain.log.close(), 0)
  t.strictSame(faultsOf(verify([keys], [auditLinesIn(texts.join(''))])), [])

  const path = `${t.testdir()}/out`
  const destination = new Output(path)
  const { log, sink } = open(destination)
  readToken(log, 1)
  t.equal(sink.written(), null, 'not before it is out')
  await log.close()
  t.equal(sink.written()?.seq, 3)
  t.strictSame(faults(path), [])

  const told: unknown[] = []
  const device = new Output(FULL)
  const full = open(device, told)
  while (full.log.trouble() === null) await new Promise(resolve => setImmediate(resolve))
  readToken(full.log, 1)
  t.equal(full.log.trouble(), 'ENOSPC')
  t.equal(told.length, 1)
  t.equal(await full.log.close(), 0)
  t.doesNotThrow(() => device.flushSync(), 'nor does the end of the process wait for it')
})
