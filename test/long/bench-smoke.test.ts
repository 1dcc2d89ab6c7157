/**
 * One tiny round of the benchmark's quickest part: that it runs and says what it found. Nothing here is about how fast. Those that
 * start gateways would take minutes.
 */
import { execFile } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { promisify } from 'node:util'
import t from 'tap'

const run = promisify(execFile)
const TINY = ['--rounds', '1', '--seconds', '1', '--grants', '600']
const MAIN = ['--import', 'tsx', 'bench/main.ts']

t.test('a part measures, and prints tables and a file of figures', async t => {
  const { stdout } = await run(process.execPath, [...MAIN, '--only', 'engine', ...TINY])
  const file = /every round: (\S+)$/m.exec(stdout)?.[1] ?? ''
  t.teardown(() => rmSync(file, { force: true }))
  t.match(stdout, /^### .+\n\n\|.+\|\n\| -+ \|/m)
  t.notMatch(stdout, /NaN|undefined/)
  t.match(JSON.parse(readFileSync(file, 'utf8')), { machine: { loadAtStart: Number }, options: { parts: ['engine'] } })
})

t.test('what it does not know it refuses, and says what it takes', async t => {
  const refused = await run(process.execPath, [...MAIN, '--only', 'nothing']).catch(error => error)
  t.equal(refused.code, 2)
  t.match(refused.stderr, /there is no part nothing\nnpm run bench/)
})
