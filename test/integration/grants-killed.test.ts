/** `grants export` and `import`, disturbed: killed half-way, with renewals under way, with records that change meanwhile. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import t, { type Test } from 'tap'
import { exportGrants } from '../../src/cli/grants/export.ts'
import { importGrants } from '../../src/cli/grants/import.ts'
import type { Environment } from '../../src/config.ts'
import type { Grant } from '../../src/ports/records.ts'
import type { Stored } from '../../src/ports/store.ts'
import { guidOf } from '../contract/records.ts'
import { knownGrant } from '../support/key-drill.ts'
import {
  blindUser,
  elsewhere,
  exporting,
  filesOf,
  fillWith,
  grantsIn,
  importing,
  MOVE,
  nobodyListens,
  seat,
  storesOf,
  TAKE,
} from '../support/moving.ts'
import { program } from '../support/program.ts'
import { startRedis } from '../support/redis.ts'
import { startStack } from '../support/stack.ts'
import { startProxy } from '../support/tcp-proxy.ts'

const redis = await startRedis()
t.teardown(() => redis.stop())

t.test('a renewal that is under way is waited for', async t => {
  const stack = await startStack(t, redis.url)
  const { environment } = stack
  const { close, grants } = storesOf(t, environment)
  const attempt = { owner: 'x', startedAtMs: 0, leaseUntilMs: 30_000, refreshTokenFingerprint: '' }
  await grants.write('ada', 0, { ...knownGrant('ada', 1), attempt })
  await grants.write('bob', 0, knownGrant('bob', 1))
  await close()
  await nobodyListens(t, environment)
  // Its lease ends after a few looks at the clock.
  let nowMs = 0
  const { printed, said, terminal } = seat({
    now: () => {
      nowMs += 6_000
      return nowMs
    },
  })
  const { file, passphraseFile } = filesOf(t)
  t.equal(await exportGrants(file, { ...MOVE, passphraseFile }, terminal, environment), 0)
  t.match(said(), /^1 of 2 grants, waiting for 1 that are being renewed$/m)
  t.match(printed(), /^2 grants are moved/)
})

t.test('what changes after it was written, and before it is taken out, is written again', async t => {
  const stack = await startStack(t, redis.url)
  const { environment } = stack
  await fillWith(t, environment, ['ada', 'bob'])
  const { close, grants } = storesOf(t, environment)
  const { record, revision } = (await grants.read('ada')) as Stored<Grant>
  let isChanged = false
  const port = await startProxy(t, redis.port, {
    async passes(chunk) {
      if (isChanged || !/evalsha/i.test(chunk.toString('latin1'))) return true
      isChanged = true
      t.match(await grants.write('ada', revision, { ...record, version: 2 }), { ok: true })
      return true
    },
  })
  const files = filesOf(t)
  const through = { ...environment, REDIS_URL: `redis://blind:password@127.0.0.1:${port}` }
  await blindUser(environment)
  t.match(await exporting(files, through, { gatewaysStopped: true }), /^0 2 grants are moved/)
  await close()
  const target = elsewhere(t, stack)
  t.match(await importing(files, target), /^0 2 grants are imported/)
  const found = await grantsIn(t, target)
  t.strictSame([found.get('ada')?.version, found.get('bob')?.version], [2, 1])
})

/**
 * Runs a command against a Redis that kills it as soon as `isTime`, on its way to a script, which is carried out or not;
 * resolves when it is dead.
 */
async function killedHalfWay(
  t: Test,
  environment: Environment,
  args: readonly string[],
  isTime: () => boolean,
  isCarriedOut: boolean,
): Promise<void> {
  let child: ReturnType<typeof spawn> | undefined
  const port = await startProxy(t, redis.port, {
    passes(chunk) {
      if (!/evalsha/i.test(chunk.toString('latin1')) || !isTime()) return true
      child?.kill('SIGKILL')
      return isCarriedOut
    },
  })
  const settings = { ...environment, PATH: process.env.PATH, REDIS_URL: `redis://127.0.0.1:${port}` }
  const argv = ['-i', ...Object.entries(settings).map(pair => pair.join('='))]
  child = spawn('env', [...argv, ...program(), 'grants', ...args])
  t.strictSame(await once(child, 'exit'), [null, 'SIGKILL'])
}

const MANY = Array.from({ length: 1_500 }, (_, index) => guidOf(index))

t.test(
  'an export that is killed half-way is gone on with, and an import as well: nobody is lost, nobody is there twice',
  async t => {
    const stack = await startStack(t, redis.url)
    const { environment } = stack
    await fillWith(t, environment, MANY)
    const files = filesOf(t)
    const { file, passphraseFile } = files
    const argv = ['export', file, '--passphrase-file', passphraseFile]
    const isLarger = (bytes: number) => () => existsSync(file) && statSync(file).size > bytes
    const isThere = async () => (await grantsIn(t, environment)).size

    await killedHalfWay(t, environment, argv, isLarger(200_000), false)
    const left = await isThere()
    t.ok(left > 0 && left < MANY.length, `${left} are not out yet`)
    const target = elsewhere(t, stack)
    t.match(await importing(files, target), /^NotDone: .* is not finished: run grants export with it again/)

    const size = statSync(file).size
    await killedHalfWay(t, environment, argv, isLarger(size + 200_000), true)
    t.ok((await isThere()) < left, 'the second run has gone on from there')
    const { printed, said, terminal } = seat()
    t.equal(await exportGrants(file, { ...MOVE, passphraseFile }, terminal, environment), 0)
    t.match(said(), /was begun before, and is gone on with: \d+ grants are in it/)
    t.match(printed(), /^1500 grants are moved/)
    t.equal(await isThere(), 0)

    let scripts = 0
    const isTime = () => {
      scripts += 1
      return scripts > 5
    }
    await killedHalfWay(t, target, ['import', file, '--passphrase-file', passphraseFile], isTime, true)
    const some = (await grantsIn(t, target)).size
    t.ok(some > 0 && some < MANY.length, `${some} are in already`)
    t.equal(
      await importing(files, target),
      `0 ${MANY.length - some} grants are imported, ${some} were there already.\n`,
    )
    t.strictSame([...(await grantsIn(t, target)).keys()].sort(), [...MANY].sort())
  },
)

t.test('on a terminal a bar shows how far it is, and is wiped away', async t => {
  const stack = await startStack(t, redis.url)
  await fillWith(t, stack.environment, MANY.slice(0, 300))
  const target = elsewhere(t, stack)
  const { file, passphraseFile } = filesOf(t)
  const onTerminal = () => {
    const written: string[] = []
    let nowMs = Date.now()
    const now = () => {
      nowMs += 200
      return nowMs
    }
    return { written, ...seat({ now, err: { isTTY: true, columns: 60, write: text => written.push(text) } }) }
  }
  const out = onTerminal()
  await exportGrants(file, { ...MOVE, passphraseFile }, out.terminal, stack.environment)
  const wiped = '\r\x1b[K'
  t.equal(out.written.at(-2), `${wiped}[${'#'.repeat(30)}]100%  300 of 300 grants`)
  t.equal(out.written.at(-1), wiped)
  const into = onTerminal()
  await importGrants(file, { ...TAKE, passphraseFile }, into.terminal, target)
  t.match(into.written[0]?.replace(wiped, ''), /^\[#*-+\] +\d+% {2}\d+ of 300 records$/)
  t.equal(into.written.at(-2), `${wiped}[${'#'.repeat(30)}]100%  300 of 300 records`)
  t.equal(into.written.at(-1), wiped)
})
