/** One tiny round of each part of the benchmark: that it runs and says what it found. Nothing here is about how fast. */
import { execFile } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { promisify } from 'node:util'
import t from 'tap'
import { PARTS } from '../../bench/options.ts'

const run = promisify(execFile)
const TINY = ['--rounds', '1', '--seconds', '1', '--people', '4', '--connections', '1', '--times', '2']
const SMALL = ['--grants', '600', '--growth', '200']
const MAIN = ['--import', 'tsx', 'bench/main.ts']

for (const part of PARTS) {
  t.test(`the part ${part} measures, and prints tables and a file of figures`, async t => {
    const { stdout } = await run(process.execPath, [...MAIN, '--only', part, ...TINY, ...SMALL])
    const file = /every round: (\S+)$/m.exec(stdout)?.[1] ?? ''
    t.teardown(() => rmSync(file, { force: true }))
    t.match(stdout, /^### .+\n\n\|.+\|\n\| -+ \|/m)
    t.notMatch(stdout, /NaN|undefined/)
    t.match(JSON.parse(readFileSync(file, 'utf8')), { machine: { loadAtStart: Number }, options: { parts: [part] } })
  })
}

t.test('what it does not know it refuses, and says what it takes', async t => {
  const refused = await run(process.execPath, [...MAIN, '--only', 'nothing']).catch(error => error)
  t.equal(refused.code, 2)
  t.match(refused.stderr, /there is no part nothing\nnpm run bench/)
})
