/**
 * The stack of docker-compose.yml, really run: `npm run stack:check`. Needs Docker with Compose 2.24.4 or newer. A project of its own, on
 * free ports, which is taken away in the end with its volumes. Some five minutes, ten at most; a line for each check; exits 1 where one fails.
 * `--no-build`: with the images that are there. `--keep`: leaves the stack as it is in the end, to be looked at.
 */
import { parseArgs } from 'node:util'
import { print } from './processes.ts'
import { checksOf } from './stack/checks.ts'
import { Stack } from './stack/compose.ts'

const LONGEST_MS = 10 * 60_000
const PROJECT = 'healthtap-gateway-check'

const { values } = parseArgs({
  options: { 'no-build': { type: 'boolean', default: false }, keep: { type: 'boolean', default: false } },
})

const stack = new Stack(PROJECT)
const tooLong = new Promise<never>((_resolve, reject) => {
  setTimeout(() => reject(new Error(`not done within ${LONGEST_MS / 60_000} minutes`)), LONGEST_MS).unref()
})

let what = 'the images are built'
try {
  await stack.down()
  if (!values['no-build']) {
    print(`${what} …`)
    await stack.build()
  }
  for (const [name, check] of checksOf(stack)) {
    what = name
    const startedAt = Date.now()
    const seen = await Promise.race([check(), tooLong])
    print(`ok     ${what}${seen ? `: ${seen}` : ''} (${((Date.now() - startedAt) / 1000).toFixed(1)} s)`)
  }
} catch (error) {
  const { message, stderr = '' } = error as Error & { stderr?: string }
  print(`WRONG  ${what}: ${message}\n${stderr}`)
  process.exitCode = 1
} finally {
  if (!values.keep) await stack.down()
}
process.exit()
