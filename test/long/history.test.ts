/** Half a minute of the history check in each mode. More of it: `npm run history`. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'

for (const rotation of ['instant', 'on_use']) {
  t.test(`${rotation}: no invariant is violated`, async t => {
    const args = ['--import', 'tsx', 'scripts/history.ts', '--seed', '17', '--minutes', '0.5', '--rotation', rotation]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', chunk => {
        output += String(chunk)
      })
    }
    const [code] = await once(child, 'close')
    t.equal(code, 0, code === 0 ? 'exit code' : output.slice(-8_000))
    t.match(output, /"rotations": [1-9]/, 'grants were refreshed')
    t.match(output, /"SIG[^"]+": [1-9]/, 'processes were killed or stopped')
  })
}
